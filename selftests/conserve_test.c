// SPDX-License-Identifier: GPL-2.0
/*
 * Processes appear, map, move, protect, fork, exec and die while consumers come
 * and go. Each call of a probed function that a consumer saw begin and end is
 * counted once; nobody is sent a signal; when all consumers have left, the text
 * is what the file says. Once more while allocations fail: then a call may be
 * missed, and the rest holds.
 *
 * CONSERVE_SECONDS and CONSERVE_SEED set how long and what.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define PAGE		4096UL
#define SITES_PER_PAGE	(PAGE / UPL_SITE_SIZE)
#define PAGES		8
#define PROBED		16	/* two on each page */
#define WORKERS		4
#define CONTROLLERS	2

/* Seen by all processes. */
struct shared {
	volatile int	stop, leave;
	uint64_t	forks, execs, deaths, moves, protects, epochs, counted, failures;
	struct {
		uint64_t begun, done;
	} __attribute__((aligned(64))) calls[PROBED];
};

static struct shared *shared;
static struct upl_sites sites;
static unsigned int seed;
static bool faulty;		/* allocations fail where may_fail() says so */

#define count(field) __atomic_fetch_add(&shared->field, 1, __ATOMIC_RELAXED)

/* Site of the file that is the which-th probed one. */
static unsigned int site_of(unsigned int which)
{
	return which / 2 * SITES_PER_PAGE + (which % 2 ? 37 : 5);
}

/* A range of addresses that the file is mapped in, here and there. */
struct area {
	char		*at;
	unsigned int	*rnd;
};

static unsigned int pick(struct area *area, unsigned int limit)
{
	return rand_r(area->rnd) % limit;
}

static void call(struct area *area)
{
	unsigned int which = pick(area, PROBED);
	void (*fn)(void) = (void *)(area->at + site_of(which) * UPL_SITE_SIZE);

	__atomic_fetch_add(&shared->calls[which].begun, 1, __ATOMIC_SEQ_CST);
	fn();
	__atomic_fetch_add(&shared->calls[which].done, 1, __ATOMIC_SEQ_CST);
}

/* From now on, in this thread, and in the child of a fork. */
static void may_fail(bool may)
{
	/* It may fail to be told so. */
	while (faulty && !write_file("/proc/thread-self/make-it-fail", may ? "1" : "0"))
		;
}

/* One in 250 allocations of those who may fail, without a trace of each. */
static bool start_faults(void)
{
	return set_fault("task-filter", "Y") && set_fault("ignore-gfp-wait", "N") &&
	       /* Not pages of user space: a child would die of its first faults. */
	       write_setting("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "Y") &&
	       write_setting("/sys/kernel/debug/fail_page_alloc/min-order", "0") &&
	       set_fault("verbose", "0") && set_fault("interval", "5") &&
	       set_fault("times", "-1") && set_fault("probability", "2");
}

static bool map_once(char *at, unsigned int first, unsigned int nr)
{
	return mmap(at + first * PAGE, nr * PAGE, PROT_READ | PROT_EXEC,
		    MAP_PRIVATE | MAP_FIXED, sites.fd, first * PAGE) != MAP_FAILED;
}

static void map_pages(char *at, unsigned int first, unsigned int nr)
{
	bool mapped;

	may_fail(true);
	mapped = map_once(at, first, nr);
	may_fail(false);
	if (!mapped && faulty) {
		count(failures);
		mapped = map_once(at, first, nr);
	}
	if (!mapped)
		_exit(10);
}

static char *reserve(void)
{
	char *at = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		_exit(11);
	return at;
}

/* Move it a page at a time: the pages may have different protections. */
static void move(struct area *area)
{
	unsigned int i;
	char *to = reserve();

	for (i = 0; i < PAGES; i++) {
		if (mremap(area->at + i * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   to + i * PAGE) == MAP_FAILED)
			_exit(12);
	}
	munmap(area->at, PAGES * PAGE);
	area->at = to;
	count(moves);
}

/* What the old place shows after MREMAP_DONTUNMAP is text as well. */
static void move_and_stay(struct area *area)
{
	unsigned int page = pick(area, PAGES);
	char *to = reserve();

	if (mremap(area->at + page * PAGE, PAGE, PAGE,
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == MAP_FAILED)
		_exit(13);
	munmap(to, PAGES * PAGE);
	count(moves);
}

/* A mapping that grows shows more of the file. */
static void shrink_and_grow(struct area *area)
{
	unsigned int keep = 1 + pick(area, PAGES - 1);
	char *at = reserve(), *grown;

	munmap(at, PAGES * PAGE);
	map_pages(at, 0, keep);
	grown = mremap(at, keep * PAGE, PAGES * PAGE, MREMAP_MAYMOVE);
	if (grown == MAP_FAILED)
		_exit(14);
	munmap(area->at, PAGES * PAGE);
	area->at = grown;
	count(moves);
}

static void protect(struct area *area)
{
	static const int through[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	unsigned int page = pick(area, PAGES), nr = 1 + pick(area, PAGES - page);
	char *at = area->at + page * PAGE;

	if (mprotect(at, nr * PAGE, through[pick(area, 3)]) ||
	    mprotect(at, nr * PAGE, PROT_READ | PROT_EXEC))
		_exit(15);
	count(protects);
}

/* Mapped for writing, it gets its breakpoints when it becomes executable. */
static void map_for_writing(struct area *area)
{
	unsigned int page = pick(area, PAGES);
	char *at = area->at + page * PAGE;

	if (mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		 sites.fd, page * PAGE) == MAP_FAILED ||
	    mprotect(at, PAGE, PROT_READ | PROT_EXEC))
		_exit(16);
	count(protects);
}

static void reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
		printf("# a process died of signal %d (%s)\n", WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
		fflush(stdout);
		_exit(20);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
}

static int shared_fd;

static void exec_worker(unsigned int rnd)
{
	char numbers[3][16];

	snprintf(numbers[0], 16, "%d", shared_fd);
	snprintf(numbers[1], 16, "%d", sites.fd);
	snprintf(numbers[2], 16, "%u", rnd);
	execl("/proc/self/exe", "worker", "--worker", numbers[0], numbers[1],
	      numbers[2], NULL);
	_exit(17);
}

/* Lives for some calls and does what makes mappings come and go. */
static void work(struct area *area, unsigned int calls, unsigned int generation)
{
	pid_t pid;

	while (calls-- && !shared->stop) {
		call(area);
		switch (pick(area, 64)) {
		case 0:
			move(area);
			break;
		case 1:
			move_and_stay(area);
			break;
		case 2:
			shrink_and_grow(area);
			break;
		case 3:
			protect(area);
			break;
		case 4:
			map_for_writing(area);
			break;
		case 5: {
			unsigned int page = pick(area, PAGES);

			munmap(area->at + page * PAGE, PAGE);
			map_pages(area->at, page, 1);
			break;
		}
		case 6:
			if (generation >= 3)
				break;
			may_fail(true);
			pid = fork();
			may_fail(false);
			if (pid < 0) {
				if (!faulty)
					_exit(18);
				count(failures);
				break;
			}
			if (!pid) {
				count(forks);
				work(area, pick(area, 200), generation + 1);
				if (pick(area, 4) == 0)
					exec_worker(*area->rnd);
				count(deaths);
				if (pick(area, 2))
					kill(getpid(), SIGKILL);
				_exit(0);
			}
			reap(pid);
			break;
		}
	}
}

static int worker(unsigned int rnd, unsigned int generation)
{
	struct area area = { .rnd = &rnd };

	area.at = reserve();
	map_pages(area.at, 0, PAGES);
	work(&area, generation ? 100 : -1U, generation);
	if (generation)
		return 0;

	/* All consumers leave before the others do. */
	while (!shared->leave)
		usleep(1000);

	static char text[PAGES * PAGE];

	if (pread(sites.fd, text, sizeof(text), 0) != sizeof(text))
		return 21;
	return memcmp(text, area.at, sizeof(text)) ? 22 : 0;
}

/* Attach to a site, leave again; the count must fit the calls. */
static bool epoch(unsigned int which, unsigned int *rnd)
{
	uint64_t done_before, begun_after, done_at, begun_at, hits;
	struct upl_probe probe;
	struct upl_link *link;
	bool good = true;
	int ret;

	upl_sites_probe(&sites, site_of(which), &probe);
	done_before = __atomic_load_n(&shared->calls[which].done, __ATOMIC_SEQ_CST);
	may_fail(true);
	ret = upl_attach(&probe, UPL_PERF, &link);
	may_fail(false);
	if (ret) {
		count(failures);
		if (!faulty)
			printf("# %s\n", upl_reason());
		return faulty;
	}
	begun_after = __atomic_load_n(&shared->calls[which].begun, __ATOMIC_SEQ_CST);
	usleep(rand_r(rnd) % 20000);
	done_at = __atomic_load_n(&shared->calls[which].done, __ATOMIC_SEQ_CST);
	if (upl_count(link, &hits)) {
		printf("# %s\n", upl_reason());
		good = false;
	}
	begun_at = __atomic_load_n(&shared->calls[which].begun, __ATOMIC_SEQ_CST);
	may_fail(true);
	upl_detach(link);
	may_fail(false);

	/* Calls with both ends inside; calls with any part inside. */
	if (good && ((!faulty && done_at > begun_after && hits < done_at - begun_after) ||
		     hits > begun_at - done_before)) {
		printf("# site %u: %llu hits, %lld to %lld calls\n", which,
		       (unsigned long long)hits, (long long)(done_at - begun_after),
		       (long long)(begun_at - done_before));
		good = false;
	}
	count(epochs);
	__atomic_fetch_add(&shared->counted, hits, __ATOMIC_RELAXED);
	return good;
}

static void *controller(void *arg)
{
	unsigned int rnd = seed + 77 + (long)arg;
	long bad = 0;

	while (!shared->stop)
		bad += !epoch((rand_r(&rnd) % (PROBED / CONTROLLERS)) * CONTROLLERS +
			      (long)arg, &rnd);
	return (void *)bad;
}

/* A consumer that wants this process only: others lose the breakpoint again. */
static void *filtering(void *arg)
{
	unsigned int rnd = seed + 99;
	struct upl_probe probe;
	struct upl_link *link;
	long bad = 0;
	int ret;

	(void)arg;
	while (!shared->stop) {
		upl_sites_probe(&sites, site_of(rand_r(&rnd) % PROBED), &probe);
		probe.pid = getpid();
		may_fail(true);
		ret = upl_attach(&probe, UPL_PERF, &link);
		may_fail(false);
		if (ret) {
			bad += !faulty;
			continue;
		}
		usleep(rand_r(&rnd) % 5000);
		may_fail(true);
		upl_detach(link);
		may_fail(false);
	}
	return (void *)bad;
}

static bool all_happened(void)
{
	return shared->counted && shared->forks && shared->execs && shared->deaths &&
	       shared->moves && shared->protects && (!faulty || shared->failures);
}

static void conserve(struct __test_metadata *_metadata)
{
	pthread_t controllers[CONTROLLERS], filter;
	unsigned int i, seconds = setting("CONSERVE_SECONDS", 2);
	pid_t pids[WORKERS];
	void *bad;
	int status;

	seed = setting("CONSERVE_SEED", getpid());
	TH_LOG("seed %u, %u s", seed, seconds);
	shared_fd = syscall(SYS_memfd_create, "conserve", 0);
	ASSERT_LE(0, shared_fd);
	ASSERT_EQ(0, ftruncate(shared_fd, sizeof(*shared)));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	ASSERT_EQ(0, upl_sites_create(&sites, PAGES * SITES_PER_PAGE)) TH_LOG("%s", upl_reason());
	ASSERT_EQ(PAGES * PAGE, sites.size);
	fcntl(sites.fd, F_SETFD, 0);

	for (i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i])
			_exit(worker(seed + i, 0));
	}
	for (i = 0; i < CONTROLLERS; i++)
		pthread_create(&controllers[i], NULL, controller, (void *)(long)i);
	pthread_create(&filter, NULL, filtering, NULL);
	sleep(seconds);
	/* On a busy machine that is little. */
	for (i = 0; i < 60 && !all_happened(); i++)
		sleep(1);
	shared->stop = 1;
	for (i = 0; i < CONTROLLERS; i++) {
		pthread_join(controllers[i], &bad);
		EXPECT_EQ(0, (long)bad);
	}
	pthread_join(filter, &bad);
	EXPECT_EQ(0, (long)bad);
	/* What could not be removed is tried again, first after 0.1 s. */
	if (faulty)
		sleep(5);
	shared->leave = 1;
	for (i = 0; i < WORKERS; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status) TH_LOG("a worker ended with %#x (22: text changed)", status);
	}

	TH_LOG("%llu consumers counted %llu of the calls",
	       (unsigned long long)shared->epochs, (unsigned long long)shared->counted);
	TH_LOG("forks %llu execs %llu deaths %llu moves %llu protects %llu",
	       (unsigned long long)shared->forks, (unsigned long long)shared->execs,
	       (unsigned long long)shared->deaths, (unsigned long long)shared->moves,
	       (unsigned long long)shared->protects);
	EXPECT_TRUE(all_happened());
	upl_sites_destroy(&sites);
}

/* Each call is counted once by who was there, and leaves no trace. */
TEST_F_TIMEOUT(uprobe, every_call_counts_once, 3600)
{
	REQUIRE(NEED_ROOT | NEED_PMU | NEED_SMP);
	conserve(_metadata);
}

/*
 * No call is counted twice, and nothing is left, when one in 250 allocations fails in
 * registrations, unregistrations, mmap() and fork().
 */
TEST_F_TIMEOUT(uprobe, nothing_is_left_without_memory, 3600)
{
	REQUIRE(NEED_ROOT | NEED_PMU | NEED_SMP);
	if (!start_faults())
		SKIP(return, "no fault injection");
	faulty = true;
	conserve(_metadata);
	EXPECT_TRUE(restore_settings());
	TH_LOG("%llu attachments, mappings and forks failed",
	       (unsigned long long)shared->failures);
	EXPECT_LT(0, shared->failures);
	EXPECT_EQ(0, kernel_log_faults("trace_uprobe: Failed to allocate"));
}

/* After exec: the same file, mapped anew. */
static int worker_again(char **argv)
{
	shared_fd = atoi(argv[2]);
	sites.fd = atoi(argv[3]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	if (shared == MAP_FAILED)
		return 19;
	count(execs);
	return worker(strtoul(argv[4], NULL, 10), 3);
}

int main(int argc, char **argv)
{
	/* The kernel log is the test's to read, not a worker's. */
	if (argc == 5 && !strcmp(argv[1], "--worker"))
		_exit(worker_again(argv));
	return test_harness_run(argc, argv);
}
