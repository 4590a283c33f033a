// SPDX-License-Identifier: GPL-2.0
/*
 * Hits of one probe by several tasks: none is lost, and none waits for another,
 * nor does who attaches and detaches, even if a handler sleeps. x86-64.
 *
 *	HITS_SECONDS	of each case that races; default: 3
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"
#include "events.h"
#include "hitter.h"
#include "text.h"

#define MAX_CPUS	8

static char path[64], *text;

FIXTURE(hits) {
	char	event[32];	/* name of the trace event */
};

static int define(const char *event, char kind, enum function which, const char *args)
{
	char line[256];

	snprintf(line, sizeof(line), "%c:hits_test/%s %s:0x%llx %s", kind, event, path,
		 (unsigned long long)text_offset(which), args);
	return define_event(line);
}

static int enable(const char *event, const char *on)
{
	char file[96];

	snprintf(file, sizeof(file), "events/hits_test/%s/enable", event);
	return tracefs_write(file, 0, on);
}

static int undefine(const char *event)
{
	char line[64];

	enable(event, "0");
	snprintf(line, sizeof(line), "-:hits_test/%s", event);
	return define_event(line);
}

FIXTURE_SETUP(hits)
{
	REQUIRE_SETUP(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_SMP | NEED_X86_64);
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("reported late, by what ran before this case");
	snprintf(path, sizeof(path), "/tmp/hits.%d", getpid());
	ASSERT_EQ(0, text_write(path));
	text = text_map(path);
	ASSERT_NE(NULL, text);
	snprintf(self->event, sizeof(self->event), "hits_%d", getpid());
}

FIXTURE_TEARDOWN(hits)
{
	unlink(path);
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("the kernel log has the whole report");
}

static int nr_cpus(void)
{
	int nr = sysconf(_SC_NPROCESSORS_ONLN);

	return nr < MAX_CPUS ? nr : MAX_CPUS;
}

static void call_nop(void)
{
	text_call(text, NOP, NULL);
}

static void call_step(void)
{
	text_call(text, STEP, NULL);
}

/* ---- counts ---- */

/* The hits of several CPUs at once are all in uprobe_profile. */
TEST_F_TIMEOUT(hits, profile_is_exact, 7200)
{
	struct hitter hitters[MAX_CPUS];
	uint64_t calls = 0, hits, missed;
	int i, nr = nr_cpus();

	ASSERT_EQ(0, define(self->event, 'p', NOP, ""));
	ASSERT_EQ(0, enable(self->event, "1"));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, hitter_start(&hitters[i], i, call_nop));
	sleep(setting("HITS_SECONDS", 3));
	for (i = 0; i < nr; i++)
		calls += hitter_stop(&hitters[i]);
	EXPECT_TRUE(event_profile(self->event, &hits, &missed));
	EXPECT_EQ(calls, hits);
	EXPECT_EQ(0, missed);
	TH_LOG("%llu calls on %d CPUs", (unsigned long long)calls, nr);
	EXPECT_EQ(0, undefine(self->event));
}

struct churn {
	bool		stop;
	unsigned long	rounds, failed;
};

/* Attaches and detaches consumers of every kind, one on top of the other. */
static void *come_and_go(void *arg)
{
	static const char * const events[] = { "churn_entry", "churn_return" };
	struct churn *churn = arg;
	unsigned int rnd = 1, i;
	int fds[4] = { -1, -1, -1, -1 };

	churn->failed += !!define(events[0], 'p', STEP, "");
	churn->failed += !!define(events[1], 'r', STEP, "");
	while (!__atomic_load_n(&churn->stop, __ATOMIC_RELAXED)) {
		i = rand_r(&rnd) % 6;
		churn->rounds++;
		if (i >= 4) {
			churn->failed += !!enable(events[i - 4], churn->rounds & 1 ? "1" : "0");
		} else if (fds[i] >= 0) {
			close(fds[i]);
			fds[i] = -1;
		} else {
			fds[i] = text_attach(path, text_offset(i & 1 ? NOP : STEP), i & 2);
			churn->failed += fds[i] < 0;
		}
	}
	for (i = 0; i < 4; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	churn->failed += !!undefine(events[0]);
	churn->failed += !!undefine(events[1]);
	return NULL;
}

/* Consumers that were there before and stay count each hit once, whoever comes and goes. */
TEST_F_TIMEOUT(hits, exact_while_others_come_and_go, 7200)
{
	struct hitter hitters[MAX_CPUS];
	uint64_t calls[2] = {};
	int i, nr = nr_cpus(), entries[2], returns[2];
	struct churn churn = {};
	pthread_t thread;

	/* Of this process, and the threads that it starts from now on. */
	for (i = 0; i < 2; i++) {
		entries[i] = text_attach(path, text_offset(i ? NOP : STEP), false);
		ASSERT_LE(0, entries[i]);
		returns[i] = text_attach(path, text_offset(i ? NOP : STEP), true);
		ASSERT_LE(0, returns[i]);
	}
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, hitter_start(&hitters[i], i, i & 1 ? call_nop : call_step));
	ASSERT_EQ(0, pthread_create(&thread, NULL, come_and_go, &churn));
	sleep(setting("HITS_SECONDS", 3));
	__atomic_store_n(&churn.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	for (i = 0; i < nr; i++)
		calls[i & 1] += hitter_stop(&hitters[i]);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(calls[i], event_count(entries[i]));
		EXPECT_EQ(calls[i], event_count(returns[i]));
		close(entries[i]);
		close(returns[i]);
	}
	TH_LOG("%lu came or went during %llu hits", churn.rounds,
	       (unsigned long long)(calls[0] + calls[1]));
	EXPECT_LT(0, churn.rounds);
	EXPECT_EQ(0, churn.failed);
	EXPECT_TRUE(text_restored(text, NOP));
	EXPECT_TRUE(text_restored(text, STEP));
}

/* ---- a handler that sleeps ---- */

#define PAGE		4096UL
#define PATIENCE	10	/* seconds for what takes milliseconds */

static char *missing_page;

static void call_with_missing_page(void)
{
	text_call(text, NOP, missing_page);
}

/* A page that is not there until it is served: the descriptor, or -errno. */
static int make_missing_page(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	missing_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	reg.range.start = (uintptr_t)missing_page;
	reg.range.len = PAGE;
	if (missing_page == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return fd;
}

static bool serve_page(int fd)
{
	static char page[PAGE] = "served";
	struct uffdio_copy copy = {
		.dst = (uintptr_t)missing_page, .src = (uintptr_t)page, .len = PAGE,
	};

	return !ioctl(fd, UFFDIO_COPY, &copy);
}

/* What others do meanwhile, each in a process of its own; true: as it should be. */

static char other_event[32], third_event[32], present[16] = "present";

static bool hit(void)
{
	text_call(text, NOP, present);
	return true;
}

static bool hit_elsewhere(void)
{
	return !pin(pthread_self(), 1) && hit();
}

static bool hit_here(void)
{
	return !pin(pthread_self(), 0) && hit();
}

static bool attach_and_detach(void)
{
	int event = text_attach(path, text_offset(NOP), false);
	bool good;

	if (event < 0)
		return false;
	hit();
	good = text_hits(event) == 1;
	return !close(event) && good;
}

static bool enable_event(const char *event)
{
	uint64_t hits = 0, missed;

	if (define(event, 'p', NOP, "s=+0(%di):string") || enable(event, "1"))
		return false;
	hit();
	return event_profile(event, &hits, &missed) && hits == 1 && !enable(event, "0");
}

static bool enable_and_disable(void)
{
	return enable_event(other_event);
}

static bool enable_another(void)
{
	return enable_event(third_event);
}

static bool remove_other(void)
{
	return !undefine(other_event);
}

static const struct {
	const char	*what;
	bool		(*fn)(void);
	unsigned int	hits;
} others[] = {
	{ "a hit on another CPU", hit_elsewhere, 1 },
	{ "a hit on the same CPU", hit_here, 1 },
	{ "a perf event opened, hit and closed", attach_and_detach, 1 },
	{ "a trace event enabled, hit and disabled", enable_and_disable, 1 },
	{ "the trace event removed", remove_other, 0 },
	{ "another one enabled, hit and disabled", enable_another, 1 },
	{ "a hit on the same CPU after all", hit_here, 1 },
};

#define NR_OTHERS	(sizeof(others) / sizeof(others[0]))

/* Does it end in time, and well? One that does not goes on. */
static bool in_time(unsigned int which, pid_t *pid)
{
	int i, status;

	*pid = fork();
	if (!*pid)
		_exit(!others[which].fn());
	for (i = 0; *pid > 0 && i < PATIENCE * 100; i++) {
		if (waitpid(*pid, &status, WNOHANG) == *pid) {
			*pid = 0;
			return !status;
		}
		usleep(10000);
	}
	return false;
}

FIXTURE_VARIANT(sleeping) {
	char		kind;
	const char	*args;
};

FIXTURE(sleeping) {
	char	event[32];
	int	fd;
};

FIXTURE_VARIANT_ADD(sleeping, string) { .kind = 'p', .args = "s=+0(%di):string" };
FIXTURE_VARIANT_ADD(sleeping, number) { .kind = 'p', .args = "n=+0(%di):u64" };
FIXTURE_VARIANT_ADD(sleeping, in_return) { .kind = 'r', .args = "s=+0(%di):string" };

FIXTURE_SETUP(sleeping)
{
	REQUIRE_SETUP(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_SMP | NEED_X86_64);
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("reported late, by what ran before this case");
	self->fd = make_missing_page();
	if (self->fd == -ENOSYS)
		SKIP_SETUP("no userfaultfd");
	ASSERT_LE(0, self->fd);
	snprintf(path, sizeof(path), "/tmp/hits.%d", getpid());
	ASSERT_EQ(0, text_write(path));
	text = text_map(path);
	ASSERT_NE(NULL, text);
	snprintf(self->event, sizeof(self->event), "sleeping_%d", getpid());
	snprintf(other_event, sizeof(other_event), "other_%d", getpid());
	snprintf(third_event, sizeof(third_event), "third_%d", getpid());
}

FIXTURE_TEARDOWN(sleeping)
{
	unlink(path);
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("the kernel log has the whole report");
}

/*
 * While a handler sleeps, for want of a page that its argument is in, others hit
 * that probe, attach to it and detach, enable, disable and remove trace events.
 */
TEST_F_TIMEOUT(sleeping, blocks_nobody, 7200)
{
	struct pollfd fault = { .fd = self->fd, .events = POLLIN };
	uint64_t hits, missed, expected = 1;
	struct hitter sleeper;
	pid_t pids[NR_OTHERS];
	struct uffd_msg message;
	unsigned int i;
	bool good = true;
	int status;

	ASSERT_EQ(0, define(self->event, variant->kind, NOP, variant->args));
	ASSERT_EQ(0, enable(self->event, "1"));
	ASSERT_EQ(0, hitter_start(&sleeper, 0, call_with_missing_page));
	ASSERT_EQ(1, poll(&fault, 1, PATIENCE * 1000));
	ASSERT_EQ(sizeof(message), read(self->fd, &message, sizeof(message)));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, message.event);
	sleeper.stop = true;

	for (i = 0; i < NR_OTHERS && good; i++) {
		good = in_time(i, &pids[i]);
		EXPECT_TRUE(good) TH_LOG("%s: not in %d s", others[i].what, PATIENCE);
		expected += others[i].hits;
	}
	EXPECT_EQ(0, sleeper.hits) TH_LOG("it did not sleep: this proves nothing");
	EXPECT_TRUE(serve_page(self->fd));
	EXPECT_EQ(1, hitter_stop(&sleeper));
	while (i--) {
		if (pids[i] > 0) {
			EXPECT_EQ(pids[i], waitpid(pids[i], &status, 0));
			EXPECT_EQ(0, status) TH_LOG("%s", others[i].what);
		}
	}
	EXPECT_TRUE(event_profile(self->event, &hits, &missed));
	EXPECT_EQ(expected, hits);
	undefine(other_event);
	undefine(third_event);
	EXPECT_EQ(0, undefine(self->event));
	close(self->fd);
}

TEST_HARNESS_MAIN
