// SPDX-License-Identifier: GPL-2.0
/*
 * attach: what it costs to attach and detach many probes, all in one file that
 * this process has mapped: one after the other, together, and by the exit of
 * the process that holds them.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "uprobe-common.h"

static const char *consumer_str = "bpf";
static const char *csv;
static unsigned int nr_probes = 16;

static const struct option options[] = {
	OPT_UINTEGER('k', "probes", &nr_probes, "number of probes (default: 16)"),
	UB_OPT_CONSUMER(&consumer_str),
	UB_OPT_CSV(&csv),
	OPT_END()
};

static const char * const usage[] = {
	"perf bench uprobe attach <options>",
	NULL
};

enum { COL_OPERATION, COL_CONSUMER, COL_PROBES, COL_REPEATS, COL_TOTAL,
	COL_EACH, COL_STDDEV, COL_NR };

static const struct ub_column columns[] = {
	[COL_OPERATION]	= { "operation",	"operation      ",	-1 },
	[COL_CONSUMER]	= { "consumer",		NULL,			-1 },
	[COL_PROBES]	= { "probes",		"probes",		0 },
	[COL_REPEATS]	= { "repeats",		NULL,			0 },
	[COL_TOTAL]	= { "ms_total",		"ms, all",		3 },
	[COL_EACH]	= { "ms_per_probe",	"ms/probe",		4 },
	[COL_STDDEV]	= { "stddev_pct",	"+-%",			1 },
	[COL_NR]	= {}
};

enum op { ATTACH_EACH, DETACH_EACH, ATTACH_ALL, DETACH_ALL, TRACER_EXIT, NR_OPS };

static const char * const op_names[NR_OPS] = {
	[ATTACH_EACH]	= "attach-each",
	[DETACH_EACH]	= "detach-each",
	[ATTACH_ALL]	= "attach-together",
	[DETACH_ALL]	= "detach-together",
	[TRACER_EXIT]	= "tracer-exit",
};

struct state {
	enum upl_consumer	consumer;
	struct upl_sites	sites;
	unsigned char		*text;		/* the sites, mapped */
	unsigned char		original;	/* first byte of a site */
	struct upl_probe	*probes;
	struct upl_link		**links;
	struct ub_stats		ms[NR_OPS];
};

static void add_time(struct state *state, enum op op, uint64_t start)
{
	ub_stats_add(&state->ms[op], (ub_now_ns() - start) / 1e6);
}

/* Not timed: the first and the last probe fire, so those between do as well. */
static int check_attached(struct state *state)
{
	const unsigned int ends[] = { 0, nr_probes - 1 };
	unsigned char *site;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		site = state->text + ends[i] * UPL_SITE_SIZE;
		if (upl_check_fires(state->links[ends[i]], (void (*)(void))site))
			return ub_lib_error();
	}
	return 0;
}

static int check_detached(struct state *state)
{
	unsigned int i;

	for (i = 0; i < nr_probes; i++) {
		if (state->text[i * UPL_SITE_SIZE] != state->original)
			return ub_error("site %u of %u kept its breakpoint: get another kernel",
					i, nr_probes);
	}
	return 0;
}

static int run_each(struct state *state)
{
	unsigned int i, nr = 0;
	uint64_t start;
	int ret = 0;

	start = ub_now_ns();
	while (!ret && nr < nr_probes && !ub_interrupted()) {
		if (upl_attach(&state->probes[nr], state->consumer, &state->links[nr]))
			ret = ub_lib_error();
		else
			nr++;
	}
	add_time(state, ATTACH_EACH, start);
	if (nr == nr_probes)
		ret = check_attached(state);

	start = ub_now_ns();
	for (i = 0; i < nr; i++) {
		if (upl_detach(state->links[i]))
			ret = ub_lib_error();
	}
	add_time(state, DETACH_EACH, start);
	return ret ?: check_detached(state);
}

static int run_together(struct state *state)
{
	uint64_t start;
	int ret;

	start = ub_now_ns();
	if (upl_attach_all(state->probes, nr_probes, state->consumer, state->links))
		return ub_lib_error();
	add_time(state, ATTACH_ALL, start);
	ret = check_attached(state);

	start = ub_now_ns();
	if (upl_detach_all(state->links, nr_probes))
		ret = ub_lib_error();
	add_time(state, DETACH_ALL, start);
	return ret ?: check_detached(state);
}

/* The tracer says whether it is ready, then waits to be killed. */
static void tracer(struct state *state, int ready_fd, pid_t parent)
{
	char ok = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	if (upl_attach_all(state->probes, nr_probes, state->consumer, state->links)) {
		ub_lib_error();
		_exit(1);
	}
	if (check_attached(state) || write(ready_fd, &ok, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static int run_exit(struct state *state)
{
	pid_t pid, parent = getpid();
	uint64_t start;
	int fds[2];
	char ok = 0;

	if (pipe(fds))
		return ub_error("cannot create a pipe: %s", strerror(errno));
	pid = fork();
	if (!pid)
		tracer(state, fds[1], parent);
	close(fds[1]);
	if (pid < 0 || read(fds[0], &ok, 1) != 1)
		ok = 0;
	close(fds[0]);
	if (pid < 0)
		return ub_error("cannot fork: %s", strerror(errno));

	start = ub_now_ns();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	add_time(state, TRACER_EXIT, start);
	/* If not, it has said why. */
	return ok ? check_detached(state) : 1;
}

static int run_repeats(struct state *state)
{
	/* Trace events outlive the process that defined them. */
	bool owned = state->consumer == UPL_PERF || state->consumer == UPL_BPF;
	unsigned int i;
	int ret = 0;

	/* Once for nothing: program, trace instance, page tables. */
	for (i = 0; !ret && i <= bench_repeat && !ub_interrupted(); i++) {
		if (i == 1)
			memset(state->ms, 0, sizeof(state->ms));
		ret = run_each(state);
		if (!ret && !ub_interrupted())
			ret = run_together(state);
		if (!ret && owned && !ub_interrupted())
			ret = run_exit(state);
	}
	return ret;
}

static void report_rows(struct ub_report *report, const struct state *state)
{
	const struct ub_stats *ms;
	enum op op;

	for (op = 0; op < NR_OPS; op++) {
		union ub_cell cells[COL_NR] = {};

		ms = &state->ms[op];
		if (!ms->nr)
			continue;
		cells[COL_OPERATION].text = op_names[op];
		cells[COL_CONSUMER].text = upl_consumer_names[state->consumer];
		cells[COL_PROBES].number = nr_probes;
		cells[COL_REPEATS].number = ms->nr;
		cells[COL_TOTAL].number = ms->mean;
		cells[COL_EACH].number = ms->mean / nr_probes;
		cells[COL_STDDEV].number = ub_stats_stddev_pct(ms);
		ub_report_row(report, cells);
	}
}

static int state_init(struct state *state)
{
	unsigned int i;

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
	return 0;
}

static void state_free(struct state *state)
{
	free(state->links);
	free(state->probes);
	if (state->text && state->text != MAP_FAILED)
		munmap(state->text, state->sites.size);
	if (state->sites.size)
		upl_sites_destroy(&state->sites);
}

/* A probe may need one descriptor per CPU. What is too little shows later. */
static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int bench_uprobe_attach(int argc, const char **argv)
{
	struct state state = {};
	struct ub_report report;
	int ret;

	ub_parse(argc, argv, options, usage);
	ret = upl_consumer_find(consumer_str);
	if (ret < 0)
		return ub_lib_error();
	state.consumer = ret;
	if (state.consumer == UPL_NONE || !nr_probes)
		return ub_error("nothing to attach: use -k 1 or more, and no consumer 'none'");

	raise_fd_limit();
	ret = state_init(&state);
	if (!ret)
		ret = ub_report_begin(&report, columns, csv);
	if (ret)
		goto out;

	ub_report_title(&report, "%u probes, consumer %s; %u repeats", nr_probes,
			upl_consumer_names[state.consumer], bench_repeat);
	ub_signals_begin();
	ret = run_repeats(&state);
	ret = ub_signals_end(ret);
	if (!ret)
		report_rows(&report, &state);
	ret |= ub_report_end(&report);
out:
	state_free(&state);
	return ret;
}
