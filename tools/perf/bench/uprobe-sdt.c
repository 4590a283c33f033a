// SPDX-License-Identifier: GPL-2.0
/*
 * sdt: one call of a function with an SDT marker whose semaphore is off, is on
 * though nobody traces, and is on because somebody does; then off again. The
 * kernel must raise the semaphore to 1 and lower it to 0.
 */
#include <stdio.h>
#include <string.h>
#include <linux/compiler.h>
#include <linux/kernel.h>

#include "bench.h"
#include "uprobe-common.h"

static const char *consumer_str = "bpf";
static const char *insn_str = "nop";
static const char *csv;
static unsigned int duration = 100;

static const struct option options[] = {
	UB_OPT_STRING('i', "insn", &insn_str, "insn",
		      "instruction of the marker: nop|nop5|nop10 (default: nop)"),
	UB_OPT_CONSUMER(&consumer_str),
	UB_OPT_DURATION(&duration),
	UB_OPT_CSV(&csv),
	OPT_END()
};

static const char * const usage[] = {
	"perf bench uprobe sdt <options>",
	NULL
};

enum { COL_STATE, COL_INSN, COL_CONSUMER, COL_SEMAPHORE, COL_REPEATS,
	COL_WINDOW, COL_NS, COL_STDDEV, COL_NR };

static const struct ub_column columns[] = {
	[COL_STATE]	= { "state",		"state",	-1 },
	[COL_INSN]	= { "insn",		NULL,		-1 },
	[COL_CONSUMER]	= { "consumer",		"consumer",	-1 },
	[COL_SEMAPHORE]	= { "semaphore",	"semaphore",	0 },
	[COL_REPEATS]	= { "repeats",		NULL,		0 },
	[COL_WINDOW]	= { "window_ms",	NULL,		0 },
	[COL_NS]	= { "ns_per_call",	"ns/call",	2 },
	[COL_STDDEV]	= { "stddev_pct",	"+-%",		1 },
	[COL_NR]	= {}
};

static int call(void *arg, unsigned int n)
{
	void (*fn)(void) = ((const struct upl_sdt *)arg)->fn;

	while (n--)
		fn();
	return 0;
}

static int run_state(struct ub_report *report, const struct upl_sdt *sdt,
		     const char *state, enum upl_consumer consumer,
		     unsigned int wanted)
{
	union ub_cell cells[COL_NR] = {};
	unsigned int r, semaphore;
	struct ub_stats stats = {};
	double ns;
	int ret;

	/* The first one is for the caches. */
	for (r = 0; r <= bench_repeat && !ub_interrupted(); r++) {
		ret = ub_time(call, (void *)sdt, 100, duration, &ns);
		if (ret)
			return ret;
		if (r)
			ub_stats_add(&stats, ns);
	}

	semaphore = READ_ONCE(*sdt->semaphore);
	if (semaphore != wanted)
		return ub_error("%s: the semaphore is %u, not %u: stop other tracers of perf",
				state, semaphore, wanted);
	if (ub_interrupted())
		return 1;

	cells[COL_STATE].text = state;
	cells[COL_INSN].text = insn_str;
	cells[COL_CONSUMER].text = upl_consumer_names[consumer];
	cells[COL_SEMAPHORE].number = semaphore;
	cells[COL_REPEATS].number = stats.nr;
	cells[COL_WINDOW].number = duration;
	cells[COL_NS].number = stats.mean;
	cells[COL_STDDEV].number = ub_stats_stddev_pct(&stats);
	ub_report_row(report, cells);
	return 0;
}

static int run_traced(struct ub_report *report, const struct upl_sdt *sdt,
		      const struct upl_probe *probe, enum upl_consumer consumer)
{
	struct upl_link *link;
	int ret;

	if (upl_attach(probe, consumer, &link))
		return ub_lib_error();
	if (upl_check_fires(link, sdt->fn))
		ret = ub_lib_error();
	else
		ret = run_state(report, sdt, "traced", consumer, 1);
	if (upl_detach(link))
		ret = ub_lib_error();
	return ret;
}

static int run_states(struct ub_report *report, const struct upl_sdt *sdt,
		      const struct upl_probe *probe, enum upl_consumer consumer)
{
	int ret;

	ret = run_state(report, sdt, "off", UPL_NONE, 0);
	if (ret)
		return ret;

	__atomic_add_fetch(sdt->semaphore, 1, __ATOMIC_RELAXED);
	ret = run_state(report, sdt, "on", UPL_NONE, 1);
	__atomic_sub_fetch(sdt->semaphore, 1, __ATOMIC_RELAXED);
	if (ret)
		return ret;

	ret = run_traced(report, sdt, probe, consumer);
	return ret ?: run_state(report, sdt, "after", UPL_NONE, 0);
}

int bench_uprobe_sdt(int argc, const char **argv)
{
	enum upl_consumer consumer;
	const struct upl_sdt *sdt;
	struct ub_report report;
	struct upl_probe probe;
	int ret;

	ub_parse(argc, argv, options, usage);
	ret = upl_consumer_find(consumer_str);
	if (ret < 0)
		return ub_lib_error();
	consumer = ret;
	if (consumer == UPL_NONE)
		return ub_error("nothing to trace: use another consumer than 'none'");
	sdt = upl_sdt_find(insn_str);
	if (!sdt)
		return ub_error("no SDT marker has a '%s': use nop, nop5 or nop10",
				insn_str);
	if (upl_sdt_probe(sdt, &probe))
		return ub_lib_error();

	ret = ub_report_begin(&report, columns, csv);
	if (ret)
		return ret;
	ub_report_title(&report, "marker uprobe_bench:%s, '%s'; %u repeats of %u ms",
			sdt->name, insn_str, bench_repeat, duration);
	ub_signals_begin();
	ret = run_states(&report, sdt, &probe, consumer);
	ret = ub_signals_end(ret);
	return ub_report_end(&report, ret);
}
