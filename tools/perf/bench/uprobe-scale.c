// SPDX-License-Identifier: GPL-2.0
/*
 * scale: threads or processes, one per CPU or, with --oversubscribe, more, hit
 * one probe as fast as they can.
 *
 * Workers write nothing but a counter on a cache line of their own. The parent
 * reads all counters at both ends of each window, so that neither start nor
 * warm-up nor end are in it. When they have ended, what the consumer has counted
 * is compared with what the workers have called.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/compiler.h>

#include "bench.h"
#include "uprobe-common.h"

/* Calls between two looks at the stop flag. */
#define BATCH		16

/* Of --oversubscribe. */
#define MAX_THREADS	UB_MAX_PROCESSES

/* Two lines: the adjacent-line prefetcher pairs them. */
#define LINE		128

struct worker {
	uint64_t	count;			/* written by the worker only */
	uint64_t	waits;			/* times that it slept, warm */
	uint64_t	warm_count;		/* of count, those after warm-up */
	int		cpu;
	int		failed;
	bool		is_storm;
	pid_t		pid;
	pthread_t	thread;
	void		(*fn)(void);
	struct control	*control;
} __aligned(LINE);

/* Written by the parent, but for ready, and only between windows. */
struct control {
	unsigned int	ready;
	bool		go;
	bool		warm;
	bool		stop;
} __aligned(LINE);

struct crew {
	struct control	*control;
	struct worker	*workers;		/* hitters first, then the storm */
	unsigned int	nr_hitters, nr_storm, nr_started;
	size_t		size;
};

static const char *threads_str;
static const char *probe_str = "uprobe";
static const char *insn_str = "nop";
static const char *consumer_str = "bpf";
static const char *csv;
static unsigned int nr_storm;
static unsigned int duration = 200;
static unsigned int warmup = 100;
static bool use_processes;
static bool oversubscribe;

static const struct option options[] = {
	UB_OPT_STRING('t', "threads", &threads_str, "LIST",
		      "numbers of threads, as 1,2,4 (default: 1, 2, 4 .. all CPUs)"),
	UB_OPT_STRING('p', "probe", &probe_str, "probe",
		      "uprobe|uretprobe|sdt (default: uprobe)"),
	UB_OPT_STRING('i', "insn", &insn_str, "insn",
		      "probed instruction, 'list' shows all (default: nop)"),
	UB_OPT_CONSUMER(&consumer_str),
	OPT_BOOLEAN('P', "process", &use_processes, "processes instead of threads"),
	OPT_BOOLEAN('o', "oversubscribe", &oversubscribe,
		    "allow more threads than CPUs, tell how often they sleep"),
	UB_OPT_NUMBER('s', "storm", &nr_storm, 0, MAX_THREADS,
		      "measure again while this many more threads map and unmap"),
	UB_OPT_DURATION(&duration),
	UB_OPT_NUMBER('w', "warmup", &warmup, 0, UB_MAX_MSECS,
		      "time before the first window in ms"),
	UB_OPT_CSV(&csv),
	OPT_END()
};

static const char * const usage[] = {
	"perf bench uprobe scale <options>",
	NULL
};

enum {
	COL_PROBE, COL_INSN, COL_CONSUMER, COL_MODE, COL_THREADS, COL_STORM,
	COL_REPEATS, COL_WINDOW, COL_RATE, COL_STDDEV, COL_RATE_CPU, COL_NS,
	COL_EFFICIENCY, COL_KEPT, COL_MAPS, COL_COUNTED, COL_WAITS, COL_NR
};

static struct ub_column columns[] = {
	[COL_PROBE]		= { "probe",		NULL,		-1 },
	[COL_INSN]		= { "insn",		NULL,		-1 },
	[COL_CONSUMER]		= { "consumer",		NULL,		-1 },
	[COL_MODE]		= { "mode",		NULL,		-1 },
	[COL_THREADS]		= { "threads",		"threads",	0 },
	[COL_STORM]		= { "storm_threads",	"storm",	0 },
	[COL_REPEATS]		= { "repeats",		NULL,		0 },
	[COL_WINDOW]		= { "window_ms",	NULL,		0 },
	[COL_RATE]		= { "hits_per_s",	"hits/s",	0 },
	[COL_STDDEV]		= { "stddev_pct",	"+-%",		1 },
	[COL_RATE_CPU]		= { "hits_per_s_per_cpu", "hits/s/CPU",	0 },
	[COL_NS]		= { "ns_per_hit",	"ns/hit",	1 },
	[COL_EFFICIENCY]	= { "efficiency",	"efficiency",	3 },
	[COL_KEPT]		= { "storm_kept",	"kept",		3 },
	[COL_MAPS]		= { "storm_maps_per_s",	"maps/s",	0 },
	[COL_COUNTED]		= { "counted_share",	"counted",	4 },
	[COL_WAITS]		= { "waits_per_hit",	"waits/hit",	6 },
	[COL_NR]		= {}
};

/* How often this thread has slept so far. */
static uint64_t waits(void)
{
	struct rusage self;

	return getrusage(RUSAGE_THREAD, &self) ? 0 : self.ru_nvcsw;
}

static void hit(struct worker *worker)
{
	void (*fn)(void) = worker->fn;
	uint64_t waits_before = 0, cold = 0, count = 0;
	int i;

	do {
		for (i = 0; i < BATCH; i++)
			fn();
		count += BATCH;
		WRITE_ONCE(worker->count, count);
		/* Its first hit is never warm: it allocates. */
		if (!cold && READ_ONCE(worker->control->warm)) {
			cold = count;
			waits_before = waits();
		}
	} while (!READ_ONCE(worker->control->stop));
	if (cold) {
		worker->waits = waits() - waits_before;
		worker->warm_count = count - cold;
	}
}

/* A mapping of the anonymous kind: takes mmap_lock and meets no probe. */
static void storm(struct worker *worker)
{
	size_t size = sysconf(_SC_PAGESIZE);
	uint64_t count = 0;
	void *map;

	while (!READ_ONCE(worker->control->stop)) {
		map = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map == MAP_FAILED || munmap(map, size)) {
			worker->failed = 1;
			return;
		}
		WRITE_ONCE(worker->count, ++count);
	}
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct control *control = worker->control;

	worker->failed = ub_pin(worker->cpu);
	__atomic_add_fetch(&control->ready, 1, __ATOMIC_RELEASE);
	if (worker->failed)
		return NULL;
	while (!READ_ONCE(control->go) && !READ_ONCE(control->stop))
		usleep(100);

	if (worker->is_storm)
		storm(worker);
	else
		hit(worker);
	return NULL;
}

static int start_process(struct worker *worker)
{
	pid_t pid, parent = getpid();

	/* The child has the same memory: it must not write its 0 there. */
	pid = fork();
	if (pid) {
		worker->pid = pid;
		return pid > 0 ? 0 : errno;
	}
	/* Not to outlive a parent that was killed, even before this line. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		work(worker);
	_exit(0);
}

/* An exit status if a worker did not come to its end; says so, unless quiet. */
static int crew_stop(struct crew *crew, bool quiet)
{
	struct worker *worker;
	int status, lost = 0;
	unsigned int i;

	WRITE_ONCE(crew->control->stop, true);
	for (i = 0; i < crew->nr_started; i++) {
		worker = &crew->workers[i];
		if (!use_processes)
			pthread_join(worker->thread, NULL);
		else if (waitpid(worker->pid, &status, 0) < 0 || status)
			lost++;
	}
	if (lost && !quiet)
		ub_error("%d of %u processes have died: out of memory, or killed?", lost,
			 crew->nr_started);
	return !!lost;
}

/* Has a process died, which none of them does by itself? */
static bool crew_lost(const struct crew *crew)
{
	siginfo_t info;
	unsigned int i;

	for (i = 0; use_processes && i < crew->nr_started; i++) {
		info.si_pid = 0;
		if (waitid(P_PID, crew->workers[i].pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
		    info.si_pid)
			return true;
	}
	return false;
}

static void crew_free(struct crew *crew)
{
	if (crew->control)
		munmap(crew->control, crew->size);
}

static int crew_start(struct crew *crew, const struct ub_cpus *cpus,
		      unsigned int nr_hitters, unsigned int nr_stormers,
		      void (*fn)(void))
{
	unsigned int i, nr = nr_hitters + nr_stormers;
	struct worker *worker;
	int err;

	memset(crew, 0, sizeof(*crew));
	crew->nr_hitters = nr_hitters;
	crew->nr_storm = nr_stormers;
	crew->size = sizeof(*crew->control) + nr * sizeof(*crew->workers);
	crew->control = mmap(NULL, crew->size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (crew->control == MAP_FAILED) {
		crew->control = NULL;
		return ub_error("out of memory for %u workers", nr);
	}
	crew->workers = (void *)(crew->control + 1);

	for (i = 0; i < nr; i++) {
		worker = &crew->workers[i];
		worker->control = crew->control;
		worker->cpu = cpus->id[i % cpus->nr];
		worker->fn = fn;
		worker->is_storm = i >= nr_hitters;
		err = use_processes ? start_process(worker) :
			pthread_create(&worker->thread, NULL, work, worker);
		if (err)
			return ub_error("no worker %u of %u (%s): raise ulimit -u, or use fewer",
					i + 1, nr, strerror(err));
		crew->nr_started++;
	}

	while (__atomic_load_n(&crew->control->ready, __ATOMIC_ACQUIRE) < nr) {
		if (!ub_sleep_ms(1))
			return 1;
		if (crew_lost(crew))
			return ub_error("a process has died: out of memory, or killed?");
	}
	WRITE_ONCE(crew->control->go, true);
	return 0;
}

static int crew_failed(const struct crew *crew)
{
	unsigned int i;

	for (i = 0; i < crew->nr_started; i++) {
		if (READ_ONCE(crew->workers[i].failed))
			return ub_error("a worker failed on CPU %d", crew->workers[i].cpu);
	}
	return 0;
}

static uint64_t sum(const struct worker *workers, unsigned int nr)
{
	uint64_t total = 0;
	unsigned int i;

	for (i = 0; i < nr; i++)
		total += READ_ONCE(workers[i].count);
	return total;
}

/* When the crew has stopped; NAN if no hit was warm. */
static double waits_per_hit(const struct crew *crew)
{
	uint64_t slept = 0, count = 0;
	unsigned int i;

	for (i = 0; i < crew->nr_hitters; i++) {
		slept += crew->workers[i].waits;
		count += crew->workers[i].warm_count;
	}
	return count ? (double)slept / count : NAN;
}

struct result {
	struct ub_stats	hits;			/* per second */
	struct ub_stats	maps;
	double		counted;		/* share of all hits */
	double		waits;			/* per hit */
};

static int measure(struct crew *crew, struct result *result)
{
	const struct worker *stormers = crew->workers + crew->nr_hitters;
	uint64_t hits, maps, start;
	unsigned int i;
	double secs;

	if (!ub_sleep_ms(warmup))
		return 1;
	WRITE_ONCE(crew->control->warm, true);

	for (i = 0; i < bench_repeat; i++) {
		start = ub_now_ns();
		hits = sum(crew->workers, crew->nr_hitters);
		maps = sum(stormers, crew->nr_storm);
		if (!ub_sleep_ms(duration))
			return 1;
		secs = (ub_now_ns() - start) / 1e9;
		hits = sum(crew->workers, crew->nr_hitters) - hits;
		maps = sum(stormers, crew->nr_storm) - maps;
		if (crew_lost(crew))
			return ub_error("a process has died: out of memory, or killed?");
		if (!hits)
			return ub_error("no hit within %u ms: use a longer --duration",
					duration);
		ub_stats_add(&result->hits, hits / secs);
		ub_stats_add(&result->maps, maps / secs);
	}
	return crew_failed(crew);
}

struct setup {
	struct upl_probe	probe;
	enum upl_consumer	consumer;
	void			(*fn)(void);
	struct ub_cpus		cpus;
};

static void report_row(struct ub_report *report, const struct setup *setup,
		       unsigned int nr, const struct result *calm,
		       const struct result *stormy, double single)
{
	const struct result *result = stormy ?: calm;
	unsigned int busy = nr < setup->cpus.nr ? nr : setup->cpus.nr;
	double rate = result->hits.mean;
	union ub_cell cells[COL_NR] = {
		[COL_PROBE].text	= probe_str,
		[COL_INSN].text		= insn_str,
		[COL_CONSUMER].text	= upl_consumer_names[setup->consumer],
		[COL_MODE].text		= use_processes ? "process" : "thread",
		[COL_THREADS].number	= nr,
		[COL_STORM].number	= stormy ? nr_storm : 0,
		[COL_REPEATS].number	= bench_repeat,
		[COL_WINDOW].number	= duration,
		[COL_RATE].number	= rate,
		[COL_STDDEV].number	= ub_stats_stddev_pct(&result->hits),
		[COL_RATE_CPU].number	= rate / busy,
		[COL_NS].number		= busy * 1e9 / rate,
		[COL_EFFICIENCY].number	= rate / busy / single,
		[COL_KEPT].number	= stormy ? rate / calm->hits.mean : NAN,
		[COL_MAPS].number	= stormy ? stormy->maps.mean : NAN,
		[COL_COUNTED].number	= result->counted,
		[COL_WAITS].number	= result->waits,
	};

	ub_report_row(report, cells);
}

/* Workers of its own, so that each result has its own count and waits. */
static int run_crew(const struct setup *setup, struct upl_link *link, unsigned int nr,
		    unsigned int nr_stormers, struct result *result)
{
	struct crew crew;
	uint64_t before;
	int ret;

	ret = ub_count(link, setup->consumer, &before);
	if (ret)
		return ret;

	ret = crew_start(&crew, &setup->cpus, nr, nr_stormers, setup->fn);
	if (!ret)
		ret = measure(&crew, result);
	if (crew.control)
		ret |= crew_stop(&crew, ret);
	if (!ret)
		ret = ub_check_count(link, setup->consumer, before,
				     sum(crew.workers, nr), &result->counted);
	if (!ret)
		result->waits = waits_per_hit(&crew);
	crew_free(&crew);
	return ret;
}

/* One number of threads; single is the rate of one, or still 0. */
static int run_one(struct ub_report *report, const struct setup *setup,
		   struct upl_link *link, unsigned int nr, double *single)
{
	struct result calm = {}, stormy = {};
	int ret;

	ret = run_crew(setup, link, nr, 0, &calm);
	if (!ret && nr_storm)
		ret = run_crew(setup, link, nr, nr_storm, &stormy);
	if (ret)
		return ret;

	if (nr == 1)
		*single = calm.hits.mean;
	report_row(report, setup, nr, &calm, NULL, *single);
	if (nr_storm)
		report_row(report, setup, nr, &calm, &stormy, *single);
	return 0;
}

static int parse_probe(struct setup *setup)
{
	const struct upl_target *target;
	const struct upl_sdt *sdt;
	int ret;

	if (!strcmp(probe_str, "sdt")) {
		sdt = upl_sdt_find(insn_str);
		if (!sdt)
			return ub_error("no SDT marker has a '%s': use nop, nop5 or nop10",
					insn_str);
		ret = upl_sdt_probe(sdt, &setup->probe);
		setup->fn = sdt->fn;
		return ret ? ub_lib_error() : 0;
	}

	if (strcmp(probe_str, "uprobe") && strcmp(probe_str, "uretprobe"))
		return ub_error("unknown probe '%s': use uprobe, uretprobe or sdt",
				probe_str);
	target = upl_target_find(insn_str);
	if (!target)
		return ub_error("unknown instruction '%s': see --insn list", insn_str);
	ret = upl_target_probe(target, &setup->probe);
	setup->probe.is_return = !strcmp(probe_str, "uretprobe");
	setup->fn = target->fn;
	return ret ? ub_lib_error() : 0;
}

static void list_insns(void)
{
	const struct upl_target *target;

	for (target = upl_targets; target->name; target++)
		printf("%10s  %s\n", target->name, target->what);
}

/* The next number of threads to try, or 0 at the end, or -1. */
static int next_nr(const char **list, unsigned int last, unsigned int max)
{
	unsigned long nr;
	char *end;

	if (!*list) {
		if (last == max)
			return 0;
		return !last ? 1 : last * 2 > max ? max : last * 2;
	}
	if (!**list)
		return 0;

	errno = 0;
	nr = strtoul(*list, &end, 10);
	if (end == *list || errno || !nr || **list == '-' || (*end && *end != ',') ||
	    (*end == ',' && !end[1])) {
		ub_error("'%s' is no list of numbers of threads: use one as 1,2,4", *list);
		return -1;
	}
	*list = *end ? end + 1 : end;
	if (nr > max && !oversubscribe) {
		ub_error("%lu threads, but %u CPUs%s: use a shorter -t, or --oversubscribe",
			 nr, max, nr_storm ? " beside the storm" : "");
		return -1;
	}
	if (nr > MAX_THREADS) {
		ub_error("%lu threads are too many: use %u or fewer", nr, MAX_THREADS);
		return -1;
	}
	return nr;
}

static int run_all(struct ub_report *report, const struct setup *setup,
		   struct upl_link *link)
{
	unsigned int max = setup->cpus.nr - nr_storm;
	const char *list = threads_str;
	double single = NAN;
	int nr = 0, ret = 0;

	while (!ret && (nr = next_nr(&list, nr, max)) > 0)
		ret = run_one(report, setup, link, nr, &single);
	return nr < 0 ? 1 : ret;
}

static int check_options(struct setup *setup)
{
	unsigned int max = setup->cpus.nr - nr_storm;
	const char *list = threads_str;
	int ret, nr = 0;

	ret = upl_consumer_find(consumer_str);
	if (ret < 0)
		return ub_lib_error();
	setup->consumer = ret;
	if (nr_storm && use_processes)
		return ub_error("a storm shares the memory of threads: drop --process or --storm");
	if (nr_storm >= setup->cpus.nr)
		return ub_error("too few CPUs: a storm of %u needs %u of %u: use less --storm",
				nr_storm, nr_storm + 1, setup->cpus.nr);
	if (threads_str && !*threads_str)
		return ub_error("an empty list of numbers of threads: use one as 1,2,4");
	/* Before any probe, so that a typing error costs no time. */
	while ((nr = next_nr(&list, nr, max)) > 0)
		continue;
	return nr < 0 ? 1 : parse_probe(setup);
}

static int attach_and_run(struct ub_report *report, const struct setup *setup)
{
	struct upl_link *link;
	int ret;

	if (upl_attach(&setup->probe, setup->consumer, &link))
		return ub_lib_error();

	if (upl_check_fires(link, setup->fn))
		ret = ub_lib_error();
	else
		ret = run_all(report, setup, link);
	/* For those that do not count. */
	if (!ret && !ub_interrupted() && upl_check_fires(link, setup->fn))
		ret = ub_lib_error();

	if (upl_detach(link))
		ret = ub_lib_error();
	return ret;
}

int bench_uprobe_scale(int argc, const char **argv)
{
	struct ub_report report;
	struct setup setup = {};
	int ret;

	ub_parse(argc, argv, options, usage);
	if (!strcmp(insn_str, "list")) {
		list_insns();
		return 0;
	}

	ret = ub_cpus_get(&setup.cpus);
	if (!ret)
		ret = check_options(&setup);
	if (!ret)
		ret = ub_report_begin(&report, columns, csv);
	if (ret)
		goto out;

	if (!oversubscribe)
		columns[COL_WAITS].title = NULL;
	if (!nr_storm) {
		columns[COL_STORM].title = NULL;
		columns[COL_KEPT].title = NULL;
		columns[COL_MAPS].title = NULL;
	}
	ub_report_title(&report, "%s on '%s', consumer %s, %s; %u repeats of %u ms",
			probe_str, insn_str, upl_consumer_names[setup.consumer],
			use_processes ? "processes" : "threads", bench_repeat, duration);
	ub_signals_begin();
	ret = attach_and_run(&report, &setup);
	ret = ub_signals_end(ret);
	ret = ub_report_end(&report, ret);
out:
	ub_cpus_put(&setup.cpus);
	return ret;
}
