// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/* BPF programs come and go while their probe is hit. */
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "common.h"
#include "hitter.h"

__attribute__((noinline, noclone)) static void probed(void)
{
	asm volatile("nop");
}

#define ROUNDS		3
/* Longer than a grace period. */
#define GRACE_MS	350

static char self_path[256];

static int probe_self(struct upl_probe *probe, int cpu)
{
	*probe = (struct upl_probe){ .path = self_path, .pid = -1, .cpu = cpu };
	return upl_addr_offset(probed, self_path, sizeof(self_path),
			       &probe->offset);
}

static void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

/* ---- a thread that takes the CPU from a hitter, at one place in the kernel ---- */

static uint64_t kernel_symbol(const char *name)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	uint64_t address, found = 0;
	char symbol[256];

	while (file && !found &&
	       fscanf(file, "%lx %*c %255s%*[^\n]", &address, symbol) == 2) {
		if (!strcmp(symbol, name))
			found = address;
	}
	if (file)
		fclose(file);
	return found;
}

struct usurper {
	pthread_t	thread;
	int		fd;		/* a breakpoint that only the hitter meets */
	void		*ring;
	const char	*caller;
	pid_t		tid;
	atomic_bool	holds_cpu;
	atomic_bool	release;
};

/* Tells when thread tid comes to an address in the kernel. */
static int open_breakpoint(uint64_t address, pid_t tid)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_X,
		.bp_addr = address,
		.bp_len = sizeof(long),
		.sample_period = 1,
		.wakeup_events = 1,
		.sample_type = PERF_SAMPLE_IP,
		.disabled = 1,
	};

	return syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Is that function of the kernel on the stack of a thread that does not run? */
static bool on_stack(pid_t tid, const char *function)
{
	char path[64], frames[4096];
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stack", tid);
	file = fopen(path, "re");
	if (!file)
		return false;
	len = fread(frames, 1, sizeof(frames) - 1, file);
	frames[len] = '\0';
	fclose(file);
	return strstr(frames, function);
}

/*
 * Woken by the hitter's own CPU, with a priority above the hitter's: it stops
 * right where it is, for as long as this spins.
 */
static void *usurp(void *arg)
{
	struct usurper *u = arg;
	struct pollfd pfd = { .fd = u->fd, .events = POLLIN };

	while (!u->release && !u->holds_cpu) {
		if (poll(&pfd, 1, 100) > 0)
			u->holds_cpu = on_stack(u->tid, u->caller);
	}
	while (!u->release)
		;
	return NULL;
}

/* To stop the hitter where caller(), or what it calls, calls that address. */
static int usurper_start(struct usurper *u, struct hitter *h, uint64_t address,
			 const char *caller)
{
	struct sched_param prio = { .sched_priority = 1 };

	memset(u, 0, sizeof(*u));
	u->tid = h->tid;
	u->caller = caller;
	/* A real-time thread may take all of each second. */
	if (!write_setting("/proc/sys/kernel/sched_rt_runtime_us", "-1"))
		return -EPERM;
	u->fd = open_breakpoint(address, h->tid);
	if (u->fd < 0)
		return -errno;
	/* Not writable: old samples, which nobody reads, make room for new ones. */
	u->ring = mmap(NULL, 2 * sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, u->fd, 0);
	if (u->ring == MAP_FAILED || pthread_create(&u->thread, NULL, usurp, u))
		return -errno;
	if (pin(u->thread, h->cpu) ||
	    pthread_setschedparam(u->thread, SCHED_FIFO, &prio))
		return -EPERM;
	return ioctl(u->fd, PERF_EVENT_IOC_ENABLE, 0);
}

static void usurper_stop(struct usurper *u)
{
	u->release = true;
	pthread_join(u->thread, NULL);
	munmap(u->ring, 2 * sysconf(_SC_PAGESIZE));
	close(u->fd);
}

static void *detach(void *link)
{
	upl_detach(link);
	return NULL;
}

/* What kfree_rcu() keeps for some seconds goes now: its shrinker lets go of it. */
static bool drain_kfree_rcu(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, "2", 1) == 1;

	close(fd);
	return ok;
}

/*
 * A hit that is stopped just before it runs the BPF programs, in might_fault(),
 * and goes on after the detach: the array of programs that it finds then is not
 * freed. Fails on a kernel that looks the array up before that.
 */
TEST_F_TIMEOUT(uprobe, array_alive_after_a_stopped_hit, 120)
{
	uint64_t address = kernel_symbol("__might_sleep");
	struct upl_probe probe;
	struct upl_link *link;
	struct usurper usurper;
	struct hitter hitter;
	pthread_t detacher;
	uint64_t hits;
	int i, waited;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_BPF | NEED_SMP);
	if (!address)
		SKIP(return, "kernel without DEBUG_ATOMIC_SLEEP");

	ASSERT_EQ(0, probe_self(&probe, 1));
	ASSERT_EQ(0, pin(pthread_self(), 0));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, upl_attach(&probe, UPL_BPF, &link))
			TH_LOG("%s", upl_reason());
		ASSERT_EQ(0, hitter_start(&hitter, 1, probed));
		ASSERT_EQ(0, usurper_start(&usurper, &hitter, address,
					   "__uprobe_perf_func"));
		for (waited = 0; !usurper.holds_cpu && waited < 30000; waited++)
			sleep_ms(1);
		ASSERT_TRUE(usurper.holds_cpu) TH_LOG("the hit is not stopped");
		hits = hitter.hits;

		ASSERT_EQ(0, pthread_create(&detacher, NULL, detach, link));
		sleep_ms(GRACE_MS);
		ASSERT_TRUE(drain_kfree_rcu());
		sleep_ms(GRACE_MS);
		EXPECT_EQ(hits, hitter.hits)
			TH_LOG("the hit went on too early: this proves nothing");
		usurper_stop(&usurper);
		hitter_stop(&hitter);
		pthread_join(detacher, NULL);
	}
}

/* Programs attached and detached without pause lose no hit and free nothing early. */
TEST_F(uprobe, attach_detach_storm)
{
	int i, nr = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t hits = 0, counted;
	unsigned int rounds = 0;
	struct upl_link *counter, *link;
	struct upl_probe probe;
	struct hitter *hitters;
	time_t end;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_BPF);
	ASSERT_EQ(0, probe_self(&probe, -1));
	ASSERT_EQ(0, upl_attach(&probe, UPL_PERF, &counter))
		TH_LOG("%s", upl_reason());
	hitters = calloc(nr, sizeof(*hitters));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, hitter_start(&hitters[i], i, probed));

	for (end = time(NULL) + 4; time(NULL) < end; rounds++) {
		ASSERT_EQ(0, upl_attach(&probe, UPL_BPF, &link))
			TH_LOG("%s", upl_reason());
		ASSERT_EQ(0, upl_detach(link));
	}

	for (i = 0; i < nr; i++)
		hits += hitter_stop(&hitters[i]);
	EXPECT_EQ(0, upl_count(counter, &counted));
	EXPECT_EQ(hits, counted);
	EXPECT_EQ(0, upl_detach(counter));
	TH_LOG("%u programs attached and detached during %llu hits", rounds,
	       (unsigned long long)hits);
}

TEST_HARNESS_MAIN
