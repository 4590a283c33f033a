// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/*
 * What probes do to the memory of a process: nothing that stays, nothing that its
 * counters do not say, and nothing that reclaim, merging, collapsing or tracking
 * of pages would have to know of. x86-64.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/loop.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"
#include "text.h"

#define PAGES	8
#define SIZE	(PAGES * TEXT_SIZE)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

static char path[64], *text;

/* A file of that many pages, each with all functions. */
static bool make_file(unsigned int pages)
{
	char page[TEXT_SIZE];
	unsigned int i;
	bool good;
	int fd;

	snprintf(path, sizeof(path), "/tmp/memory.%d", getpid());
	if (text_write(path))
		return false;
	fd = open(path, O_RDWR | O_CLOEXEC);
	good = fd >= 0 && read(fd, page, sizeof(page)) == sizeof(page);
	for (i = 1; good && i < pages; i++)
		good = write(fd, page, sizeof(page)) == sizeof(page);
	close(fd);
	return good;
}

static char *map_file(void)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *map = fd < 0 ? MAP_FAILED :
		    mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);

	close(fd);
	return map == MAP_FAILED ? NULL : map;
}

#define MAKE_TEXT() do {						\
	REQUIRE(NEED_ROOT | NEED_PMU | NEED_X86_64);			\
	ASSERT_TRUE(make_file(PAGES));					\
	text = map_file();						\
	ASSERT_NE(NULL, text);						\
} while (0)

static int attach(unsigned int page, enum function which)
{
	return text_attach(path, page * TEXT_SIZE + text_offset(which), false);
}

static void call_page(const char *map, unsigned int page)
{
	text_call(map + page * TEXT_SIZE, NOP, NULL);
	text_call(map + page * TEXT_SIZE, PUSH, NULL);
	text_call(map + page * TEXT_SIZE, STEP, NULL);
}

/* The number behind a word in a file; -1: it is not there. */
static long number_after(const char *file, const char *word)
{
	FILE *f = fopen(file, "re");
	size_t len = strlen(word);
	char line[256];
	long number = -1;

	while (f && number < 0 && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, word, len))
			number = atol(line + len);
	}
	if (f)
		fclose(f);
	return number;
}

/* ---- pages ---- */

#define PM_PRESENT	(1ULL << 63)
#define PM_SWAPPED	(1ULL << 62)
#define PM_FILE		(1ULL << 61)
#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_FRAME	((1ULL << 55) - 1)
#define KPF_MLOCKED	(1ULL << 33)

static uint64_t word_of(const char *file, uint64_t nr)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	uint64_t word = 0;

	if (pread(fd, &word, sizeof(word), nr * sizeof(word)) != sizeof(word))
		word = 0;
	close(fd);
	return word;
}

static uint64_t pagemap(const char *address)
{
	return word_of("/proc/self/pagemap", (uintptr_t)address / TEXT_SIZE);
}

/* Its page frame; 0: none is mapped there. */
static uint64_t frame(const char *address)
{
	uint64_t entry = pagemap(address);

	return entry & PM_PRESENT ? entry & PM_FRAME : 0;
}

static bool is_anon(const char *address)
{
	return (pagemap(address) & (PM_PRESENT | PM_FILE)) == PM_PRESENT;
}

/* A page written once is written in place from then on, and goes back to the file's. */
TEST_F(uprobe, one_copy_of_a_page)
{
	static const enum function all[] = { NOP, PUSH, STEP, VALUE };
	uint64_t of_file, copy;
	int events[4], i;

	MAKE_TEXT();
	call_page(text, 0);
	of_file = frame(text);
	ASSERT_NE(0, of_file) TH_LOG("page frame numbers are hidden");
	for (i = 0; i < 4; i++) {
		events[i] = attach(0, all[i]);
		ASSERT_LE(0, events[i]);
		if (!i)
			copy = frame(text);
		call_page(text, 0);
		EXPECT_EQ(copy, frame(text)) TH_LOG("%d probes", i + 1);
	}
	EXPECT_NE(of_file, copy);
	EXPECT_TRUE(is_anon(text));
	/* Its neighbour is as it was. */
	call_page(text, 1);
	EXPECT_FALSE(is_anon(text + TEXT_SIZE));
	for (i = 0; i < 3; i++) {
		close(events[i]);
		EXPECT_TRUE(text_restored(text, all[i]));
		EXPECT_EQ(copy, frame(text)) TH_LOG("%d probes less", i + 1);
		call_page(text, 0);
	}
	close(events[3]);
	EXPECT_TRUE(text_restored(text, all[3]));
	EXPECT_EQ(of_file, frame(text));
	unlink(path);
}

/* What MREMAP_DONTUNMAP leaves shows the file anew: it is probed, like what has moved. */
TEST_F(uprobe, moved_and_stayed)
{
	char *to;
	int event;

	MAKE_TEXT();
	event = attach(0, NOP);
	ASSERT_LE(0, event);
	call_page(text, 0);
	to = mmap(NULL, TEXT_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)to);
	ASSERT_EQ(to, mremap(text, TEXT_SIZE, TEXT_SIZE,
			     MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to));
	call_page(to, 0);
	EXPECT_EQ(2, text_hits(event)) TH_LOG("where it went");
	call_page(text, 0);
	EXPECT_EQ(3, text_hits(event)) TH_LOG("where it was");
	close(event);
	EXPECT_TRUE(text_restored(to, NOP));
	EXPECT_TRUE(text_restored(text, NOP));
	munmap(to, TEXT_SIZE);
	unlink(path);
}

/* After fork() each process has its own copy when the next probe writes to it. */
TEST_F(uprobe, copies_of_a_fork)
{
	int first, second, to[2], from[2], status;
	uint64_t in_parent, in_child;
	pid_t pid;
	char c;

	MAKE_TEXT();
	first = attach(0, NOP);
	ASSERT_LE(0, first);
	call_page(text, 0);
	in_parent = frame(text);
	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* Twice: before the next probe and behind it. */
		while (read(to[0], &c, 1) == 1) {
			in_child = frame(text);
			if (write(from[1], &in_child, sizeof(in_child)) != sizeof(in_child))
				_exit(1);
			call_page(text, 0);
			if (c)
				_exit(0);
		}
		_exit(2);
	}
	ASSERT_EQ(1, write(to[1], "\0", 1));
	ASSERT_EQ(sizeof(in_child), read(from[0], &in_child, sizeof(in_child)));
	EXPECT_EQ(in_parent, in_child);
	/* Only here: the event does not reach children that are there. */
	second = attach(0, PUSH);
	ASSERT_LE(0, second);
	call_page(text, 0);
	EXPECT_EQ(1, text_hits(second));
	in_parent = frame(text);
	ASSERT_EQ(1, write(to[1], "\1", 1));
	ASSERT_EQ(sizeof(in_child), read(from[0], &in_child, sizeof(in_child)));
	EXPECT_NE(in_parent, in_child);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(4, text_hits(first));
	EXPECT_EQ(1, text_hits(second));
	close(first);
	close(second);
	EXPECT_TRUE(text_restored(text, NOP));
	EXPECT_TRUE(text_restored(text, PUSH));
	unlink(path);
}

/* What a program wrote is still known to be written when probes come and go. */
TEST_F(uprobe, soft_dirty)
{
	char *page;
	int event, other;

	MAKE_TEXT();
	page = text + TEXT_SIZE;
	ASSERT_EQ(0, mprotect(text, SIZE, PROT_READ | PROT_WRITE));
	page[TEXT_SIZE - 1] = 1;
	text[TEXT_SIZE - 1] = 1;
	ASSERT_EQ(0, mprotect(text, SIZE, PROT_READ | PROT_EXEC));
	ASSERT_TRUE(write_file("/proc/self/clear_refs", "4"));
	if (pagemap(page) & PM_SOFT_DIRTY)
		SKIP(return, "no tracking of written pages");
	ASSERT_EQ(0, mprotect(page, TEXT_SIZE, PROT_READ | PROT_WRITE));
	page[TEXT_SIZE - 1] = 0;
	ASSERT_EQ(0, mprotect(page, TEXT_SIZE, PROT_READ | PROT_EXEC));
	ASSERT_TRUE(pagemap(page) & PM_SOFT_DIRTY);

	event = attach(1, NOP);
	ASSERT_LE(0, event);
	other = attach(1, STEP);
	ASSERT_LE(0, other);
	EXPECT_TRUE(pagemap(page) & PM_SOFT_DIRTY) TH_LOG("with two probes");
	call_page(text, 1);
	close(event);
	EXPECT_TRUE(pagemap(page) & PM_SOFT_DIRTY) TH_LOG("with one probe");
	/* The page is that of the file again, and was written all the same. */
	close(other);
	EXPECT_TRUE(pagemap(page) & PM_SOFT_DIRTY) TH_LOG("without probe");
	call_page(text, 1);
	EXPECT_TRUE(pagemap(page) & PM_SOFT_DIRTY);
	EXPECT_TRUE(text_restored(page, STEP));
	unlink(path);
}

/* A locked page is locked as the probe's copy, and as the file's after it. */
TEST_F(uprobe, locked)
{
	long locked;
	int event;

	MAKE_TEXT();
	ASSERT_TRUE(write_file("/proc/sys/vm/compact_memory", "1"));
	number_after("/proc/sys/vm/stat_refresh", "");
	locked = number_after("/proc/vmstat", "nr_mlock ");
	ASSERT_EQ(0, mlock(text, SIZE));
	EXPECT_TRUE(word_of("/proc/kpageflags", frame(text)) & KPF_MLOCKED);
	event = attach(0, NOP);
	ASSERT_LE(0, event);
	call_page(text, 0);
	EXPECT_TRUE(is_anon(text));
	EXPECT_TRUE(word_of("/proc/kpageflags", frame(text)) & KPF_MLOCKED) TH_LOG("probed");
	close(event);
	EXPECT_TRUE(text_restored(text, NOP));
	EXPECT_FALSE(is_anon(text));
	EXPECT_TRUE(word_of("/proc/kpageflags", frame(text)) & KPF_MLOCKED) TH_LOG("afterwards");
	EXPECT_EQ(SIZE / 1024, number_after("/proc/self/status", "VmLck:"));
	munmap(text, SIZE);
	EXPECT_EQ(0, number_after("/proc/self/status", "VmLck:"));
	/* What is batched on each CPU is done before the count is looked at. */
	ASSERT_TRUE(write_file("/proc/sys/vm/compact_memory", "1"));
	number_after("/proc/sys/vm/stat_refresh", "");
	EXPECT_EQ(locked, number_after("/proc/vmstat", "nr_mlock "));
	unlink(path);
}

/* ---- merging and collapsing ---- */

/* Two equal copies that KSM merges are told apart when the next probe writes. */
TEST_F(uprobe, merged)
{
	static const char * const knobs[] = {
		"/sys/kernel/mm/ksm/run", "/sys/kernel/mm/ksm/sleep_millisecs",
		"/sys/kernel/mm/ksm/pages_to_scan",
	};
	static const char * const values[] = { "1", "1", "10000" };
	int first, second, i;
	char *other;

	MAKE_TEXT();
	if (access(knobs[0], W_OK))
		SKIP(return, "no KSM");
	other = map_file();
	ASSERT_NE(NULL, other);
	first = attach(0, NOP);
	ASSERT_LE(0, first);
	call_page(text, 0);
	call_page(other, 0);
	ASSERT_NE(frame(text), frame(other));
	ASSERT_EQ(0, madvise(text, SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(other, SIZE, MADV_MERGEABLE));
	for (i = 2; i >= 0; i--)
		ASSERT_TRUE(write_setting(knobs[i], values[i]));
	for (i = 0; i < 1000 && frame(text) != frame(other); i++)
		usleep(10000);
	EXPECT_EQ(frame(text), frame(other)) TH_LOG("not merged");
	call_page(text, 0);
	call_page(other, 0);

	second = attach(0, STEP);
	ASSERT_LE(0, second);
	call_page(text, 0);
	call_page(other, 0);
	EXPECT_EQ(6, text_hits(first));
	EXPECT_EQ(2, text_hits(second));
	close(first);
	EXPECT_TRUE(restore_settings());
	call_page(text, 0);
	call_page(other, 0);
	EXPECT_EQ(4, text_hits(second));
	close(second);
	EXPECT_TRUE(text_restored(text, NOP) && text_restored(text, STEP));
	EXPECT_TRUE(text_restored(other, NOP) && text_restored(other, STEP));
	unlink(path);
}

/* How much of this process is mapped by huge pages of files. */
static long huge_kb(void)
{
	static const char file[] = "/proc/self/smaps_rollup";

	return number_after(file, "ShmemPmdMapped:") + number_after(file, "FilePmdMapped:");
}

/* Text is collapsed into a huge page around a probe, which stays, and behind it. */
TEST_F(uprobe, collapsed)
{
	const size_t huge = 2 << 20;
	char *area, *map;
	int event, fd, i;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_X86_64);
	ASSERT_TRUE(make_file(huge / TEXT_SIZE));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	area = mmap(NULL, 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, area);
	area = (char *)(((uintptr_t)area + huge - 1) & ~(huge - 1));
	map = mmap(area, huge, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0);
	ASSERT_EQ(area, map);
	for (i = 0; i < (int)(huge / TEXT_SIZE); i++)
		call_page(map, i);
	ASSERT_EQ(0, huge_kb());

	event = attach(3, STEP);
	ASSERT_LE(0, event);
	call_page(map, 3);
	madvise(map, huge, MADV_COLLAPSE);
	EXPECT_EQ(0, huge_kb()) TH_LOG("a huge page has no breakpoint");
	for (i = 0; i < (int)(huge / TEXT_SIZE); i++)
		call_page(map, i);
	EXPECT_EQ(2, text_hits(event));
	close(event);
	EXPECT_TRUE(text_restored(map + 3 * TEXT_SIZE, STEP));
	if (madvise(map, huge, MADV_COLLAPSE) && errno == EINVAL)
		SKIP(return, "no huge pages in tmpfs");
	call_page(map, 3);
	ASSERT_EQ(huge / 1024, huge_kb()) TH_LOG("not collapsed after the probe");

	/* And from a huge page, which is one again when the last probe has gone. */
	for (i = 0; i < 3; i++) {
		event = attach(i, NOP);
		ASSERT_LE(0, event);
		EXPECT_EQ(0, huge_kb());
		call_page(map, i);
		EXPECT_EQ(1, text_hits(event));
		close(event);
		call_page(map, i);
		EXPECT_EQ(huge / 1024, huge_kb()) TH_LOG("not huge again, round %d", i);
	}
	munmap(map, huge);
	close(fd);
	unlink(path);
}

/* ---- swap ---- */

struct swap {
	int	loop, file;
	char	device[32], path[64];
};

/* A file of 8 MB on a loop device: NULL, or what cannot be had. */
static const char *swap_begin(struct swap *s)
{
	/* version, last page, number of bad pages */
	const uint32_t header[] = { 1, (8 << 20) / TEXT_SIZE - 1, 0 };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), nr = -1;

	s->loop = -1;
	snprintf(s->path, sizeof(s->path), "/tmp/memory_swap.%d", getpid());
	s->file = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (s->file < 0 || fallocate(s->file, 0, 0, 8 << 20) ||
	    pwrite(s->file, header, sizeof(header), 1024) != sizeof(header) ||
	    pwrite(s->file, "SWAPSPACE2", 10, TEXT_SIZE - 10) != 10)
		return "no room in /tmp";
	if (control >= 0) {
		nr = ioctl(control, LOOP_CTL_GET_FREE);
		close(control);
	}
	snprintf(s->device, sizeof(s->device), "/dev/loop%d", nr);
	s->loop = open(s->device, O_RDWR | O_CLOEXEC);
	if (nr < 0 || s->loop < 0 || ioctl(s->loop, LOOP_SET_FD, s->file))
		return "no loop devices";
	return swapon(s->device, 0) ? "no swap" : NULL;
}

static bool swap_end(struct swap *s)
{
	bool good = !swapoff(s->device) && !ioctl(s->loop, LOOP_CLR_FD, 0);

	close(s->loop);
	close(s->file);
	unlink(s->path);
	return good;
}

/* Have the page written to swap. */
static bool swap_out(char *page)
{
	int i;

	for (i = 0; i < 200; i++) {
		madvise(page, TEXT_SIZE, MADV_PAGEOUT);
		if (pagemap(page) & PM_SWAPPED)
			return true;
		/* It may wait in the batch of another CPU for the LRU lists. */
		write_file("/proc/sys/vm/compact_memory", "1");
		usleep(10000);
	}
	return false;
}

/* A probed page in swap is brought back by a hit, by the next probe, by its removal. */
TEST_F(uprobe, swapped)
{
	struct swap swap;
	int first, second;
	const char *why;

	MAKE_TEXT();
	why = swap_begin(&swap);
	if (why)
		SKIP(return, "%s", why);
	first = attach(0, NOP);
	ASSERT_LE(0, first);
	call_page(text, 0);
	ASSERT_TRUE(swap_out(text)) TH_LOG("the page stays");
	text_call(text, NOP, NULL);
	EXPECT_EQ(2, text_hits(first)) TH_LOG("hit in swap");

	ASSERT_TRUE(swap_out(text));
	second = attach(0, STEP);
	ASSERT_LE(0, second);
	call_page(text, 0);
	EXPECT_EQ(3, text_hits(first));
	EXPECT_EQ(1, text_hits(second)) TH_LOG("attached in swap");

	ASSERT_TRUE(swap_out(text));
	close(first);
	EXPECT_TRUE(text_restored(text, NOP)) TH_LOG("detached in swap");
	call_page(text, 0);
	EXPECT_EQ(2, text_hits(second));

	ASSERT_TRUE(swap_out(text));
	close(second);
	EXPECT_TRUE(text_restored(text, STEP));
	EXPECT_FALSE(is_anon(text)) TH_LOG("not the page of the file again");
	munmap(text, SIZE);
	EXPECT_TRUE(swap_end(&swap)) TH_LOG("swap stays in use");
	unlink(path);
}

/* ---- counters ---- */

struct rss {
	long	anon_kb, file_kb, shmem_kb;
};

static struct rss rss_of(pid_t pid)
{
	char file[64];

	snprintf(file, sizeof(file), "/proc/%d/status", pid);
	return (struct rss){
		number_after(file, "RssAnon:"), number_after(file, "RssFile:"),
		number_after(file, "RssShmem:"),
	};
}

/* Another process that has the text mapped. */
static struct process {
	pid_t	pid;
	int	to, from;
} process;

enum { LOOK, CALL_ALL };

static void serve(int in, int out)
{
	unsigned int i;
	char c, *page;

	while (read(in, &c, 1) == 1) {
		for (i = 0; i < PAGES; i++) {
			if (c == CALL_ALL)
				call_page(text, i);
			else
				(void)*(volatile char *)(text + i * TEXT_SIZE);
		}
		/* The task has counted for itself; an unmapping adds that up. */
		page = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*page = 1;
		munmap(page, TEXT_SIZE);
		if (write(out, &c, 1) != 1)
			break;
	}
	_exit(0);
}

static bool start(void)
{
	int to[2], from[2];

	if (pipe(to) || pipe(from))
		return false;
	process = (struct process){ fork(), to[1], from[0] };
	if (!process.pid) {
		close(to[1]);
		serve(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	return process.pid > 0;
}

/* It calls everything once, or looks at it; what it has then. */
static struct rss told(char c)
{
	if (write(process.to, &c, 1) != 1 || read(process.from, &c, 1) != 1)
		return (struct rss){ -1, -1, -1 };
	return rss_of(process.pid);
}

static struct rss called(void)
{
	return told(CALL_ALL);
}

/* A hit would take away what a removal has left. */
static struct rss looked(void)
{
	return told(LOOK);
}

/* Of the text: on a file system in memory it is counted elsewhere. */
static long of_files(struct rss rss)
{
	return rss.file_kb + rss.shmem_kb;
}

static int attach_all(unsigned int page, enum function which, struct upl_link **link)
{
	struct upl_probe probe = {
		.path = path, .offset = page * TEXT_SIZE + text_offset(which), .pid = -1, .cpu = -1,
	};

	return upl_attach(&probe, UPL_PERF, link);
}

/* The counters of another process say what a probe makes of its pages, exactly. */
TEST_F(uprobe, counted_pages)
{
	const long kb = SIZE / 1024;
	struct upl_link *links[2][PAGES];
	struct rss before, now;
	unsigned int i, round;
	int status;

	MAKE_TEXT();
	ASSERT_TRUE(start());
	/* The page to step in comes with the first step, and stays. */
	ASSERT_EQ(0, attach_all(0, STEP, &links[0][0])) TH_LOG("%s", upl_reason());
	called();
	ASSERT_EQ(0, upl_detach(links[0][0]));
	called();
	before = called();
	ASSERT_LT(0, before.anon_kb);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < PAGES; i++)
			ASSERT_EQ(0, attach_all(i, NOP, &links[0][i]));
		now = called();
		EXPECT_EQ(before.anon_kb + kb, now.anon_kb);
		EXPECT_EQ(of_files(before) - kb, of_files(now));
		for (i = 0; i < PAGES; i++)
			ASSERT_EQ(0, attach_all(i, STEP, &links[1][i]));
		now = called();
		EXPECT_EQ(before.anon_kb + kb, now.anon_kb) TH_LOG("two probes on each page");
		EXPECT_EQ(of_files(before) - kb, of_files(now));
		upl_detach_all(links[0], PAGES);
		now = looked();
		EXPECT_EQ(before.anon_kb + kb, now.anon_kb) TH_LOG("one of two is left");
		upl_detach_all(links[1], PAGES);
		now = looked();
		EXPECT_EQ(before.anon_kb, now.anon_kb) TH_LOG("round %u", round);
		EXPECT_EQ(of_files(before), of_files(now)) TH_LOG("round %u", round);
	}
	/* At its end the kernel checks them too, and says "Bad rss-counter". */
	close(process.to);
	ASSERT_EQ(process.pid, waitpid(process.pid, &status, 0));
	EXPECT_EQ(0, status);
	unlink(path);
}

/* ---- where instructions are stepped ---- */

static void *step_once(void *unused)
{
	text_call(text, STEP, NULL);
	return unused;
}

/* Threads that come one after the other step in the page of the first. */
TEST_F(uprobe, slots_are_given_back)
{
	unsigned int i, areas = 0;
	pthread_t thread;
	char line[512];
	FILE *maps;
	int event;

	MAKE_TEXT();
	event = attach(0, STEP);
	ASSERT_LE(0, event);
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, step_once, NULL));
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(200, text_hits(event));
	maps = fopen("/proc/self/maps", "re");
	while (maps && fgets(line, sizeof(line), maps))
		areas += !!strstr(line, "[uprobes]");
	fclose(maps);
	EXPECT_EQ(1, areas);
	close(event);
	unlink(path);
}

/* ---- leaks ---- */

#define ROUNDS		100
#define MAX_CACHES	512

struct caches {
	unsigned int	nr;
	struct {
		char	name[64];
		long	objects, per_slab;
	} cache[MAX_CACHES];
};

/*
 * The slabs that each CPU keeps count as full: give them back. The files stay open,
 * for opening and closing them makes garbage of its own; what is written is long, for
 * the kernel copies it into an object of that size, of slabs that have few.
 */
static void shrink_caches(void)
{
	static const char one[3000] = "1";
	static int files[MAX_CACHES], nr;
	glob_t found;
	int i;

	if (!nr && !glob("/sys/kernel/slab/*/shrink", 0, NULL, &found)) {
		for (; nr < (int)found.gl_pathc && nr < MAX_CACHES; nr++)
			files[nr] = open(found.gl_pathv[nr], O_WRONLY | O_CLOEXEC);
		globfree(&found);
	}
	for (i = 0; i < nr; i++) {
		if (pwrite(files[i], one, sizeof(one), 0) < 0)
			errno = 0;
	}
}

static bool read_caches(struct caches *c)
{
	FILE *file = fopen("/proc/slabinfo", "re");
	char line[512];

	c->nr = 0;
	while (file && c->nr < MAX_CACHES && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %ld %*d %*d %ld", c->cache[c->nr].name,
			   &c->cache[c->nr].objects, &c->cache[c->nr].per_slab) == 3)
			c->nr++;
	}
	if (file)
		fclose(file);
	return c->nr > 0;
}

/*
 * A cache that has an object more for every other round; NULL: none. A slab counts
 * as full when a CPU takes the first object of it: those of 512 tell nothing.
 */
static const char *grown(struct caches *before)
{
	static struct caches now;
	static char what[128];
	unsigned int i, j;

	shrink_caches();
	read_caches(&now);
	for (i = 0; i < before->nr; i++) {
		for (j = 0; j < now.nr && strcmp(before->cache[i].name, now.cache[j].name); j++)
			;
		if (j == now.nr || now.cache[j].per_slab > 2 * ROUNDS ||
		    now.cache[j].objects - before->cache[i].objects < ROUNDS / 2)
			continue;
		snprintf(what, sizeof(what), "%s: %ld objects, now %ld", before->cache[i].name,
			 before->cache[i].objects, now.cache[j].objects);
		return what;
	}
	return NULL;
}

FIXTURE(rounds) {
};

FIXTURE_VARIANT(rounds) {
	enum upl_consumer	consumer;
	bool			is_return;
};

FIXTURE_VARIANT_ADD(rounds, perf) { UPL_PERF, false };
FIXTURE_VARIANT_ADD(rounds, perf_return) { UPL_PERF, true };
FIXTURE_VARIANT_ADD(rounds, tracepoint) { UPL_TRACEPOINT, false };
FIXTURE_VARIANT_ADD(rounds, bpf) { UPL_BPF, false };

FIXTURE_SETUP(rounds)
{
	EXPECT_EQ(0, kernel_log_faults(NULL));
}

FIXTURE_TEARDOWN(rounds)
{
	EXPECT_EQ(0, kernel_log_faults(NULL));
}

/* One attachment, a hit in a child too, and its end. */
static int one_round(enum upl_consumer consumer, bool is_return)
{
	struct upl_probe probe = {
		.path = path, .offset = text_offset(STEP), .is_return = is_return,
		.pid = getpid(), .cpu = -1,
	};
	struct upl_link *link;
	pid_t pid;
	int ret;

	ret = upl_attach(&probe, consumer, &link);
	if (ret)
		return ret;
	call_page(text, 0);
	pid = fork();
	if (!pid) {
		call_page(text, 0);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return upl_detach(link);
}

/* After a hundred attachments neither the kernel nor the process has more memory. */
TEST_F_TIMEOUT(rounds, leave_nothing, 300)
{
	static struct caches before;
	struct rss rss_before, rss_after;
	const char *why = NULL;
	unsigned int i;

	REQUIRE(NEED_TRACEFS | NEED_BPF);
	MAKE_TEXT();
	/* Buffers and the like that are made once. */
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, one_round(variant->consumer, variant->is_return))
			TH_LOG("%s", upl_reason());
	/* What kfree_rcu() keeps for some seconds goes now. */
	write_file("/proc/sys/vm/drop_caches", "2");
	sleep(1);
	shrink_caches();
	if (!read_caches(&before))
		SKIP(return, "no /proc/slabinfo");
	rss_before = rss_of(getpid());
	for (i = 0; i < ROUNDS; i++)
		ASSERT_EQ(0, one_round(variant->consumer, variant->is_return))
			TH_LOG("%s", upl_reason());
	call_page(text, 0);
	rss_after = rss_of(getpid());
	/* This process counts its own faults in batches of up to 64 pages. */
	EXPECT_GT(64 * 4, labs(rss_after.anon_kb - rss_before.anon_kb));
	EXPECT_GT(64 * 4, labs(of_files(rss_after) - of_files(rss_before)));
	/* Callbacks free what grace periods keep. */
	for (i = 0; i < 60 && (i == 0 || why); i++) {
		usleep(500000);
		why = grown(&before);
	}
	EXPECT_EQ(NULL, why) TH_LOG("%s", why ?: "");
	EXPECT_TRUE(text_restored(text, STEP));
	unlink(path);
}

TEST_HARNESS_MAIN
