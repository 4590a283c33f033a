// SPDX-License-Identifier: GPL-2.0
/* What the uprobe benchmarks share: options, rows of results, time, signals. */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "uprobe-common.h"

int ub_error(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("perf bench uprobe: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return 1;
}

int ub_lib_error(void)
{
	return ub_error("%s", upl_reason());
}

int ub_parse_number(const struct option *opt, const char *arg, int unset __maybe_unused)
{
	const struct ub_range *range = opt->data;
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(arg, &end, 10);
	/* strtoull() takes blanks, signs and nothing at all. */
	if (*arg < '0' || *arg > '9' || *end || errno || value < range->min ||
	    value > range->max) {
		ub_error("--%s takes a whole number from %u to %u, not '%s'",
			 opt->long_name, range->min, range->max, arg);
		exit(1);
	}
	*(unsigned int *)opt->value = value;
	return 0;
}

void ub_parse(int argc, const char **argv, const struct option *options,
	      const char * const *usage)
{
	argc = parse_options(argc, argv, options, usage, 0);
	if (argc)
		usage_with_options_msg(usage, options, "unknown argument '%s'\n", argv[0]);
	if (bench_repeat > UB_MAX_REPEATS) {
		ub_error("--repeat takes a whole number from 1 to %u", UB_MAX_REPEATS);
		exit(1);
	}
}

/* ---- CPUs ---- */

int ub_cpus_get(struct ub_cpus *cpus)
{
	int cpu, max = sysconf(_SC_NPROCESSORS_CONF);
	cpu_set_t *set;
	size_t size;

	memset(cpus, 0, sizeof(*cpus));
	/* The kernel wants room for every CPU that could ever be there. */
	for (; max < 1 << 20; max *= 2) {
		size = CPU_ALLOC_SIZE(max);
		set = CPU_ALLOC(max);
		if (!set)
			return ub_error("out of memory");
		if (!sched_getaffinity(0, size, set))
			break;
		CPU_FREE(set);
		if (errno != EINVAL)
			return ub_error("sched_getaffinity: %s", strerror(errno));
	}

	max = size * 8;
	cpus->id = calloc(CPU_COUNT_S(size, set), sizeof(*cpus->id));
	for (cpu = 0; cpus->id && cpu < max; cpu++) {
		if (CPU_ISSET_S(cpu, size, set))
			cpus->id[cpus->nr++] = cpu;
	}
	CPU_FREE(set);
	return cpus->id ? 0 : ub_error("out of memory");
}

void ub_cpus_put(struct ub_cpus *cpus)
{
	free(cpus->id);
}

int ub_pin(int cpu)
{
	size_t size = CPU_ALLOC_SIZE(cpu + 1);
	cpu_set_t *set = CPU_ALLOC(cpu + 1);
	int ret;

	if (!set)
		return ub_error("out of memory");
	CPU_ZERO_S(size, set);
	CPU_SET_S(cpu, size, set);
	ret = sched_setaffinity(0, size, set);
	CPU_FREE(set);
	return ret ? ub_error("cannot run on CPU %d: %s", cpu, strerror(errno)) : 0;
}

void ub_raise_fd_limit(unsigned int nr_probes, unsigned int others)
{
	rlim_t wanted = nr_probes * (rlim_t)sysconf(_SC_NPROCESSORS_ONLN) + others + 256;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	if (wanted > limit.rlim_max) {
		struct rlimit more = { wanted, wanted };

		if (!setrlimit(RLIMIT_NOFILE, &more))
			return;
	}
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- time and signals ---- */

uint64_t ub_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static sigset_t ending_signals, signals_before;
static int got_signal;

void ub_signals_begin(void)
{
	got_signal = 0;
	sigemptyset(&ending_signals);
	sigaddset(&ending_signals, SIGINT);
	sigaddset(&ending_signals, SIGTERM);
	sigaddset(&ending_signals, SIGHUP);
	sigaddset(&ending_signals, SIGQUIT);
	/* "| head" must not leave a trace event behind either. */
	sigaddset(&ending_signals, SIGPIPE);
	sigprocmask(SIG_BLOCK, &ending_signals, &signals_before);
}

bool ub_sleep_ms(unsigned int msecs)
{
	uint64_t now, end = ub_now_ns() + msecs * 1000000ULL;
	struct timespec left;
	int sig;

	while (!got_signal) {
		now = ub_now_ns();
		if (now > end)
			now = end;
		left.tv_sec = (end - now) / 1000000000;
		left.tv_nsec = (end - now) % 1000000000;
		sig = sigtimedwait(&ending_signals, NULL, &left);
		if (sig > 0)
			got_signal = sig;
		else if (errno == EAGAIN)
			break;
	}
	return !got_signal;
}

bool ub_interrupted(void)
{
	return !ub_sleep_ms(0);
}

int ub_signals_end(int ret)
{
	if (ub_interrupted())
		ret = ub_error("interrupted by signal %d (%s)", got_signal,
			       strsignal(got_signal));
	sigprocmask(SIG_SETMASK, &signals_before, NULL);
	return ret;
}

int ub_time(int (*op)(void *arg, unsigned int n), void *arg, unsigned int n,
	    unsigned int msecs, double *ns)
{
	uint64_t start = ub_now_ns(), end = start + msecs * 1000000ULL, now;
	uint64_t done = 0, asked = start;
	int ret;

	do {
		ret = op(arg, n);
		if (ret)
			return ret;
		done += n;
		now = ub_now_ns();
		/* Not at each turn: it would be timed, too. */
		if (now - asked >= 100 * 1000000ULL) {
			if (ub_interrupted())
				return 1;
			asked = now;
		}
	} while (now < end);

	*ns = (double)(now - start) / done;
	return 0;
}

/* ---- repeats (Welford's method) ---- */

void ub_stats_add(struct ub_stats *stats, double value)
{
	double delta = value - stats->mean;

	stats->nr++;
	stats->mean += delta / stats->nr;
	stats->m2 += delta * (value - stats->mean);
}

double ub_stats_stddev_pct(const struct ub_stats *stats)
{
	if (stats->nr < 2 || !stats->mean)
		return NAN;
	return 100 * sqrt(stats->m2 / (stats->nr - 1)) / stats->mean;
}

/* ---- hits ---- */

static bool counts(enum upl_consumer consumer)
{
	return consumer != UPL_NONE && consumer != UPL_BPF;
}

int ub_count(struct upl_link *link, enum upl_consumer consumer, uint64_t *hits)
{
	*hits = 0;
	return counts(consumer) && upl_count(link, hits) ? ub_lib_error() : 0;
}

int ub_check_count(struct upl_link *link, enum upl_consumer consumer,
		   uint64_t before, uint64_t calls, double *share)
{
	uint64_t counted;
	int ret;

	*share = NAN;
	ret = ub_count(link, consumer, &counted);
	if (ret || !counts(consumer))
		return ret;

	counted -= before;
	*share = (double)counted / calls;
	/* uprobe_profile loses some where its counter is not per CPU. */
	if (counted == calls || (consumer == UPL_FTRACE && counted && counted < calls))
		return 0;
	return ub_error("the consumer %s counted %llu hits for %llu calls",
			upl_consumer_names[consumer], (unsigned long long)counted,
			(unsigned long long)calls);
}

/* ---- rows ---- */

static struct utsname host;

int ub_report_begin(struct ub_report *report, const struct ub_column *columns,
		    const char *csv)
{
	const struct ub_column *col;
	bool csv_stdout = csv && !strcmp(csv, "-");

	memset(report, 0, sizeof(*report));
	uname(&host);
	report->columns = columns;
	report->simple = bench_format == BENCH_FORMAT_SIMPLE && !csv_stdout;
	report->table = bench_format == BENCH_FORMAT_DEFAULT && !csv_stdout;
	if (!csv)
		return 0;

	report->csv = csv_stdout ? stdout : fopen(csv, "we");
	if (!report->csv)
		return ub_error("cannot write %s: %s", csv, strerror(errno));
	fputs("kernel,cpus_online", report->csv);
	for (col = columns; col->name; col++)
		fprintf(report->csv, ",%s", col->name);
	fputc('\n', report->csv);
	/* Or it would be there once more when a child has something to say. */
	fflush(report->csv);
	return 0;
}

/* A column is as wide as its title, and wide enough for its numbers. */
static int column_width(const struct ub_column *col)
{
	int least = col->decimals < 0 ? 8 : 10, width = strlen(col->title);

	return width > least ? width : least;
}

void ub_report_title(struct ub_report *report, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&report->title, fmt, ap) < 0)
		report->title = NULL;
	va_end(ap);
}

static void print_title(struct ub_report *report, long online)
{
	const struct ub_column *col;

	if (!report->title)
		return;
	printf("# Linux %s, %ld CPUs online: %s\n\n", host.release, online,
	       report->title);
	free(report->title);
	report->title = NULL;
	for (col = report->columns; col->name; col++) {
		if (col->title)
			printf("  %*s", column_width(col), col->title);
	}
	printf("\n");
}

static void print_cell(FILE *out, const struct ub_column *col,
		       const union ub_cell *cell, int width, const char *nothing)
{
	if (col->decimals < 0)
		fprintf(out, "%*s", width, cell->text);
	else if (isnan(cell->number))
		fprintf(out, "%*s", width, nothing);
	else
		fprintf(out, "%*.*f", width, col->decimals, cell->number);
}

void ub_report_row(struct ub_report *report, const union ub_cell *cells)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	const struct ub_column *col;
	int i;

	if (report->table)
		print_title(report, online);
	if (report->simple)
		printf("kernel=%s cpus_online=%ld", host.release, online);
	if (report->csv)
		fprintf(report->csv, "%s,%ld", host.release, online);

	for (i = 0, col = report->columns; col->name; i++, col++) {
		if (report->table && col->title) {
			printf("  ");
			print_cell(stdout, col, &cells[i], column_width(col), "-");
		}
		if (report->simple) {
			printf(" %s=", col->name);
			print_cell(stdout, col, &cells[i], 0, "");
		}
		if (report->csv) {
			fputc(',', report->csv);
			print_cell(report->csv, col, &cells[i], 0, "");
		}
	}

	if (report->table || report->simple)
		printf("\n");
	if (report->csv)
		fputc('\n', report->csv);
}

int ub_report_end(struct ub_report *report, int ret)
{
	int err = fflush(stdout) || ferror(stdout);

	free(report->title);
	if (report->csv && (fflush(report->csv) || ferror(report->csv)))
		err = 1;
	if (report->csv && report->csv != stdout && fclose(report->csv))
		err = 1;
	if (err && !ret)
		return ub_error("cannot write all of the results: is the disk full?");
	return ret;
}
