// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/* BPF programs come and go while their probe is hit. */
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "common.h"

#define ROUNDS		4
/* Longer than a grace period of RCU tasks trace under emulation. */
#define GRACE_MS	400

__attribute__((noinline, noclone)) static void probed(void)
{
	asm volatile("nop");
}

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

static int pin(pthread_t thread, int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return pthread_setaffinity_np(thread, sizeof(cpus), &cpus);
}

/* ---- threads that hit the probe ---- */

struct hitter {
	pthread_t	thread;
	int		cpu;
	atomic_int	tid;
	atomic_bool	stop;
	uint64_t	hits;
};

/*
 * On one CPU from the first hit on: events of several CPUs are consumers of
 * their own, and a task that moves between them counts twice or not at all.
 */
static void *hit(void *arg)
{
	struct hitter *h = arg;

	if (pin(pthread_self(), h->cpu))
		h->stop = true;
	h->tid = syscall(SYS_gettid);
	for (; !h->stop; h->hits++)
		probed();
	return NULL;
}

static int hitter_start(struct hitter *h, int cpu)
{
	int ret;

	memset(h, 0, sizeof(*h));
	h->cpu = cpu;
	ret = pthread_create(&h->thread, NULL, hit, h);
	if (ret)
		return ret;
	while (!h->tid)
		sched_yield();
	return h->stop ? -EINVAL : 0;
}

static uint64_t hitter_stop(struct hitter *h)
{
	h->stop = true;
	pthread_join(h->thread, NULL);
	return h->hits;
}

/* ---- a thread that takes the CPU from a hitter, at one place ---- */

struct usurper {
	pthread_t	thread;
	int		fd;		/* fires once the hitter is there */
	void		*ring;
	atomic_bool	holds_cpu;
	atomic_bool	release;
};

/* One sample when thread tid calls that function of the kernel next. */
static int open_kprobe(const char *function, pid_t tid)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.config1 = (uintptr_t)function,
		.sample_period = 1,
		.wakeup_events = 1,
		.sample_type = PERF_SAMPLE_IP,
		.disabled = 1,
	};
	FILE *file = fopen("/sys/bus/event_source/devices/kprobe/type", "re");

	if (!file)
		return -1;
	if (fscanf(file, "%u", &attr.type) != 1)
		attr.type = -1;
	fclose(file);
	return syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/*
 * Woken by the hitter's own CPU, with a priority above the hitter's: it stops
 * right where it is, for as long as this spins.
 */
static void *usurp(void *arg)
{
	struct usurper *u = arg;
	struct pollfd pfd = { .fd = u->fd, .events = POLLIN };

	poll(&pfd, 1, 10000);
	u->holds_cpu = true;
	while (!u->release)
		;
	return NULL;
}

static int usurper_start(struct usurper *u, const char *function,
			 struct hitter *h, int cpu)
{
	struct sched_param prio = { .sched_priority = 1 };

	memset(u, 0, sizeof(*u));
	u->fd = open_kprobe(function, h->tid);
	if (u->fd < 0)
		return -1;
	u->ring = mmap(NULL, 2 * sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
		       MAP_SHARED, u->fd, 0);
	if (u->ring == MAP_FAILED || pthread_create(&u->thread, NULL, usurp, u))
		return -1;
	if (pin(u->thread, cpu) ||
	    pthread_setschedparam(u->thread, SCHED_FIFO, &prio))
		return -1;
	/* Let it reach poll(). */
	sleep_ms(50);
	return 0;
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

/*
 * A hit that is stopped just before it runs the BPF programs finds the array of
 * programs alive, or gone, but not freed: __might_fault() stands between them.
 */
TEST_F(uprobe, array_not_freed_under_a_stopped_hit)
{
	struct upl_probe probe;
	struct upl_link *link;
	struct usurper usurper;
	struct hitter hitter;
	pthread_t detacher;
	int i, stopped = 0;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_BPF | NEED_SMP | NEED_PREEMPT | NEED_KASAN);
	if (!kernel_has_symbol("__might_fault"))
		SKIP(return, "kernel without DEBUG_ATOMIC_SLEEP");

	ASSERT_EQ(0, probe_self(&probe, 1));
	ASSERT_EQ(0, pin(pthread_self(), 0));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, upl_attach(&probe, UPL_BPF, &link))
			TH_LOG("%s", upl_reason());
		ASSERT_EQ(0, hitter_start(&hitter, 1));
		ASSERT_EQ(0, usurper_start(&usurper, "__might_fault", &hitter, 1));
		ASSERT_EQ(0, ioctl(usurper.fd, PERF_EVENT_IOC_REFRESH, 1));
		sleep_ms(200);
		stopped += usurper.holds_cpu;

		ASSERT_EQ(0, pthread_create(&detacher, NULL, detach, link));
		sleep_ms(GRACE_MS);
		usurper_stop(&usurper);
		hitter_stop(&hitter);
		pthread_join(detacher, NULL);
	}
	EXPECT_EQ(ROUNDS, stopped)
		TH_LOG("not every hit was stopped: the case proves nothing");
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
		ASSERT_EQ(0, hitter_start(&hitters[i], i));

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
