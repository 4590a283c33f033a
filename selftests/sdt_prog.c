// SPDX-License-Identifier: GPL-2.0
/*
 * A program with markers as <sys/sdt.h> makes them, for tracers that start it:
 *	sdt_prog TIMES [preload|dlopen|dlmopen LIBRARY]
 * runs each marker that is enabled so many times, or until SIGTERM, and says which
 * were.
 */
#define _GNU_SOURCE 1
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEMAPHORE(name) \
	__extension__ unsigned short name##_semaphore __attribute__((section(".probes")))

/* Two providers with a marker of the same name, and one of another. */
SEMAPHORE(one_turn);
SEMAPHORE(two_turn);
SEMAPHORE(two_end);

#define ENABLED(name) (*(volatile unsigned short *)&name##_semaphore > 0)

/* One marker, inlined at three places. */
static inline __attribute__((always_inline)) void turn(int where, int i)
{
	if (ENABLED(one_turn))
		STAP_PROBE2(one, turn, where, i);
}

static __attribute__((noinline)) void odd(int i)
{
	turn(1, i);
}

static __attribute__((noinline)) void even(int i)
{
	turn(2, i);
}

#define MAX_LIBS 2

static struct {
	void		(*hit)(void);
	unsigned short	*(*counter)(void);
} libs[MAX_LIBS];
static int nr_libs;

static void use_lib(void *handle)
{
	if (!handle) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	libs[nr_libs].hit = dlsym(handle, "sdt_lib_hit");
	libs[nr_libs++].counter = dlsym(handle, "sdt_lib_counter");
}

static volatile sig_atomic_t stopped;

static void on_term(int sig)
{
	stopped = 1;
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 1, i, l;
	const char *how = argc > 2 ? argv[2] : "";

	if (!strcmp(how, "preload"))
		use_lib(dlopen(NULL, RTLD_NOW));
	if (!strcmp(how, "dlopen"))
		use_lib(dlopen(argv[3], RTLD_NOW));
	if (!strcmp(how, "dlmopen")) {
		use_lib(dlmopen(LM_ID_NEWLM, argv[3], RTLD_NOW));
		use_lib(dlmopen(LM_ID_NEWLM, argv[3], RTLD_NOW));
	}

	signal(SIGTERM, on_term);
	for (i = 0; i < times && !stopped; i++) {
		turn(0, i);
		if (i & 1)
			odd(i);
		else
			even(i);
		if (ENABLED(two_turn))
			STAP_PROBE1(two, turn, i);
		for (l = 0; l < nr_libs; l++) {
			if (*libs[l].counter())
				libs[l].hit();
		}
		/* For tracers that come and go meanwhile. */
		if (times > 1000)
			usleep(1000);
	}
	if (ENABLED(two_end))
		STAP_PROBE(two, end);

	printf("one:turn %u two:turn %u two:end %u", one_turn_semaphore,
	       two_turn_semaphore, two_end_semaphore);
	for (l = 0; l < nr_libs; l++)
		printf(" lib:hit %u", *libs[l].counter());
	printf("\n");
	return 0;
}
