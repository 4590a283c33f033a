// SPDX-License-Identifier: GPL-2.0
/*
 * attach: what it costs to attach and detach many probes, all in one file that
 * this process and maybe others have mapped: one after the other, together, and
 * by the exit of the process that holds them; and what it costs others that
 * fork meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/kernel.h>

#include "bench.h"
#include "uprobe-common.h"
#include "uprobe-forker.h"

static const char *consumer_str = "bpf";
static const char *csv;
static const char *ways_str;
static unsigned int nr_probes = 16;
static unsigned int nr_processes;
static bool measure_fork;

static const struct option options[] = {
	UB_OPT_NUMBER('k', "probes", &nr_probes, 1, UB_MAX_PROBES,
		      "number of probes (default: 16)"),
	UB_OPT_NUMBER('P', "processes", &nr_processes, 0, UB_MAX_PROCESSES,
		      "so many other processes map the file, too (default: 0)"),
	OPT_BOOLEAN('F', "fork", &measure_fork,
		    "how long fork takes elsewhere meanwhile"),
	UB_OPT_STRING('w', "ways", &ways_str, "list",
		      "which of each,together,exit (default: all that the consumer can)"),
	UB_OPT_CONSUMER(&consumer_str),
	UB_OPT_CSV(&csv),
	OPT_END()
};

static const char * const usage[] = {
	"perf bench uprobe attach <options>",
	NULL
};

enum { COL_OPERATION, COL_CONSUMER, COL_PROBES, COL_PROCESSES, COL_REPEATS,
	COL_TOTAL, COL_EACH, COL_STDDEV, COL_FORKS, COL_FORK_MEAN, COL_FORK_P99,
	COL_FORK_MAX, COL_NR };

static struct ub_column columns[] = {
	[COL_OPERATION]	= { "operation",	"operation      ",	-1 },
	[COL_CONSUMER]	= { "consumer",		NULL,			-1 },
	[COL_PROBES]	= { "probes",		"probes",		0 },
	[COL_PROCESSES]	= { "processes",	NULL,			0 },
	[COL_REPEATS]	= { "repeats",		NULL,			0 },
	[COL_TOTAL]	= { "ms_total",		"ms, all",		3 },
	[COL_EACH]	= { "ms_per_probe",	"ms/probe",		4 },
	[COL_STDDEV]	= { "stddev_pct",	"+-%",			1 },
	[COL_FORKS]	= { "forks",		"forks",		0 },
	[COL_FORK_MEAN]	= { "fork_mean_us",	"us/fork",		0 },
	[COL_FORK_P99]	= { "fork_p99_us",	"99 %",			0 },
	[COL_FORK_MAX]	= { "fork_max_us",	"longest",		0 },
	[COL_NR]	= {}
};

enum op { IDLE, ATTACH_EACH, DETACH_EACH, ATTACH_ALL, DETACH_ALL, TRACER_EXIT, NR_OPS };

static const char * const op_names[NR_OPS] = {
	[IDLE]		= "idle",
	[ATTACH_EACH]	= "attach-each",
	[DETACH_EACH]	= "detach-each",
	[ATTACH_ALL]	= "attach-together",
	[DETACH_ALL]	= "detach-together",
	[TRACER_EXIT]	= "tracer-exit",
};

/* Another process that has the sites mapped, where we have them. */
struct other {
	pid_t			pid;
	int			mem;		/* its /proc/<pid>/mem */
};

struct state {
	enum upl_consumer	consumer;
	struct upl_sites	sites;
	unsigned char		*text;		/* the sites, mapped */
	unsigned char		original;	/* first byte of a site */
	unsigned int		nr;		/* probes of this repeat */
	struct upl_probe	*probes;
	struct upl_link		**links;
	struct other		*others;
	unsigned int		nr_others;
	unsigned char		*copy;		/* for the sites of another */
	struct ub_forker	*forker;
	struct ub_stats		ms[NR_OPS];
	double			ms_bare;	/* least end of a tracer without probes */
};

static uint64_t begin(struct state *state, enum op op)
{
	ub_forker_phase(state->forker, op);
	return ub_now_ns();
}

static void end(struct state *state, enum op op, uint64_t start)
{
	ub_stats_add(&state->ms[op], (ub_now_ns() - start) / 1e6);
	ub_forker_phase(state->forker, UB_FORKER_PAUSE);
}

/* The text of that process, NULL if it is gone. */
static const unsigned char *read_other(struct state *state, const struct other *other)
{
	ssize_t size = state->sites.size;

	return pread(other->mem, state->copy, size, (uintptr_t)state->text) == size ?
		state->copy : NULL;
}

/* Not timed: the first and the last probe fire, so those between do as well. */
static int check_attached(struct state *state)
{
	const unsigned int ends[] = { 0, state->nr - 1 };
	const unsigned char *text;
	unsigned char *site;
	unsigned int i, j;

	for (i = 0; i < 2; i++) {
		site = state->text + ends[i] * UPL_SITE_SIZE;
		if (upl_check_fires(state->links[ends[i]], (void (*)(void))site))
			return ub_lib_error();
	}
	for (j = 0; j < state->nr_others; j++) {
		text = read_other(state, &state->others[j]);
		for (i = 0; i < state->nr; i++) {
			if (!text || text[i * UPL_SITE_SIZE] == state->original)
				return ub_error("process %u of %u has no breakpoint at site %u",
						j, state->nr_others, i);
		}
	}
	return 0;
}

static int check_text(const struct state *state, const unsigned char *text)
{
	unsigned int i;

	for (i = 0; i < state->nr; i++) {
		if (text[i * UPL_SITE_SIZE] != state->original)
			return ub_error("site %u of %u kept its breakpoint: get another kernel",
					i, state->nr);
	}
	return 0;
}

static int check_detached(struct state *state)
{
	const unsigned char *text;
	unsigned int i;
	int ret;

	ret = check_text(state, state->text);
	for (i = 0; !ret && i < state->nr_others; i++) {
		text = read_other(state, &state->others[i]);
		ret = text ? check_text(state, text) :
			ub_error("process %u of %u has ended", i, state->nr_others);
	}
	return ret;
}

static int run_each(struct state *state)
{
	unsigned int i, nr = 0;
	uint64_t start;
	int ret = 0;

	start = begin(state, ATTACH_EACH);
	while (!ret && nr < state->nr && !ub_interrupted()) {
		if (upl_attach(&state->probes[nr], state->consumer, &state->links[nr]))
			ret = ub_lib_error();
		else
			nr++;
	}
	end(state, ATTACH_EACH, start);
	if (!ret && nr == state->nr)
		ret = check_attached(state);

	start = begin(state, DETACH_EACH);
	for (i = 0; i < nr; i++) {
		if (upl_detach(state->links[i]))
			ret = ub_lib_error();
	}
	end(state, DETACH_EACH, start);
	return ret ?: check_detached(state);
}

static int run_together(struct state *state)
{
	uint64_t start;
	int ret;

	start = begin(state, ATTACH_ALL);
	if (upl_attach_all(state->probes, state->nr, state->consumer, state->links))
		return ub_lib_error();
	end(state, ATTACH_ALL, start);
	ret = check_attached(state);

	start = begin(state, DETACH_ALL);
	if (upl_detach_all(state->links, state->nr))
		ret = ub_lib_error();
	end(state, DETACH_ALL, start);
	return ret ?: check_detached(state);
}

/* The tracer says whether it is ready, then waits to be killed. */
static void tracer(struct state *state, bool attach, int ready_fd, pid_t parent)
{
	char ok = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	if (attach && upl_attach_all(state->probes, state->nr, state->consumer, state->links))
		_exit(ub_lib_error());
	if ((attach && check_attached(state)) || write(ready_fd, &ok, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* How long the end of a tracer takes, with all probes or with none. */
static int time_exit(struct state *state, bool attach, double *ms)
{
	pid_t pid, parent = getpid();
	uint64_t start;
	int fds[2], status;
	char ok = 0;

	if (pipe(fds))
		return ub_error("cannot create a pipe: %s", strerror(errno));
	pid = fork();
	if (!pid)
		tracer(state, attach, fds[1], parent);
	close(fds[1]);
	if (pid < 0 || read(fds[0], &ok, 1) != 1)
		ok = 0;
	close(fds[0]);
	if (pid < 0)
		return ub_error("cannot fork: %s", strerror(errno));

	ub_forker_phase(state->forker, attach ? TRACER_EXIT : UB_FORKER_PAUSE);
	start = ub_now_ns();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	*ms = (ub_now_ns() - start) / 1e6;
	ub_forker_phase(state->forker, UB_FORKER_PAUSE);
	if (ok)
		return 0;
	/* Who ends by itself has said why. */
	return WIFSIGNALED(status) ?
		ub_error("a tracer has died: out of memory, or killed?") : 1;
}

static int run_exit(struct state *state)
{
	double bare, ms;
	int ret;

	ret = time_exit(state, false, &bare);
	if (!ret)
		ret = time_exit(state, true, &ms);
	if (ret)
		return ret;
	state->ms_bare = fmin(state->ms_bare, bare);
	ub_stats_add(&state->ms[TRACER_EXIT], ms);
	return check_detached(state);
}

#define IDLE_MS		1000
#define WARMUP_PROBES	16U

static const struct way {
	const char	*name;
	int		(*run)(struct state *state);
	bool		needs_owned;	/* probes that go with their process */
} ways[] = {
	{ "each",	run_each,	false },
	{ "together",	run_together,	false },
	{ "exit",	run_exit,	true },
};

/* Trace events outlive the process that defined them. */
static bool possible(const struct way *way, enum upl_consumer consumer)
{
	return !way->needs_owned || consumer == UPL_PERF || consumer == UPL_BPF;
}

/* Is that one in the list of --ways? Without a list, all are. */
static bool wanted(const struct way *way)
{
	size_t len = strlen(way->name);
	const char *at;

	if (!ways_str)
		return true;
	for (at = ways_str; *at; at += strcspn(at, ",")) {
		at += *at == ',';
		if (!strncmp(at, way->name, len) && (!at[len] || at[len] == ','))
			return true;
	}
	return false;
}

static int check_ways(enum upl_consumer consumer)
{
	size_t known = 0;
	unsigned int i;

	if (!ways_str)
		return 0;
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (!wanted(&ways[i]))
			continue;
		if (!possible(&ways[i], consumer))
			return ub_error("--ways %s is not for %s: use -c perf or bpf",
					ways[i].name, upl_consumer_names[consumer]);
		known += strlen(ways[i].name) + 1;
	}
	return known && known == strlen(ways_str) + 1 ? 0 :
		ub_error("--ways is a list of each, together, exit: not '%s'", ways_str);
}

static int run_ways(struct state *state)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < ARRAY_SIZE(ways) && !ub_interrupted(); i++) {
		if (wanted(&ways[i]) && possible(&ways[i], state->consumer))
			ret = ways[i].run(state);
	}
	return ret;
}

static int run_repeats(struct state *state)
{
	unsigned int i;
	int ret;

	/* A few for nothing: program, trace instance, page tables. */
	state->nr = min(nr_probes, WARMUP_PROBES);
	ret = run_ways(state);
	memset(state->ms, 0, sizeof(state->ms));
	ub_forker_forget(state->forker);

	if (state->forker) {
		ub_forker_phase(state->forker, IDLE);
		ub_sleep_ms(IDLE_MS);
		ub_forker_phase(state->forker, UB_FORKER_PAUSE);
	}
	state->nr = nr_probes;
	for (i = 0; !ret && i < bench_repeat && !ub_interrupted(); i++)
		ret = run_ways(state);
	return ret;
}

static void report_rows(struct ub_report *report, struct state *state)
{
	enum op op;

	for (op = 0; op < NR_OPS; op++) {
		struct ub_stats *ms = &state->ms[op];
		union ub_cell cells[COL_NR] = {};
		struct ub_fork_times fork;

		/* The least: the mean of few is sometimes the longer one. */
		if (op == TRACER_EXIT)
			ms->mean = fmax(ms->mean - state->ms_bare, 0);
		ub_forker_times(state->forker, op, &fork);
		if (!ms->nr && !fork.nr)
			continue;
		cells[COL_OPERATION].text = op_names[op];
		cells[COL_CONSUMER].text = upl_consumer_names[state->consumer];
		cells[COL_PROBES].number = op == IDLE ? 0 : nr_probes;
		cells[COL_PROCESSES].number = nr_processes;
		cells[COL_REPEATS].number = ms->nr;
		cells[COL_TOTAL].number = ms->nr ? ms->mean : NAN;
		cells[COL_EACH].number = ms->nr ? ms->mean / nr_probes : NAN;
		cells[COL_STDDEV].number = ub_stats_stddev_pct(ms);
		cells[COL_FORKS].number = fork.nr;
		cells[COL_FORK_MEAN].number = fork.mean_us;
		cells[COL_FORK_P99].number = fork.p99_us;
		cells[COL_FORK_MAX].number = fork.max_us;
		ub_report_row(report, cells);
	}
}

/* They map what we have mapped, by fork, and wait for their end. */
static int start_others(struct state *state)
{
	pid_t pid, parent = getpid();
	char path[32];

	state->others = calloc(nr_processes, sizeof(*state->others));
	state->copy = malloc(state->sites.size);
	if (!state->others || !state->copy)
		return ub_error("out of memory for %u processes", nr_processes);
	while (state->nr_others < nr_processes) {
		struct other *other = &state->others[state->nr_others];

		if (ub_interrupted())
			return 1;
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (getppid() == parent)
				pause();
			_exit(1);
		}
		if (pid < 0)
			return ub_error("cannot fork: %s", strerror(errno));
		other->pid = pid;
		state->nr_others++;
		snprintf(path, sizeof(path), "/proc/%d/mem", pid);
		other->mem = open(path, O_RDONLY | O_CLOEXEC);
		if (other->mem < 0)
			return ub_error("cannot open %s: %s", path, strerror(errno));
	}
	return 0;
}

static void stop_others(struct state *state)
{
	unsigned int i;

	for (i = 0; i < state->nr_others; i++) {
		kill(state->others[i].pid, SIGKILL);
		waitpid(state->others[i].pid, NULL, 0);
		if (state->others[i].mem >= 0)
			close(state->others[i].mem);
	}
	free(state->others);
	free(state->copy);
}

static int state_init(struct state *state)
{
	unsigned int i;

	/* First, so that it has nothing mapped of what is probed. */
	if (measure_fork) {
		state->forker = ub_forker_start(NR_OPS);
		if (!state->forker)
			return 1;
	}
	if (upl_sites_create(&state->sites, nr_probes))
		return ub_lib_error();
	state->text = upl_sites_map(&state->sites);
	if (state->text == MAP_FAILED)
		return ub_error("cannot map probe sites: %s", strerror(errno));
	state->original = state->text[0];

	state->probes = calloc(nr_probes, sizeof(*state->probes));
	state->links = calloc(nr_probes, sizeof(*state->links));
	if (!state->probes || !state->links)
		return ub_error("out of memory for %u probes", nr_probes);
	for (i = 0; i < nr_probes; i++)
		upl_sites_probe(&state->sites, i, &state->probes[i]);
	return start_others(state);
}

static void state_free(struct state *state)
{
	stop_others(state);
	free(state->links);
	free(state->probes);
	if (state->text && state->text != MAP_FAILED)
		munmap(state->text, state->sites.size);
	if (state->sites.size)
		upl_sites_destroy(&state->sites);
}

int bench_uprobe_attach(int argc, const char **argv)
{
	struct state state = { .ms_bare = INFINITY };
	struct ub_report report;
	unsigned int i;
	int ret;

	ub_parse(argc, argv, options, usage);
	ret = upl_consumer_find(consumer_str);
	if (ret < 0)
		return ub_lib_error();
	state.consumer = ret;
	if (state.consumer == UPL_NONE)
		return ub_error("nothing to attach: use another consumer than 'none'");
	if (check_ways(state.consumer))
		return 1;
	for (i = COL_FORKS; !measure_fork && i < COL_NR; i++)
		columns[i].title = NULL;

	ub_raise_fd_limit(nr_probes, nr_processes);
	/* Before any fork: a signal of the terminal is for this process alone. */
	ub_signals_begin();
	ret = state_init(&state);
	if (!ret)
		ret = ub_report_begin(&report, columns, csv);
	if (ret)
		goto out;

	ub_report_title(&report, "%u probes, consumer %s, %u other processes; %u repeats",
			nr_probes, upl_consumer_names[state.consumer], nr_processes,
			bench_repeat);
	ret = run_repeats(&state);
	if (!ret && !ub_interrupted())
		ret = ub_forker_check(state.forker);
	if (!ret && !ub_interrupted())
		report_rows(&report, &state);
	ret = ub_report_end(&report, ret);
out:
	state_free(&state);
	ub_forker_stop(state.forker);
	return ub_signals_end(ret);
}
