/* SPDX-License-Identifier: GPL-2.0 */
/* Threads that call a probed function without pause, each on a CPU of its own. */
#ifndef UPROBES_HITTER_H
#define UPROBES_HITTER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hitter {
	pthread_t	thread;
	int		cpu;
	void		(*fn)(void);
	atomic_int	tid;
	atomic_bool	stop;
	uint64_t	hits;		/* calls so far */
};

/* On one CPU from its first call on. 0 or an error number. */
int hitter_start(struct hitter *h, int cpu, void (*fn)(void));
/* How often it has called. */
uint64_t hitter_stop(struct hitter *h);

/* Let a thread run on one CPU only. */
int pin(pthread_t thread, int cpu);

#endif /* UPROBES_HITTER_H */
