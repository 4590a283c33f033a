// SPDX-License-Identifier: GPL-2.0
/* A process that forks again and again and writes down how long each took. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/compiler.h>

#include "uprobe-common.h"
#include "uprobe-forker.h"

/* So many forks are an hour of a phase; what comes after is not counted. */
#define MAX_SAMPLES	(1U << 21)

struct phase {
	unsigned int	nr;
	uint32_t	ns[MAX_SAMPLES];
};

/* Shared by both processes. Memory that nobody touches costs nothing. */
struct ub_forker {
	pid_t		pid;
	unsigned int	nr_phases;
	int		phase;
	struct phase	phases[];
};

static size_t forker_size(unsigned int nr_phases)
{
	return sizeof(struct ub_forker) + nr_phases * sizeof(struct phase);
}

/* The time of fork() itself, in the parent. */
static uint64_t fork_once(void)
{
	uint64_t start = ub_now_ns(), end;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	end = ub_now_ns();
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		_exit(1);
	return end - start;
}

static void add_sample(struct phase *phase, uint64_t ns)
{
	if (phase->nr == MAX_SAMPLES)
		return;
	phase->ns[phase->nr] = ns > UINT32_MAX ? UINT32_MAX : ns;
	/* Pairs with the acquire in ub_forker_times(). */
	__atomic_store_n(&phase->nr, phase->nr + 1, __ATOMIC_RELEASE);
}

static void run(struct ub_forker *forker)
{
	for (;;) {
		int i = __atomic_load_n(&forker->phase, __ATOMIC_RELAXED);
		uint64_t ns = fork_once();

		/* It counts for the phase that it began in. */
		if (i != UB_FORKER_PAUSE)
			add_sample(&forker->phases[i], ns);
		usleep(1000);
	}
}

struct ub_forker *ub_forker_start(unsigned int nr_phases)
{
	pid_t pid, parent = getpid();
	struct ub_forker *forker;

	forker = mmap(NULL, forker_size(nr_phases), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (forker == MAP_FAILED) {
		ub_error("cannot map memory: %s", strerror(errno));
		return NULL;
	}
	forker->nr_phases = nr_phases;
	forker->phase = UB_FORKER_PAUSE;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			run(forker);
		_exit(1);
	}
	if (pid < 0) {
		ub_error("cannot fork: %s", strerror(errno));
		munmap(forker, forker_size(nr_phases));
		return NULL;
	}
	forker->pid = pid;
	return forker;
}

void ub_forker_phase(struct ub_forker *forker, int phase)
{
	if (forker)
		__atomic_store_n(&forker->phase, phase, __ATOMIC_RELAXED);
}

void ub_forker_forget(struct ub_forker *forker)
{
	unsigned int i;

	for (i = 0; forker && i < forker->nr_phases; i++)
		__atomic_store_n(&forker->phases[i].nr, 0, __ATOMIC_RELAXED);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void ub_forker_times(struct ub_forker *forker, int i, struct ub_fork_times *times)
{
	double sum = 0;
	uint32_t *ns;
	unsigned int n;

	*times = (struct ub_fork_times) { 0, NAN, NAN, NAN };
	if (!forker)
		return;
	times->nr = __atomic_load_n(&forker->phases[i].nr, __ATOMIC_ACQUIRE);
	if (!times->nr)
		return;

	ns = forker->phases[i].ns;
	qsort(ns, times->nr, sizeof(*ns), by_value);
	for (n = 0; n < times->nr; n++)
		sum += ns[n];
	times->mean_us = sum / times->nr / 1e3;
	times->p99_us = ns[(times->nr * 99ULL + 99) / 100 - 1] / 1e3;
	times->max_us = ns[times->nr - 1] / 1e3;
}

int ub_forker_check(const struct ub_forker *forker)
{
	siginfo_t info = {};

	if (!forker)
		return 0;
	if (waitid(P_PID, forker->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid)
		return ub_error("what measures fork has died: out of memory or processes?");
	return 0;
}

void ub_forker_stop(struct ub_forker *forker)
{
	if (!forker)
		return;
	kill(forker->pid, SIGKILL);
	waitpid(forker->pid, NULL, 0);
	munmap(forker, forker_size(forker->nr_phases));
}
