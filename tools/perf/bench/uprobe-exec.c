// SPDX-License-Identifier: GPL-2.0
/*
 * exec: many processes start a program again and again, on all CPUs, while its
 * entry is not probed and while it is. All map the same file, and in each new
 * process the kernel installs the breakpoint, which the program then hits.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/compiler.h>

#include "bench.h"
#include "uprobe-common.h"

static const char *consumer_str = "bpf";
static const char *program = "/bin/true";
static const char *csv;
static unsigned int nr_processes = 64;
static unsigned int duration = 1000;

static const struct option options[] = {
	UB_OPT_NUMBER('P', "processes", &nr_processes, 1, UB_MAX_PROCESSES,
		      "so many start the program in a loop (default: 64)"),
	UB_OPT_STRING('x', "program", &program, "path",
		      "what they start (default: /bin/true)"),
	UB_OPT_CONSUMER(&consumer_str),
	UB_OPT_DURATION(&duration),
	UB_OPT_CSV(&csv),
	OPT_END()
};

static const char * const usage[] = {
	"perf bench uprobe exec <options>",
	NULL
};

enum { COL_STATE, COL_CONSUMER, COL_PROCESSES, COL_REPEATS, COL_WINDOW,
	COL_RATE, COL_STDDEV, COL_RATIO, COL_NR };

static const struct ub_column columns[] = {
	[COL_STATE]	= { "state",		"program",		-1 },
	[COL_CONSUMER]	= { "consumer",		NULL,			-1 },
	[COL_PROCESSES]	= { "processes",	"processes",		0 },
	[COL_REPEATS]	= { "repeats",		NULL,			0 },
	[COL_WINDOW]	= { "window_ms",	NULL,			0 },
	[COL_RATE]	= { "execs_per_s",	"execs/s",		1 },
	[COL_STDDEV]	= { "stddev_pct",	"+-%",			1 },
	[COL_RATIO]	= { "ratio_to_unprobed", "to unprobed",		3 },
	[COL_NR]	= {}
};

enum state { UNPROBED, PROBED, NR_STATES };

static const char * const state_names[NR_STATES] = { "unprobed", "probed" };

enum command { WAIT, RUN, STOP };

/* What workers and we share; each worker writes a cache line of its own. */
struct worker {
	uint64_t	execs;
	pid_t		pid;
	pid_t		program;	/* that it waits for */
	int		err;		/* why the program did not start */
	int		status;		/* or how it ended */
} __aligned(64);

struct team {
	enum command	command __aligned(64);
	struct worker	workers[];
};

/* It reads nothing, and what it prints is not for the table. */
static posix_spawn_file_actions_t silence;

static int start_program(struct worker *me)
{
	char *argv[2] = { (char *)program };

	me->err = posix_spawn(&me->program, program, &silence, NULL, argv, environ);
	return me->err;
}

/* Start the program and wait for its end; false if it did not do well. */
static bool run_program(struct worker *me)
{
	if (!start_program(me) && waitpid(me->program, &me->status, 0) != me->program)
		me->err = errno;
	return !me->err && !me->status;
}

/* What ends at all ends within that time after it was told to. */
#define END_MS		10000

/* Wait for the end, but not for ever: false if it has not come. */
static bool has_ended(pid_t pid, int *status, uint64_t deadline_ns)
{
	pid_t ended;

	while (!(ended = waitpid(pid, status, WNOHANG))) {
		if (ub_now_ns() > deadline_ns)
			return false;
		usleep(1000);
	}
	if (ended < 0)
		*status = -1;
	return true;
}

static void run_program_once(void)
{
	struct worker me;

	if (!start_program(&me) &&
	    !has_ended(me.program, &me.status, ub_now_ns() + END_MS * 1000000ULL)) {
		kill(me.program, SIGKILL);
		waitpid(me.program, NULL, 0);
	}
}

static void work(struct team *team, struct worker *me)
{
	while (READ_ONCE(team->command) == WAIT)
		usleep(100);
	while (READ_ONCE(team->command) == RUN) {
		if (!run_program(me))
			_exit(1);
		WRITE_ONCE(me->execs, me->execs + 1);
	}
	_exit(0);
}

static int start_workers(struct team *team, const struct ub_cpus *cpus)
{
	pid_t pid, parent = getpid();
	unsigned int i;

	for (i = 0; i < nr_processes; i++) {
		struct worker *me = &team->workers[i];

		*me = (struct worker) {};
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent || ub_pin(cpus->id[i % cpus->nr]))
				_exit(1);
			work(team, me);
		}
		if (pid < 0) {
			WRITE_ONCE(team->command, STOP);
			nr_processes = i;
			return ub_error("cannot fork: %s", strerror(errno));
		}
		me->pid = pid;
	}
	return 0;
}

static uint64_t count_execs(const struct team *team)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < nr_processes; i++)
		sum += READ_ONCE(team->workers[i].execs);
	return sum;
}

static int failure(const struct worker *worker)
{
	if (worker->err)
		return ub_error("cannot start %s: %s", program, strerror(worker->err));
	if (WIFSIGNALED(worker->status))
		return ub_error("%s was killed by signal %d (%s)", program,
				WTERMSIG(worker->status), strsignal(WTERMSIG(worker->status)));
	if (worker->status)
		return ub_error("%s ended with status %d: choose another with -x", program,
				WEXITSTATUS(worker->status));
	return ub_error("a process that was to start %s has ended", program);
}

/* They come to their end, and nobody stays behind. */
static int end_workers(struct team *team, int ret)
{
	uint64_t deadline = ub_now_ns() + END_MS * 1000000ULL;
	unsigned int i;
	int status;

	WRITE_ONCE(team->command, STOP);
	for (i = 0; i < nr_processes; i++) {
		struct worker *worker = &team->workers[i];

		if (!has_ended(worker->pid, &status, deadline)) {
			kill(worker->pid, SIGKILL);
			waitpid(worker->pid, NULL, 0);
			if (worker->program > 0)
				kill(worker->program, SIGKILL);
			if (!ret)
				ret = ub_error("%s does not end by itself: choose another with -x",
					       program);
		} else if (status && !ret) {
			ret = failure(worker);
		}
	}
	return ret;
}

/* One window: the rate of all workers together. */
static int run_window(struct team *team, const struct ub_cpus *cpus, double *rate)
{
	uint64_t start;
	int ret;

	team->command = WAIT;
	ret = start_workers(team, cpus);
	start = ub_now_ns();
	if (!ret) {
		WRITE_ONCE(team->command, RUN);
		ub_sleep_ms(duration);
		*rate = count_execs(team) * 1e9 / (ub_now_ns() - start);
	}
	return end_workers(team, ret);
}

static int run_state(struct team *team, const struct ub_cpus *cpus, enum state state,
		     const struct upl_probe *probe, enum upl_consumer consumer,
		     double *rate)
{
	struct upl_link *link = NULL;
	uint64_t before;
	double share;
	int ret = 0;

	/* The workers of the last window are gone: nobody else hits it. */
	if (state == PROBED) {
		if (upl_attach(probe, consumer, &link))
			return ub_lib_error();
		if (upl_check_fires(link, run_program_once))
			ret = ub_lib_error();
		else
			ret = ub_count(link, consumer, &before);
	}
	if (!ret)
		ret = run_window(team, cpus, rate);
	/* All that was started has ended. */
	if (!ret && state == PROBED)
		ret = ub_check_count(link, consumer, before, count_execs(team), &share);
	if (upl_detach(link))
		ret = ub_lib_error();
	return ret;
}

static int run_states(struct ub_report *report, struct team *team,
		      const struct ub_cpus *cpus, const struct upl_probe *probe,
		      enum upl_consumer consumer)
{
	struct ub_stats rates[NR_STATES] = {};
	enum state state;
	double rate = 0;
	unsigned int r;
	int ret = 0;

	/* In turn, so that both see the same machine. The first is for caches. */
	for (r = 0; r <= bench_repeat; r++) {
		for (state = 0; state < NR_STATES; state++) {
			ret = run_state(team, cpus, state, probe, consumer, &rate);
			if (ret || ub_interrupted())
				return ret;
			if (r)
				ub_stats_add(&rates[state], rate);
		}
	}

	if (!rates[UNPROBED].mean)
		return ub_error("no %s has ended within %u ms: use a longer -d", program,
				duration);
	for (state = 0; state < NR_STATES; state++) {
		union ub_cell cells[COL_NR] = {
			[COL_STATE].text	= state_names[state],
			[COL_CONSUMER].text	= upl_consumer_names[consumer],
			[COL_PROCESSES].number	= nr_processes,
			[COL_REPEATS].number	= rates[state].nr,
			[COL_WINDOW].number	= duration,
			[COL_RATE].number	= rates[state].mean,
			[COL_STDDEV].number	= ub_stats_stddev_pct(&rates[state]),
			[COL_RATIO].number	= rates[state].mean / rates[UNPROBED].mean,
		};

		ub_report_row(report, cells);
	}
	return 0;
}

int bench_uprobe_exec(int argc, const char **argv)
{
	struct upl_probe probe = { .pid = -1, .cpu = -1 };
	enum upl_consumer consumer;
	struct ub_report report;
	struct ub_cpus cpus;
	struct team *team;
	size_t size;
	int ret;

	ub_parse(argc, argv, options, usage);
	ret = upl_consumer_find(consumer_str);
	if (ret < 0)
		return ub_lib_error();
	consumer = ret;
	if (consumer == UPL_NONE)
		return ub_error("nothing to compare: use another consumer than 'none'");
	probe.path = program;
	if (upl_entry_offset(program, &probe.offset))
		return ub_lib_error();

	size = sizeof(*team) + nr_processes * sizeof(team->workers[0]);
	team = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (team == MAP_FAILED)
		return ub_error("cannot map memory: %s", strerror(errno));
	ret = ub_cpus_get(&cpus);
	if (ret)
		goto out;
	posix_spawn_file_actions_init(&silence);
	posix_spawn_file_actions_addopen(&silence, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&silence, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	ret = ub_report_begin(&report, columns, csv);
	if (!ret) {
		ub_report_title(&report, "%s, %u processes, consumer %s; %u repeats of %u ms",
				program, nr_processes, upl_consumer_names[consumer],
				bench_repeat, duration);
		ub_signals_begin();
		ret = run_states(&report, team, &cpus, &probe, consumer);
		ret = ub_signals_end(ret);
		ret = ub_report_end(&report, ret);
	}
	posix_spawn_file_actions_destroy(&silence);
	ub_cpus_put(&cpus);
out:
	munmap(team, size);
	return ret;
}
