// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../plugin/marker.h"
#include "team.h"

/* Windows that only bring caches and page tables into their steady state. */
#define WARMUP_WINDOWS	3

struct worker {
	const struct team *team;
	unsigned int *turn;
	unsigned int number;
	pthread_t thread;
	pid_t pid;
};

void *team_shared_memory(unsigned long size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

/* One nop and one ret for each byte value, eight bytes apart. */
static __attribute__((naked, used)) void char_table(void)
{
	__asm__(".set c, 0\n"
		".rept 256\n"
		".byte 0x0f, 0x1f, 0x80; .long " METER_STR(METER_CHAR) " + c\n"
		"ret\n"
		".set c, c + 1\n"
		".endr\n");
}

static void say(unsigned char c)
{
	((void (*)(void))((char *)char_table + 8 * c))();
}

static void set_label(const char *label)
{
	say(0);
	while (*label)
		say(*label++);
}

static void pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		perror("sched_setaffinity");
		exit(1);
	}
}

/* Turn numbers run on without end; a worker has every workers-th. */
static void wait_for(const unsigned int *turn, unsigned int mine)
{
	/* Pairs with the release in pass_on(). */
	while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) != mine)
		__builtin_ia32_pause();
}

static void pass_on(unsigned int *turn)
{
	/* Pairs with the acquire in wait_for(). */
	__atomic_fetch_add(turn, 1, __ATOMIC_RELEASE);
}

/*
 * A window without turns: all meet, the first begins it, each does its rounds,
 * all meet again, the last ends it.
 */
static void work_freely(const struct worker *w, unsigned int window, bool measured)
{
	const struct team *t = w->team;
	unsigned int start = window * 2 * t->workers;

	wait_for(w->turn, start + w->number);
	if (!w->number && measured)
		METER_MARK(METER_BEGIN);
	pass_on(w->turn);
	while (__atomic_load_n(w->turn, __ATOMIC_ACQUIRE) < start + t->workers)
		__builtin_ia32_pause();
	for (unsigned int round = 0; round < t->rounds; round++)
		t->op(w->number, t->data);
	wait_for(w->turn, start + t->workers + w->number);
	if (w->number == t->workers - 1)
		METER_MARK(METER_END);
	pass_on(w->turn);
}

static void *work(void *arg)
{
	const struct worker *w = arg;
	const struct team *t = w->team;
	unsigned int turn = w->number;

	pin(w->number);
	METER_MARK(METER_MUTE);
	for (unsigned int window = 0; window < WARMUP_WINDOWS + t->windows; window++) {
		if (t->free) {
			work_freely(w, window, window >= WARMUP_WINDOWS);
			turn += 2 * t->workers;
			continue;
		}
		for (unsigned int round = 0; round < t->rounds; round++) {
			wait_for(w->turn, turn);
			if (!w->number && !round && window >= WARMUP_WINDOWS)
				METER_MARK(METER_BEGIN);
			t->op(w->number, t->data);
			if (w->number == t->workers - 1 && round == t->rounds - 1)
				METER_MARK(METER_END);
			pass_on(w->turn);
			turn += t->workers;
		}
	}
	/* Stay until all are done: an exit is not part of anybody's window. */
	while (__atomic_load_n(w->turn, __ATOMIC_ACQUIRE) < turn - w->number)
		__builtin_ia32_pause();
	return NULL;
}

static bool start(struct worker *w)
{
	if (!w->team->processes)
		return !pthread_create(&w->thread, NULL, work, w);

	w->pid = fork();
	if (!w->pid) {
		work(w);
		_exit(0);
	}
	return w->pid > 0;
}

static bool finish(struct worker *w)
{
	int status;

	if (!w->team->processes)
		return !pthread_join(w->thread, NULL);
	return waitpid(w->pid, &status, 0) == w->pid && !status;
}

bool team_run(const struct team *team, const char *label)
{
	unsigned int *turn = team_shared_memory(4096);
	struct worker worker[team->workers];
	bool ok = true;

	set_label(label);
	for (unsigned int i = 0; i < team->workers; i++) {
		worker[i] = (struct worker) { .team = team, .turn = turn, .number = i };
		if (!start(&worker[i])) {
			perror("cannot start a worker");
			exit(1);	/* the others would wait for its turn */
		}
	}
	for (unsigned int i = 0; i < team->workers; i++)
		ok &= finish(&worker[i]);
	munmap(turn, 4096);
	set_label("");
	return ok;
}
