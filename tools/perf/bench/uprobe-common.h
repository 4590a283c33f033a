/* SPDX-License-Identifier: GPL-2.0 */
/* What the uprobe benchmarks share: options, rows of results, time, signals. */
#ifndef BENCH_UPROBE_COMMON_H
#define BENCH_UPROBE_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <linux/compiler.h>
#include <subcmd/parse-options.h>
#include <uprobe/uprobe.h>

/* One line on stderr; returns the exit status of a failed benchmark. */
int ub_error(const char *fmt, ...) __printf(1, 2);

/* The same, with the reason that the library gave. */
int ub_lib_error(void);

/* ---- options ---- */

/* Above, typing errors are more likely than intentions. */
#define UB_MAX_MSECS		3600000
#define UB_MAX_REPEATS		100000
#define UB_MAX_PROBES		1000000
#define UB_MAX_PROCESSES	10000

struct ub_range {
	unsigned int	min, max;
};

/* A whole number; what else is given, one line refuses, and perf ends. */
#define UB_OPT_NUMBER(s, l, v, lowest, highest, h) {			\
	.type = OPTION_CALLBACK, .short_name = (s), .long_name = (l),	\
	.value = check_vtype(v, unsigned int *), .argh = "n",		\
	.help = (h), .flags = PARSE_OPT_NONEG, .callback = ub_parse_number, \
	.data = (void *)&(const struct ub_range) { lowest, highest } }
int ub_parse_number(const struct option *opt, const char *arg, int unset);

/* A text that no option takes away again. */
#define UB_OPT_STRING(s, l, v, a, h) {					\
	.type = OPTION_STRING, .short_name = (s), .long_name = (l),	\
	.value = check_vtype(v, const char **), .argh = (a),		\
	.help = (h), .flags = PARSE_OPT_NONEG }

#define UB_OPT_CSV(csv)							\
	UB_OPT_STRING(0, "csv", csv, "FILE",				\
		      "write CSV to FILE, too; - is stdout, and no table")
#define UB_OPT_CONSUMER(name)						\
	UB_OPT_STRING('c', "consumer", name, "consumer",		\
		      "who listens: none|perf|tracepoint|ftrace|bpf (default: bpf)")
#define UB_OPT_DURATION(msecs)						\
	UB_OPT_NUMBER('d', "duration", msecs, 1, UB_MAX_MSECS,		\
		      "run time of each repeat in ms")

/* Parse, and refuse what is left over. */
void ub_parse(int argc, const char **argv, const struct option *options,
	      const char * const *usage);

/* ---- CPUs ---- */

struct ub_cpus {
	unsigned int	nr;
	int		*id;
};

/* The CPUs that this process may use. 0 or an exit status, like all below. */
int ub_cpus_get(struct ub_cpus *cpus);
void ub_cpus_put(struct ub_cpus *cpus);
int ub_pin(int cpu);

/*
 * As many descriptors as so many probes may need, one for each CPU, and others
 * besides. What is too little shows later.
 */
void ub_raise_fd_limit(unsigned int nr_probes, unsigned int others);

/* ---- time and signals ---- */

uint64_t ub_now_ns(void);

/*
 * From here to ub_signals_end(), SIGINT and the like do not kill, so that no
 * probe stays behind: they end ub_sleep_ms() and make ub_interrupted() true.
 */
void ub_signals_begin(void);
bool ub_interrupted(void);
bool ub_sleep_ms(unsigned int msecs);		/* false: interrupted */

/* An interrupted run fails; returns ret otherwise. */
int ub_signals_end(int ret);

/*
 * Time of one op in ns: op(arg, n) does n of them and returns 0 or an exit
 * status; it is called until msecs are over. 1 if it was interrupted.
 */
int ub_time(int (*op)(void *arg, unsigned int n), void *arg, unsigned int n,
	    unsigned int msecs, double *ns);

/* ---- repeats ---- */

struct ub_stats {
	unsigned int	nr;
	double		mean;
	double		m2;
};

void ub_stats_add(struct ub_stats *stats, double value);
/* Standard deviation in percent of the mean; NAN for less than two values or a mean of 0. */
double ub_stats_stddev_pct(const struct ub_stats *stats);

/* ---- hits ---- */

/* Those that the consumer has counted so far; 0 where it does not count. */
int ub_count(struct upl_link *link, enum upl_consumer consumer, uint64_t *hits);

/*
 * Since it had counted so many, there were these calls. An exit status if it
 * has not counted each; *share is what it has, NAN where it does not count.
 */
int ub_check_count(struct upl_link *link, enum upl_consumer consumer,
		   uint64_t before, uint64_t calls, double *share);

/* ---- rows ---- */

struct ub_column {
	const char	*name;		/* in CSV and simple output: "hits_per_s" */
	const char	*title;		/* in the table; NULL: not there */
	int		decimals;	/* -1: a text */
};

union ub_cell {
	double		number;		/* NAN: nothing to say */
	const char	*text;
};

struct ub_report {
	const struct ub_column	*columns;	/* ends with a NULL name */
	FILE			*csv;
	char			*title;		/* until the first row is printed */
	bool			table;
	bool			simple;
};

/*
 * Where a row goes follows perf bench's --format and the file of --csv (NULL:
 * none). Every row of CSV and simple output begins with kernel and CPUs.
 */
int ub_report_begin(struct ub_report *report, const struct ub_column *columns,
		    const char *csv);
/* One line above the table; waits for the first row, which may never come. */
void ub_report_title(struct ub_report *report, const char *fmt, ...)
	__printf(2, 3);
void ub_report_row(struct ub_report *report, const union ub_cell *cells);
/* ret, or an exit status if the results could not be written. */
int ub_report_end(struct ub_report *report, int ret);

#endif /* BENCH_UPROBE_COMMON_H */
