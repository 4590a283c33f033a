// SPDX-License-Identifier: GPL-2.0
/*
 * Hits against writers of mmap_lock: whoever maps, unmaps, moves, protects,
 * forks or executes meanwhile, each hit finds the probe of the instruction that
 * trapped, and no process is sent SIGTRAP.
 *
 * Every page of the file has a function that returns the number of its page by
 * one probed instruction, "mov $page,%eax". The kernel executes its own copy of
 * that instruction, so the result tells which probe was found.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define PAGE		4096UL
#define FILE_PAGES	32
#define MAP_FIRST	8	/* page of the file where the mapping starts */
#define MAP_PAGES	16
#define HIT_PAGE	6	/* of the mapping */
#define LOW		2	/* where the VMA of the hit page starts and ends */
#define HIGH		10	/* when it is cut */
#define HITTERS		2
#define MIN_ROUNDS	100
#define MAX_SECONDS	10	/* for them; a case has 30 s */

/*
 * The probed pages of the file: the hit one and those that a lookup arrives at
 * which takes vm_start from before and vm_pgoff from after a cut, or vice versa.
 */
static const unsigned int probed[] = {
	MAP_FIRST + HIT_PAGE,
	MAP_FIRST + HIT_PAGE - LOW, MAP_FIRST + HIT_PAGE + LOW,
	MAP_FIRST + HIT_PAGE - HIGH, MAP_FIRST + HIT_PAGE + HIGH,
};

#define NR_PROBED	(sizeof(probed) / sizeof(probed[0]))

struct file {
	int		fd;
	char		path[64];
	struct upl_link	*links[NR_PROBED];
};

struct race {
	struct file	a, b;
	char		*area;		/* reserved: nobody else maps here */
	volatile bool	stop;
	volatile unsigned int generation;	/* odd: area is being remapped */
	bool		may_fault;	/* SIGSEGV is the right answer, too */
	bool		two_files;
	bool		exact;		/* each call hits, and nobody else calls */
	unsigned long	hits, wrong;
	uint64_t	counted;	/* by consumers that are gone */
	int		last_wrong;
};

static struct race race;
static __thread sigjmp_buf fault;
static __thread volatile sig_atomic_t hitting;

static void on_fault(int sig)
{
	if (!hitting)
		_exit(128 + sig);
	siglongjmp(fault, 1);
}

/* The function of page i returns i + first. */
static int file_create(struct file *file, unsigned int first)
{
	/* mov $value,%eax; ret */
	unsigned char page[PAGE] = { 0xb8, 0, 0, 0, 0, 0xc3 };
	struct upl_probe probes[NR_PROBED];
	unsigned int i, value;

	/*
	 * With a name: a thread inherits the events, and the kernel resolves
	 * their path again, which lockdep does not want done below /proc.
	 */
	strcpy(file->path, "/tmp/vma_race.XXXXXX");
	file->fd = mkostemp(file->path, O_CLOEXEC);
	if (file->fd < 0)
		return -errno;
	for (i = 0; i < FILE_PAGES; i++) {
		value = first + i;
		memcpy(page + 1, &value, sizeof(value));
		if (write(file->fd, page, PAGE) != PAGE)
			return -EIO;
	}
	for (i = 0; i < NR_PROBED; i++)
		probes[i] = (struct upl_probe) {
			.path = file->path, .offset = probed[i] * PAGE,
			.pid = getpid(), .cpu = -1,
		};
	return upl_attach_all(probes, NR_PROBED, UPL_PERF, file->links);
}

static void *map_at(struct file *file, char *at)
{
	return mmap(at, MAP_PAGES * PAGE, PROT_READ | PROT_EXEC,
		    MAP_PRIVATE | MAP_FIXED, file->fd, MAP_FIRST * PAGE);
}

/* What stood at the hit page when generation was g; FILE_PAGES per file. */
static int expected_at(unsigned int g)
{
	int file = race.two_files && (g / 2) % 2;

	return file * FILE_PAGES + MAP_FIRST + HIT_PAGE;
}

static void *hitter(void *arg)
{
	int (*fn)(void) = (void *)(race.area + HIT_PAGE * PAGE);
	volatile unsigned long hits = 0;	/* survives siglongjmp() */
	unsigned int before;
	int got;

	(void)arg;
	while (!race.stop) {
		before = __atomic_load_n(&race.generation, __ATOMIC_ACQUIRE);
		if (sigsetjmp(fault, 1)) {
			hitting = 0;
			if (race.may_fault)
				continue;
			__atomic_fetch_add(&race.wrong, 1, __ATOMIC_RELAXED);
			race.last_wrong = -SIGSEGV;
			return NULL;
		}
		hitting = 1;
		got = fn();
		hitting = 0;
		hits++;
		/* Remapped meanwhile: then it may be either file's. */
		if (race.two_files && (before % 2 || before !=
		    __atomic_load_n(&race.generation, __ATOMIC_ACQUIRE))) {
			if (got % FILE_PAGES == MAP_FIRST + HIT_PAGE)
				continue;
		} else if (got == expected_at(before)) {
			continue;
		}
		race.last_wrong = got;
		__atomic_fetch_add(&race.wrong, 1, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(&race.hits, hits, __ATOMIC_RELAXED);
	return NULL;
}

/* On a slow machine, a few rounds meet no race: go on, but not until it times out. */
static bool time_left(double begin, unsigned long rounds)
{
	unsigned int limit = setting("RACE_SECONDS", 2);

	if (rounds < MIN_ROUNDS && limit < MAX_SECONDS)
		limit = MAX_SECONDS;
	return now() - begin < limit;
}

/* The file, probed, is mapped where nobody else maps. */
static void map_file(struct __test_metadata *_metadata)
{
	race.area = mmap(NULL, 4 * MAP_PAGES * PAGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, race.area);
	ASSERT_EQ(0, file_create(&race.a, 0))
		TH_LOG("%s", upl_reason());
	ASSERT_NE(MAP_FAILED, map_at(&race.a, race.area));
}

static void start(struct __test_metadata *_metadata, pthread_t *threads)
{
	struct sigaction action = { .sa_handler = on_fault,
				    .sa_flags = SA_NODEFER };
	int i;

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	map_file(_metadata);
	if (race.two_files)
		ASSERT_EQ(0, file_create(&race.b, FILE_PAGES))
			TH_LOG("%s", upl_reason());
	for (i = 0; i < HITTERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, hitter, NULL));
}

static void finish(struct __test_metadata *_metadata, pthread_t *threads,
		   unsigned long rounds)
{
	uint64_t counted = 0, of_b = 0;
	int i;

	race.stop = true;
	for (i = 0; i < HITTERS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, upl_count(race.a.links[0], &counted));
	unlink(race.a.path);
	if (race.two_files) {
		EXPECT_EQ(0, upl_count(race.b.links[0], &of_b));
		unlink(race.b.path);
	}
	counted += of_b + race.counted;
	EXPECT_EQ(0, race.wrong)
		TH_LOG("last wrong result: %d", race.last_wrong);
	EXPECT_LT(0, race.hits);
	EXPECT_LT(0, rounds);
	if (race.exact)
		EXPECT_EQ(race.hits, counted);
	EXPECT_LT(0, counted);
	TH_LOG("%lu calls, %llu hits counted, %lu rounds", race.hits,
	       (unsigned long long)counted, rounds);
}

#define RACE(setup, round) do {						\
	double begin_;							\
	pthread_t threads_[HITTERS];					\
	unsigned long rounds_ = 0;					\
									\
	REQUIRE(NEED_ROOT | NEED_PMU | NEED_SMP | NEED_X86_64);		\
	setup;								\
	start(_metadata, threads_);					\
	begin_ = now();							\
	while (time_left(begin_, rounds_)) {				\
		round;							\
		rounds_++;						\
	}								\
	finish(_metadata, threads_, rounds_);				\
} while (0)

static void *map_part(unsigned int first, unsigned int pages)
{
	return mmap(race.area + first * PAGE, pages * PAGE,
		    PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, race.a.fd,
		    (MAP_FIRST + first) * PAGE);
}

static int protect(unsigned int first, unsigned int pages, int prot)
{
	return mprotect(race.area + first * PAGE, pages * PAGE, prot);
}

/* Another thread mapping and unmapping elsewhere is not even noticed. */
TEST_F(uprobe, elsewhere)
{
	char *there;

	RACE(race.exact = true, {
		there = race.area + 2 * MAP_PAGES * PAGE;
		ASSERT_NE(MAP_FAILED, map_at(&race.a, there));
		ASSERT_EQ(0, munmap(there, MAP_PAGES * PAGE));
	});
}

/*
 * mprotect() of pages around the hit one splits and merges its VMA, at either
 * end: no hit sees one field old and another new.
 */
TEST_F(uprobe, neighbours_protected)
{
	RACE(race.exact = true, {
		ASSERT_EQ(0, protect(HIGH, MAP_PAGES - HIGH, PROT_READ));
		ASSERT_EQ(0, protect(0, LOW, PROT_READ));
		ASSERT_EQ(0, protect(0, MAP_PAGES, PROT_READ | PROT_EXEC));
	});
}

/* munmap() and mmap() at either end of its VMA. */
TEST_F(uprobe, neighbours_unmapped)
{
	RACE(race.exact = true, {
		ASSERT_EQ(0, munmap(race.area, LOW * PAGE));
		ASSERT_EQ(0, munmap(race.area + HIGH * PAGE,
				    (MAP_PAGES - HIGH) * PAGE));
		ASSERT_NE(MAP_FAILED, map_part(0, LOW));
		ASSERT_NE(MAP_FAILED, map_part(HIGH, MAP_PAGES - HIGH));
	});
}

/* The hit page comes and goes: a hit, or SIGSEGV, and nothing freed is read. */
TEST_F(uprobe, unmapped)
{
	RACE(race.may_fault = true, {
		ASSERT_EQ(0, munmap(race.area, MAP_PAGES * PAGE));
		ASSERT_NE(MAP_FAILED, map_at(&race.a, race.area));
	});
}

/* The hit page loses and gets back the right to be executed. */
TEST_F(uprobe, protected)
{
	RACE(race.may_fault = true, {
		ASSERT_EQ(0, protect(HIT_PAGE, 1, PROT_READ));
		ASSERT_EQ(0, protect(HIT_PAGE, 1, PROT_READ | PROT_EXEC));
	});
}

/* The hit page moves away and back, alone and with all of its VMA. */
TEST_F(uprobe, moved)
{
	char *there, *page;

	RACE(race.may_fault = true, {
		page = race.area + HIT_PAGE * PAGE;
		there = race.area + 2 * MAP_PAGES * PAGE;
		ASSERT_EQ(there, mremap(race.area, MAP_PAGES * PAGE,
					MAP_PAGES * PAGE,
					MREMAP_MAYMOVE | MREMAP_FIXED, there));
		ASSERT_EQ(race.area, mremap(there, MAP_PAGES * PAGE,
					    MAP_PAGES * PAGE, MREMAP_MAYMOVE |
					    MREMAP_FIXED, race.area));
		ASSERT_EQ(there, mremap(page, PAGE, PAGE, MREMAP_MAYMOVE |
					MREMAP_FIXED, there));
		ASSERT_EQ(page, mremap(there, PAGE, PAGE, MREMAP_MAYMOVE |
				       MREMAP_FIXED, page));
	});
}

/* Two files in turn at one address: a hit never gets the other file's probe. */
TEST_F(uprobe, other_file_same_address)
{
	unsigned int g;

	RACE(race.two_files = race.may_fault = true, {
		g = race.generation;
		__atomic_store_n(&race.generation, g + 1, __ATOMIC_SEQ_CST);
		ASSERT_NE(MAP_FAILED, map_at((g + 2) / 2 % 2 ? &race.b : &race.a,
					     race.area));
		__atomic_store_n(&race.generation, g + 2, __ATOMIC_SEQ_CST);
	});
}

/* Children inherit the breakpoints, hit them, and leave as they should. */
TEST_F(uprobe, forked)
{
	int (*fn)(void), status;
	pid_t child;

	RACE(, {
		fn = (void *)(race.area + HIT_PAGE * PAGE);
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			_exit(fn() == expected_at(0) ? 0 : 1);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(0, status);
	});
}

/* What the next case executes. */
__attribute__((constructor)) static void leave_at_once(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "leave"))
		_exit(0);
}

/* A process executes another program while its threads hit. */
TEST_F(uprobe, executed)
{
	pthread_t thread;
	pid_t child;
	int status;

	RACE(, {
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			pthread_create(&thread, NULL, hitter, NULL);
			pthread_create(&thread, NULL, hitter, NULL);
			usleep(1000);
			execl("/proc/self/exe", "vma_race_test", "leave", NULL);
			_exit(77);
		}
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(0, status);
	});
}

/* The probe itself comes and goes: the instruction runs either way. */
TEST_F(uprobe, registered_and_unregistered)
{
	/* Of all: the hitters would not inherit a later one of this thread. */
	struct upl_probe probe = { .offset = probed[0] * PAGE, .pid = -1, .cpu = -1 };
	uint64_t counted;

	RACE(, {
		ASSERT_EQ(0, upl_count(race.a.links[0], &counted));
		race.counted += counted;
		ASSERT_EQ(0, upl_detach(race.a.links[0]));
		ASSERT_EQ(0, munmap(race.area, LOW * PAGE));
		probe.path = race.a.path;
		ASSERT_EQ(0, upl_attach(&probe, UPL_PERF, &race.a.links[0]))
			TH_LOG("%s", upl_reason());
		ASSERT_NE(MAP_FAILED, map_part(0, LOW));
	});
}

/* A thread that moves the hit page to and fro, unless it is told to rest. */
static struct mover {
	pthread_t	thread;
	char		*at, *there;
	volatile bool	stop, rest, rests, failed;
} mover;

static void *move_page(void *unused)
{
	char *to;

	while (!mover.stop) {
		mover.rests = mover.rest;
		if (mover.rests)
			continue;
		to = mover.there;
		if (mremap(mover.at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
			mover.failed = true;
		mover.there = mover.at;
		mover.at = to;
	}
	return unused;
}

static void mover_rest(bool rest)
{
	mover.rest = rest;
	while (mover.rests != rest)
		;
}

/*
 * A page that moves while a probe comes has its breakpoint, wherever it is by then,
 * and none if it moves while the probe goes.
 */
TEST_F(uprobe, moved_during_walk)
{
	struct upl_probe probe = { .offset = probed[0] * PAGE, .pid = getpid(), .cpu = -1 };
	unsigned long rounds = 0, lost = 0, left = 0;
	uint64_t counted;
	double begin;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_SMP | NEED_X86_64);
	map_file(_metadata);
	ASSERT_EQ(0, upl_detach(race.a.links[0]));
	probe.path = race.a.path;
	mover.at = race.area + HIT_PAGE * PAGE;
	mover.there = race.area + 2 * MAP_PAGES * PAGE;
	ASSERT_EQ(0, pthread_create(&mover.thread, NULL, move_page, NULL));

	begin = now();
	for (; time_left(begin, rounds); rounds++) {
		mover_rest(false);
		ASSERT_EQ(0, upl_attach(&probe, UPL_PERF, &race.a.links[0]))
			TH_LOG("%s", upl_reason());
		mover_rest(true);
		EXPECT_EQ(expected_at(0), ((int (*)(void))mover.at)());
		ASSERT_EQ(0, upl_count(race.a.links[0], &counted));
		lost += counted != 1;
		mover_rest(false);
		ASSERT_EQ(0, upl_detach(race.a.links[0]));
		mover_rest(true);
		left += *(unsigned char *)mover.at != 0xb8;
	}
	mover.stop = true;
	pthread_join(mover.thread, NULL);
	unlink(race.a.path);
	EXPECT_FALSE(mover.failed);
	EXPECT_EQ(0, lost) TH_LOG("calls not counted");
	EXPECT_EQ(0, left) TH_LOG("breakpoints left behind");
	TH_LOG("%lu rounds", rounds);
}

TEST_HARNESS_MAIN
