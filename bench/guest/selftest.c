// SPDX-License-Identifier: GPL-2.0
/*
 * Operations on counters whose figures can be told by reading them: what the
 * meter must report stands in selftest.expect.  With --break the "private"
 * counters share a line, and the comparison must fail.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../plugin/marker.h"
#include "team.h"

#define LINE	64

static size_t private_stride = LINE;

static volatile uint64_t *word(void *memory, size_t offset)
{
	return (void *)((char *)memory + offset);
}

static void increment(volatile uint64_t *counter)
{
	METER_MARK(METER_UNMUTE);
	__asm__ volatile("incq %0" : "+m" (*counter));
	METER_MARK(METER_HIT);
	METER_MARK(METER_MUTE);
}

static void read_word(volatile uint64_t *counter)
{
	METER_MARK(METER_UNMUTE);
	__asm__ volatile("movq %0, %%rax" : : "m" (*counter) : "rax");
	METER_MARK(METER_HIT);
	METER_MARK(METER_MUTE);
}

static void op_private(unsigned int worker, void *memory)
{
	increment(word(memory, worker * private_stride));
}

static void op_false_shared(unsigned int worker, void *memory)
{
	increment(word(memory, worker * sizeof(uint64_t)));
}

static void op_read_shared(unsigned int worker, void *memory)
{
	if (worker)
		read_word(word(memory, 0));
	else
		increment(word(memory, 0));
}

/* Worker 0 writes ten times as often as any other. */
static void op_dominant(unsigned int worker, void *memory)
{
	for (int i = 0; i < (worker ? 1 : 10); i++)
		increment(word(memory, 0));
}

static void op_locked(unsigned int worker, void *memory)
{
	METER_MARK(METER_UNMUTE);
	__asm__ volatile("1: movl $1, %%eax\n"
			 "xchgl %%eax, %0\n"
			 "testl %%eax, %%eax\n"
			 "jnz 1b\n"
			 "incq %1\n"
			 "movl $0, %0\n"
			 : "+m" (*(volatile uint32_t *)word(memory, 0)),
			   "+m" (*word(memory, LINE)) : : "eax");
	METER_MARK(METER_HIT);
	METER_MARK(METER_MUTE);
}

static const struct {
	const char *name;
	void (*op)(unsigned int worker, void *memory);
} tests[] = {
	{ "private", op_private },
	{ "false-shared", op_false_shared },
	{ "read-shared", op_read_shared },
	{ "dominant", op_dominant },
	{ "locked", op_locked },
};

int main(int argc, char **argv)
{
	void *memory = team_shared_memory(4096);
	struct team team = {
		.workers = sysconf(_SC_NPROCESSORS_ONLN),
		.windows = 5,
		.rounds = 8,
		.data = memory,
	};

	if (argc > 1 && !strcmp(argv[1], "--break"))
		private_stride = sizeof(uint64_t);

	for (int processes = 0; processes < 2; processes++) {
		for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
			char label[64];

			snprintf(label, sizeof(label), "%s,,,%s", tests[i].name,
				 processes ? "processes" : "threads");
			team.processes = processes;
			team.op = tests[i].op;
			memset(memory, 0, 4096);	/* the lock starts free */
			if (!team_run(&team, label))
				return 1;
		}
	}
	return 0;
}
