// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
/* An older C library has neither the header nor registers anything. */
#if __has_include("sys/rseq.h")
#include <sys/rseq.h>
#endif

#include "hitter.h"

int pin(pthread_t thread, int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return pthread_setaffinity_np(thread, sizeof(cpus), &cpus);
}

/*
 * A preempted task with a restartable sequence, which glibc registers for each
 * thread, is preempted again where its return to user space may fault.
 */
static void forget_rseq(void)
{
#ifdef RSEQ_SIG
	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
			sizeof(struct rseq), RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
#endif
}

/*
 * On one CPU from the first hit on: events of several CPUs are consumers of
 * their own, and a task that moves between them counts twice or not at all.
 */
static void *hit(void *arg)
{
	struct hitter *h = arg;

	if (pin(pthread_self(), h->cpu))
		h->stop = true;
	forget_rseq();
	h->tid = syscall(SYS_gettid);
	for (; !h->stop; h->hits++)
		h->fn();
	return NULL;
}

int hitter_start(struct hitter *h, int cpu, void (*fn)(void))
{
	int ret;

	memset(h, 0, sizeof(*h));
	h->cpu = cpu;
	h->fn = fn;
	ret = pthread_create(&h->thread, NULL, hit, h);
	if (ret)
		return ret;
	while (!h->tid)
		sched_yield();
	return h->stop ? EINVAL : 0;
}

uint64_t hitter_stop(struct hitter *h)
{
	h->stop = true;
	pthread_join(h->thread, NULL);
	return h->hits;
}
