// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/*
 * Probes that come and go together, many in one event: each process gets all of
 * its breakpoints or the reason why not, and its text back. x86-64.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "common.h"
#include "events.h"
#include "text.h"

#define PAGE		4096
#define NR_FILES	2
#define FILE_SIZE	(4 * PAGE)
#define MAP_AT(file)	((char *)0x600000000000 + (file) * 0x1000000L)
#define MAX_SITES	200

/* Each ends in a return; all of the instruction matters where it is executed. */
static const struct {
	const char	*code;
	size_t		size;
} kinds[] = {
	{ "\x90\xc3", 2 },				/* nop */
	{ "\x55\x5d\xc3", 3 },				/* push %rbp; pop %rbp */
	{ "\x66\x0f\xef\xc0\xc3", 5 },			/* pxor %xmm0,%xmm0 */
	{ "\xe9\x01\x00\x00\x00\xcc\xc3", 7 },		/* jmp over int3 */
	{ "\x48\x8d\x05\x00\x01\x00\x00\xc3", 8 },	/* lea 256(%rip),%rax */
	/* mov (%rip),%rax with a superfluous REX.B, which the analysis clears */
	{ "\x49\x8b\x05\x00\x00\x00\x00\xc3", 8 },
	{ "\xb8\x04\x03\x02\x01\xc3", 6 },		/* mov $0x01020304,%eax */
};

#define NR_KINDS	(sizeof(kinds) / sizeof(kinds[0]))

struct site {
	int		file;
	uint64_t	offset;
};

static struct site sites[MAX_SITES];
static unsigned int nr_sites;
static char paths[NR_FILES][64], contents[NR_FILES][FILE_SIZE];
static char name[32];	/* of the event: uprobe_profile does not tell its group */

static void add_site(int file, uint64_t offset, const char *code, size_t size)
{
	memcpy(contents[file] + offset, code, size);
	sites[nr_sites++] = (struct site){ file, offset };
}

/* The only site: mov $TEXT_VALUE,%eax in the first file. */
static void make_one_site(uint64_t offset)
{
	nr_sites = 0;
	memset(contents, 0, sizeof(contents));
	snprintf(name, sizeof(name), "together_%d", getpid());
	add_site(0, offset, "\xb8\x04\x03\x02\x01\xc3", 6);
}

static bool write_files(void)
{
	int file, fd;
	bool good;

	for (file = 0; file < NR_FILES; file++) {
		snprintf(paths[file], sizeof(paths[file]), "/tmp/together.%d.%d", getpid(), file);
		fd = open(paths[file], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
		good = fd >= 0 && write(fd, contents[file], FILE_SIZE) == FILE_SIZE;
		close(fd);
		if (!good)
			return false;
	}
	return true;
}

/*
 * Sites in both files in turn, in no order: fifty and more in a page, some in
 * others, one across two pages.
 */
static bool make_files(unsigned int nr)
{
	unsigned int i, slot;

	nr_sites = 0;
	snprintf(name, sizeof(name), "together_%d", getpid());
	add_site(0, PAGE - 2, "\x0f\x1f\x44\x00\x00\xc3", 6);
	for (i = 0; nr_sites < nr; i++) {
		slot = i / 2 * 37 % 128;	/* 37 and 128 have no common factor */
		add_site(i % 2, 16 + slot * (i % 2 ? 64 : 96),
			 kinds[i % NR_KINDS].code, kinds[i % NR_KINDS].size);
	}
	return write_files();
}

static void remove_files(void)
{
	unlink(paths[0]);
	unlink(paths[1]);
}

/* ---- processes ---- */

struct worker {
	pid_t	pid;
	int	ask, answer;
};

enum op {
	OP_MAP,		/* both files, private and executable */
	OP_HIT,		/* each site once */
	OP_FORK_HIT,	/* each site once, in a child */
	OP_EXIT,
};

static int do_map(void)
{
	int file, fd;
	char *map;

	for (file = 0; file < NR_FILES; file++) {
		fd = open(paths[file], O_RDONLY | O_CLOEXEC);
		map = mmap(MAP_AT(file), FILE_SIZE, PROT_READ | PROT_EXEC,
			   MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
		close(fd);
		if (map != MAP_AT(file))
			return -1;
	}
	return 0;
}

static int do_hit(void)
{
	unsigned int i;

	for (i = 0; i < nr_sites; i++)
		((void (*)(void))(MAP_AT(sites[i].file) + sites[i].offset))();
	return 0;
}

static int do_fork_hit(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(do_hit());
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

static void work(int ask, int answer)
{
	static int (* const ops[])(void) = {
		[OP_MAP] = do_map, [OP_HIT] = do_hit, [OP_FORK_HIT] = do_fork_hit,
	};
	enum op op;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(ask, &op, sizeof(op)) == sizeof(op) && op != OP_EXIT) {
		ret = ops[op]();
		if (write(answer, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

static bool worker_start(struct worker *worker)
{
	int ask[2], answer[2];

	if (pipe2(ask, O_CLOEXEC) || pipe2(answer, O_CLOEXEC))
		return false;
	worker->pid = fork();
	if (!worker->pid) {
		close(ask[1]);
		close(answer[0]);
		work(ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	worker->ask = ask[1];
	worker->answer = answer[0];
	return worker->pid > 0;
}

/* What it answers; -1 if it has died of it. */
static int tell(struct worker *worker, enum op op)
{
	int ret;

	if (write(worker->ask, &op, sizeof(op)) != sizeof(op) ||
	    read(worker->answer, &ret, sizeof(ret)) != sizeof(ret))
		return -1;
	return ret;
}

/* Its exit status: 0 unless something killed it. */
static int worker_stop(struct worker *worker)
{
	enum op op = OP_EXIT;
	int status = -1;

	if (write(worker->ask, &op, sizeof(op)) != sizeof(op))
		kill(worker->pid, SIGKILL);
	close(worker->ask);
	close(worker->answer);
	waitpid(worker->pid, &status, 0);
	return status;
}

/* Bytes that differ from the file in what the process has mapped; -1: no look. */
static int changed_bytes(pid_t pid, int file, const char *at)
{
	char path[64], text[FILE_SIZE];
	int fd, i, n = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pread(fd, text, sizeof(text), (uintptr_t)at) != sizeof(text))
		n = -1;
	close(fd);
	for (i = 0; n >= 0 && i < FILE_SIZE; i++)
		n += text[i] != contents[file][i];
	return n;
}

static int changed(struct worker *worker)
{
	return changed_bytes(worker->pid, 0, MAP_AT(0)) +
	       changed_bytes(worker->pid, 1, MAP_AT(1));
}

/* ---- the event ---- */

static bool define_probe(const char *path, uint64_t offset, const char *args)
{
	char line[256];

	snprintf(line, sizeof(line), "p:together/%s %s:0x%llx %s", name, path,
		 (unsigned long long)offset, args);
	return !define_event(line);
}

static bool define_probes(void)
{
	unsigned int i;

	for (i = 0; i < nr_sites; i++) {
		if (!define_probe(paths[sites[i].file], sites[i].offset, ""))
			return false;
	}
	return true;
}

static int remove_probes(void)
{
	char line[64];

	snprintf(line, sizeof(line), "-:together/%s", name);
	return define_event(line);
}

static int enable(const char *on)
{
	char file[64];

	snprintf(file, sizeof(file), "events/together/%s/enable", name);
	return tracefs_write(file, 0, on);
}

/* How many of the event's probes do not have these counts. */
static unsigned int wrong_counts(uint64_t hits, uint64_t missed)
{
	struct profile_row rows[MAX_SITES];
	unsigned int i, nr, wrong;

	nr = event_profile_rows(name, rows, MAX_SITES);
	wrong = nr > nr_sites ? nr - nr_sites : nr_sites - nr;
	for (i = 0; i < nr && i < MAX_SITES; i++)
		wrong += rows[i].hits != hits || rows[i].missed != missed;
	return wrong;
}

/*
 * An event of many probes in two files: each one counts each hit once, in a
 * process that has mapped them before, in one that does so after, in a child.
 * All text is back when it is disabled, and the same once more.
 */
TEST_F(uprobe, many_in_one_event)
{
	struct worker before, after;
	uint64_t hits = 0;
	int round;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	ASSERT_TRUE(make_files(MAX_SITES));
	ASSERT_TRUE(worker_start(&before));
	ASSERT_EQ(0, tell(&before, OP_MAP));
	ASSERT_TRUE(define_probes());

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, enable("1"));
		EXPECT_EQ(nr_sites, changed(&before));
		ASSERT_TRUE(worker_start(&after));
		ASSERT_EQ(0, tell(&after, OP_MAP));
		EXPECT_EQ(nr_sites, changed(&after));

		EXPECT_EQ(0, tell(&before, OP_HIT));
		EXPECT_EQ(0, tell(&after, OP_HIT));
		EXPECT_EQ(0, tell(&before, OP_FORK_HIT));
		hits += 3;
		EXPECT_EQ(0, wrong_counts(hits, 0));

		EXPECT_EQ(0, enable("0"));
		EXPECT_EQ(0, changed(&before));
		EXPECT_EQ(0, changed(&after));
		EXPECT_EQ(0, tell(&before, OP_HIT));
		EXPECT_EQ(0, tell(&after, OP_FORK_HIT));
		EXPECT_EQ(0, wrong_counts(hits, 0));
		EXPECT_EQ(0, worker_stop(&after));
	}

	EXPECT_EQ(0, remove_probes());
	EXPECT_EQ(0, worker_stop(&before));
	remove_files();
}

/* A probe that joins an enabled event is there at once, or refused. */
TEST_F(uprobe, appended_to_an_enabled_event)
{
	struct worker worker;
	unsigned int all;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	ASSERT_TRUE(make_files(10));
	ASSERT_TRUE(worker_start(&worker));
	ASSERT_EQ(0, tell(&worker, OP_MAP));
	all = nr_sites;

	nr_sites = all - 1;
	ASSERT_TRUE(define_probes());
	ASSERT_EQ(0, enable("1"));
	nr_sites = all;
	ASSERT_TRUE(define_probe(paths[sites[all - 1].file], sites[all - 1].offset, ""));
	EXPECT_EQ(all, changed(&worker));
	EXPECT_EQ(0, tell(&worker, OP_HIT));
	EXPECT_EQ(0, wrong_counts(1, 0));

	EXPECT_FALSE(define_probe(paths[0], FILE_SIZE, ""));
	EXPECT_EQ(0, wrong_counts(1, 0));

	EXPECT_EQ(0, enable("0"));
	EXPECT_EQ(0, changed(&worker));
	EXPECT_EQ(0, remove_probes());
	EXPECT_EQ(0, worker_stop(&worker));
	remove_files();
}

/* Perf events for one process each: breakpoints only where they are wanted. */
TEST_F(uprobe, many_for_one_process)
{
	struct worker workers[2];
	char event[64];
	int fds[2], i;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	ASSERT_TRUE(make_files(50));
	ASSERT_TRUE(define_probes());
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(worker_start(&workers[i]));
		ASSERT_EQ(0, tell(&workers[i], OP_MAP));
	}
	snprintf(event, sizeof(event), "together/%s", name);

	fds[0] = event_open_trace(event, workers[0].pid, -1);
	ASSERT_LE(0, fds[0]);
	EXPECT_EQ(nr_sites, changed(&workers[0]));
	EXPECT_EQ(0, changed(&workers[1]));
	fds[1] = event_open_trace(event, workers[1].pid, -1);
	ASSERT_LE(0, fds[1]);
	EXPECT_EQ(nr_sites, changed(&workers[1]));

	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, tell(&workers[i], OP_HIT));
	EXPECT_EQ(nr_sites, event_count(fds[0]));
	EXPECT_EQ(nr_sites, event_count(fds[1]));

	close(fds[0]);
	EXPECT_EQ(0, changed(&workers[0]));
	EXPECT_EQ(nr_sites, changed(&workers[1]));
	EXPECT_EQ(0, tell(&workers[1], OP_HIT));
	EXPECT_EQ(2 * nr_sites, event_count(fds[1]));
	close(fds[1]);
	EXPECT_EQ(0, changed(&workers[1]));

	EXPECT_EQ(0, remove_probes());
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, worker_stop(&workers[i]));
	remove_files();
}

/* A probe that cannot be: the event stays disabled, and no other one is left. */
TEST_F(uprobe, one_bad_probe)
{
	struct worker before, after;
	int ret;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	ASSERT_TRUE(make_files(40));
	/* In the second file, behind others: all that come before are undone. */
	contents[1][3 * PAGE] = 0xcc;
	ASSERT_TRUE(write_files());
	ASSERT_TRUE(worker_start(&before));
	ASSERT_EQ(0, tell(&before, OP_MAP));
	ASSERT_TRUE(define_probes());
	ASSERT_TRUE(define_probe(paths[1], 3 * PAGE, ""));

	ret = enable("1");
	EXPECT_NE(0, ret) TH_LOG("int3 probed");
	EXPECT_EQ(0, changed(&before));
	EXPECT_EQ(0, tell(&before, OP_HIT));
	ASSERT_TRUE(worker_start(&after));
	ASSERT_EQ(0, tell(&after, OP_MAP));
	EXPECT_EQ(0, changed(&after));
	EXPECT_EQ(0, remove_probes());

	/* The good ones alone are none the worse for it. */
	ASSERT_TRUE(define_probes());
	EXPECT_EQ(0, enable("1"));
	EXPECT_EQ(0, tell(&before, OP_HIT));
	EXPECT_EQ(0, tell(&after, OP_HIT));
	EXPECT_EQ(0, wrong_counts(2, 0));
	EXPECT_EQ(0, enable("0"));
	EXPECT_EQ(0, changed(&before));
	EXPECT_EQ(0, changed(&after));

	EXPECT_EQ(0, remove_probes());
	EXPECT_EQ(0, worker_stop(&before));
	EXPECT_EQ(0, worker_stop(&after));
	remove_files();
}

/* ---- text that is not the file's ---- */

/* At the end of a page: mov $TEXT_VALUE,%eax with three bytes on the next one. */
#define CROSSING	(PAGE - 2)
#define OWN_VALUE	0x05020304

static char *own_map(int prot)
{
	int fd = open(paths[0], O_RDONLY | O_CLOEXEC);
	char *map = mmap(NULL, FILE_SIZE, prot, MAP_PRIVATE, fd, 0);

	close(fd);
	return map == MAP_FAILED ? NULL : map;
}

static int call(const char *at)
{
	return ((int (*)(void))at)();
}

/* Change the last byte of the immediate, as a relocation would. */
static void rewrite(char *insn)
{
	insn[4] = OWN_VALUE >> 24;
}

/*
 * A program that has changed the probed instruction, be it in its second page,
 * before or after the registration or under a breakpoint, executes its own one and
 * is counted as missed; text read in anew is probed.
 */
TEST_F(uprobe, own_text)
{
	static const uint64_t offsets[] = { 64, CROSSING };
	char *first, *second;
	struct profile_row row;
	unsigned int i;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	for (i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		make_one_site(offsets[i]);
		ASSERT_TRUE(write_files());

		first = own_map(PROT_READ | PROT_WRITE);
		ASSERT_NE(NULL, first);
		rewrite(first + offsets[i]);
		ASSERT_EQ(0, mprotect(first, FILE_SIZE, PROT_READ | PROT_EXEC));
		ASSERT_TRUE(define_probes());
		ASSERT_EQ(0, enable("1")) TH_LOG("one process keeps all from being probed");
		EXPECT_EQ(OWN_VALUE, call(first + offsets[i]));

		second = own_map(PROT_READ | PROT_WRITE);
		ASSERT_NE(NULL, second);
		rewrite(second + offsets[i]);
		ASSERT_EQ(0, mprotect(second, FILE_SIZE, PROT_READ | PROT_EXEC));
		EXPECT_EQ(OWN_VALUE, call(second + offsets[i]));
		EXPECT_EQ(1, event_profile_rows(name, &row, 1));
		EXPECT_EQ(0, row.hits);
		EXPECT_EQ(2, row.missed);

		ASSERT_EQ(0, madvise(second, FILE_SIZE, MADV_DONTNEED));
		ASSERT_EQ(0, mprotect(second, FILE_SIZE, PROT_READ));
		ASSERT_EQ(0, mprotect(second, FILE_SIZE, PROT_READ | PROT_EXEC));
		EXPECT_EQ(TEXT_VALUE, call(second + offsets[i]));
		EXPECT_EQ(0, wrong_counts(1, 2));

		/* As ld.so does. */
		ASSERT_EQ(0, mprotect(second, FILE_SIZE, PROT_READ | PROT_WRITE));
		rewrite(second + offsets[i]);
		ASSERT_EQ(0, mprotect(second, FILE_SIZE, PROT_READ | PROT_EXEC));
		EXPECT_EQ(OWN_VALUE, call(second + offsets[i]));
		EXPECT_EQ(0, wrong_counts(1, 3));

		EXPECT_EQ(0, enable("0"));
		EXPECT_EQ(OWN_VALUE, call(first + offsets[i]));
		EXPECT_EQ(OWN_VALUE, call(second + offsets[i]));
		EXPECT_EQ((char)0xb8, second[offsets[i]]);
		EXPECT_EQ(0, remove_probes());
		munmap(first, FILE_SIZE);
		munmap(second, FILE_SIZE);
	}
	remove_files();
}

/* The same behind the back of mprotect(), as a debugger would. */
static bool poke(char *insn)
{
	const char last = OWN_VALUE >> 24;
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	bool good = pwrite(fd, &last, 1, (uintptr_t)insn + 4) == 1;

	close(fd);
	return good;
}

/* An event with two probes on the first site, which differ in what they fetch. */
static bool define_two(void)
{
	return define_probe(paths[0], sites[0].offset, "a=%di") &&
	       define_probe(paths[0], sites[0].offset, "a=%si");
}

/*
 * Two probes come at once to an instruction that was changed under the breakpoint
 * of a third: both are missed, and that one is taken away, once.
 */
TEST_F(uprobe, two_on_changed_text)
{
	struct profile_row rows[2];
	char *map, *insn;
	int first, i;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_X86_64);
	make_one_site(64);
	ASSERT_TRUE(write_files());
	map = own_map(PROT_READ | PROT_EXEC);
	ASSERT_NE(NULL, map);
	insn = map + sites[0].offset;
	first = text_attach(paths[0], sites[0].offset, false);
	ASSERT_LE(0, first);
	ASSERT_TRUE(poke(insn));
	EXPECT_EQ(TEXT_VALUE, call(insn));
	EXPECT_EQ(1, text_hits(first));

	ASSERT_TRUE(define_two());
	EXPECT_EQ(0, enable("1"));
	EXPECT_EQ((char)0xb8, *insn);
	EXPECT_EQ(OWN_VALUE, call(insn));
	EXPECT_EQ(2, event_profile_rows(name, rows, 2));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, rows[i].hits);
		EXPECT_EQ(1, rows[i].missed);
	}
	EXPECT_EQ(0, enable("0"));
	EXPECT_EQ(1, text_hits(first));
	close(first);
	EXPECT_EQ((char)0xb8, *insn);
	EXPECT_EQ(OWN_VALUE, call(insn));
	EXPECT_EQ(0, remove_probes());
	munmap(map, FILE_SIZE);
	remove_files();
}

/* A breakpoint that went with its page is there again when mprotect() asks. */
TEST_F(uprobe, dropped_page)
{
	char *map;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	ASSERT_TRUE(make_files(1));
	ASSERT_TRUE(define_probes());
	ASSERT_EQ(0, enable("1"));
	map = own_map(PROT_READ | PROT_EXEC);
	ASSERT_NE(NULL, map);
	call(map + sites[0].offset);
	ASSERT_EQ(0, madvise(map, FILE_SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, mprotect(map, FILE_SIZE, PROT_READ));
	ASSERT_EQ(0, mprotect(map, FILE_SIZE, PROT_READ | PROT_EXEC));
	call(map + sites[0].offset);
	EXPECT_EQ(0, wrong_counts(2, 0));
	EXPECT_EQ(0, enable("0"));
	EXPECT_EQ(0, changed_bytes(getpid(), 0, map));
	EXPECT_EQ(0, remove_probes());
	remove_files();
}

/* ---- text that cannot be written ---- */

/* A file in memory, which userfaultfd may watch, as the first of the two. */
static bool make_watchable_file(void)
{
	int fd = memfd_create("together", MFD_CLOEXEC);

	make_one_site(64);
	snprintf(paths[0], sizeof(paths[0]), "/proc/%d/fd/%d", getpid(), fd);
	return fd >= 0 && write(fd, contents[0], FILE_SIZE) == FILE_SIZE;
}

/* Have a mapping watched: a descriptor, or -errno. */
static int watch(char *map, uint64_t mode)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = mode == UFFDIO_REGISTER_MODE_MINOR ? UFFD_FEATURE_MINOR_SHMEM : 0,
	};
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)map, .len = FILE_SIZE }, .mode = mode,
	};
	struct uffdio_writeprotect protect = {
		.range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), ret = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		ret = -errno;
	else if (mode == UFFDIO_REGISTER_MODE_WP && ioctl(fd, UFFDIO_WRITEPROTECT, &protect))
		ret = -errno;
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

/* As long as it lives the page is never this process's alone. */
static bool hold_page(char *map)
{
	struct iovec page = { map, PAGE };
	int held[2];

	return !pipe(held) && vmsplice(held[1], &page, 1, 0) == PAGE;
}

/*
 * A process that has its text watched by nobody who would answer, and may share
 * its page for ever: 0 or -errno.
 */
static int watched_child(pid_t *child, char *map, uint64_t mode, bool hold)
{
	int channel[2], ret = -EIO;

	if (pipe2(channel, O_CLOEXEC))
		return -errno;
	*child = fork();
	if (!*child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* A page of the file, or a copy of it with a breakpoint */
		if (mode == UFFDIO_REGISTER_MODE_WP)
			call(map + sites[0].offset);
		else
			map = own_map(PROT_READ | PROT_EXEC);
		ret = watch(map, mode);
		ret = ret < 0 ? ret : 0;
		if (hold && !hold_page(map))
			ret = -EIO;
		if (write(channel[1], &ret, sizeof(ret)) != sizeof(ret))
			_exit(1);
		pause();
	}
	close(channel[1]);
	if (read(channel[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -EIO;
	close(channel[0]);
	return ret;
}

static void kill_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/*
 * A process whose text cannot be written, because it waits for what nobody
 * serves, does not keep root from probing the others.
 */
static void refused_copy(struct __test_metadata *_metadata, uint64_t mode)
{
	struct profile_row row;
	pid_t child;
	char *map;
	int ret;

	ASSERT_TRUE(make_watchable_file());
	map = own_map(PROT_READ | PROT_EXEC);
	ASSERT_NE(NULL, map);
	ret = watched_child(&child, map, mode, false);
	if (ret) {
		kill_child(child);
		SKIP(return, "no userfaultfd of this kind for files in memory");
	}

	ASSERT_TRUE(define_probes());
	EXPECT_EQ(0, enable("1")) TH_LOG("one process keeps all from being probed");
	EXPECT_EQ(TEXT_VALUE, call(map + sites[0].offset));
	EXPECT_EQ(1, event_profile_rows(name, &row, 1));
	EXPECT_EQ(1, row.hits);
	EXPECT_LE(1, row.missed);
	EXPECT_EQ(0, enable("0"));
	EXPECT_EQ(0, changed_bytes(getpid(), 0, map));
	EXPECT_EQ(0, remove_probes());
	kill_child(child);
	munmap(map, FILE_SIZE);
}

TEST_F(uprobe, refused_page)
{
	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	refused_copy(_metadata, UFFDIO_REGISTER_MODE_MINOR);
}

TEST_F(uprobe, refused_write)
{
	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	refused_copy(_metadata, UFFDIO_REGISTER_MODE_WP);
}

/*
 * Nor does one that has changed its text under a breakpoint, which cannot be taken
 * away because somebody watches the page.
 */
TEST_F(uprobe, refused_removal)
{
	struct profile_row row;
	int first, ret;
	pid_t child;
	char *map;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_X86_64);
	ASSERT_TRUE(make_watchable_file());
	map = own_map(PROT_READ | PROT_EXEC);
	ASSERT_NE(NULL, map);
	first = text_attach(paths[0], sites[0].offset, false);
	ASSERT_LE(0, first);
	ASSERT_TRUE(poke(map + sites[0].offset));
	ret = watched_child(&child, map, UFFDIO_REGISTER_MODE_WP, true);
	if (ret) {
		kill_child(child);
		SKIP(return, "no userfaultfd of this kind for files in memory");
	}

	ASSERT_TRUE(define_probes());
	EXPECT_EQ(0, enable("1")) TH_LOG("one process keeps all from being probed");
	EXPECT_EQ(OWN_VALUE, call(map + sites[0].offset));
	EXPECT_EQ(1, event_profile_rows(name, &row, 1));
	EXPECT_EQ(0, row.hits);
	EXPECT_EQ(2, row.missed);
	EXPECT_EQ(0, enable("0"));
	close(first);
	EXPECT_EQ(0, remove_probes());
	kill_child(child);
	munmap(map, FILE_SIZE);
}

/* Text protected against writes after it was probed is restored all the same. */
TEST_F(uprobe, protected_breakpoint)
{
	pid_t child;
	char *map;
	int ret, i;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_X86_64);
	ASSERT_TRUE(make_watchable_file());
	ASSERT_TRUE(define_probes());
	ASSERT_EQ(0, enable("1"));
	/* The child shares the copy with the breakpoint until this mapping goes. */
	map = own_map(PROT_READ | PROT_EXEC);
	ASSERT_NE(NULL, map);
	ret = watched_child(&child, map, UFFDIO_REGISTER_MODE_WP, false);
	if (!ret)
		EXPECT_EQ(1, changed_bytes(child, 0, map));
	munmap(map, FILE_SIZE);
	/* A page that waits in a CPU's batch for the LRU lists is not the child's alone. */
	EXPECT_TRUE(write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_EQ(0, enable("0"));

	/* Tried again after 0.1 s, 0.2 s and so on. */
	for (i = 0; !ret && i < 1000 && changed_bytes(child, 0, map); i++)
		usleep(10000);
	if (!ret)
		EXPECT_EQ(0, changed_bytes(child, 0, map));
	EXPECT_EQ(0, remove_probes());
	kill_child(child);
	if (ret)
		SKIP(return, "no userfaultfd of this kind for files in memory");
}

TEST_HARNESS_MAIN
