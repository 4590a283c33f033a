// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/* BPF programs come and go while their probe is hit. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "common.h"

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
	atomic_bool	ready;
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
	h->ready = true;
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
	while (!h->ready)
		sched_yield();
	return h->stop ? -EINVAL : 0;
}

static uint64_t hitter_stop(struct hitter *h)
{
	h->stop = true;
	pthread_join(h->thread, NULL);
	return h->hits;
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
