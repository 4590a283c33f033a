// SPDX-License-Identifier: GPL-2.0
/*
 * mmap: what probes cost those who do not hit them. Maps and unmaps a file
 * without probes and one with a probe, and forks, while 0, 1 and K probes are
 * active in a third file, which another process holds.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/kernel.h>

#include "bench.h"
#include "uprobe-common.h"

static const char *consumer_str = "bpf";
static const char *csv;
static unsigned int nr_probes = 100;
static unsigned int duration = 50;

static const struct option options[] = {
	UB_OPT_NUMBER('k', "probes", &nr_probes, 1, UB_MAX_PROBES,
		      "most probes elsewhere (default: 100)"),
	UB_OPT_CONSUMER(&consumer_str),
	UB_OPT_DURATION(&duration),
	UB_OPT_CSV(&csv),
	OPT_END()
};

static const char * const usage[] = {
	"perf bench uprobe mmap <options>",
	NULL
};

enum { COL_OPERATION, COL_CONSUMER, COL_ELSEWHERE, COL_REPEATS, COL_WINDOW,
	COL_NS, COL_STDDEV, COL_RATIO, COL_NR };

static const struct ub_column columns[] = {
	[COL_OPERATION]	= { "operation",	"operation     ",	-1 },
	[COL_CONSUMER]	= { "consumer",		NULL,			-1 },
	[COL_ELSEWHERE]	= { "probes_elsewhere",	"probes elsewhere",	0 },
	[COL_REPEATS]	= { "repeats",		NULL,			0 },
	[COL_WINDOW]	= { "window_ms",	NULL,			0 },
	[COL_NS]	= { "ns_per_op",	"ns/op",		1 },
	[COL_STDDEV]	= { "stddev_pct",	"+-%",			1 },
	[COL_RATIO]	= { "ratio_to_none",	"ratio to none",	3 },
	[COL_NR]	= {}
};

static int map_unmap(void *arg, unsigned int n)
{
	const struct upl_sites *sites = arg;
	void *map;

	while (n--) {
		map = upl_sites_map(sites);
		if (map == MAP_FAILED || munmap(map, sites->size))
			return ub_error("cannot map a file: %s", strerror(errno));
	}
	return 0;
}

static int fork_wait(void *arg __maybe_unused, unsigned int n)
{
	pid_t pid;

	while (n--) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) < 0)
			return ub_error("cannot fork: %s", strerror(errno));
	}
	return 0;
}

static struct upl_sites clean, probed, elsewhere;

static const struct {
	const char	*name;
	int		(*op)(void *arg, unsigned int n);
	void		*arg;
	bool		needs_probe;		/* one in "probed" */
} ops[] = {
	{ "mmap-unprobed",	map_unmap,	&clean,		false },
	{ "mmap-probed",	map_unmap,	&probed,	true },
	{ "fork-exit-wait",	fork_wait,	NULL,		false },
};

#define NR_OPS	ARRAY_SIZE(ops)

/* So that "with a probe" means that the kernel has put it into each mapping. */
static int check_probed(struct upl_link *link)
{
	void *text = upl_sites_map(&probed);
	int ret;

	if (text == MAP_FAILED)
		return ub_error("cannot map a file: %s", strerror(errno));
	ret = upl_check_fires(link, (void (*)(void))text);
	munmap(text, probed.size);
	return ret ? ub_lib_error() : 0;
}

static int time_op(unsigned int i, enum upl_consumer consumer, double *ns)
{
	struct upl_link *link = NULL;
	struct upl_probe probe;
	int ret = 0;

	if (ops[i].needs_probe) {
		upl_sites_probe(&probed, 0, &probe);
		if (upl_attach(&probe, consumer, &link))
			return ub_lib_error();
		ret = check_probed(link);
	}
	if (!ret)
		ret = ub_time(ops[i].op, ops[i].arg, 8, duration, ns);
	if (upl_detach(link))
		ret = ub_lib_error();
	return ret;
}

/*
 * Who holds the probes elsewhere: not the process that forks, whose children
 * would copy the descriptors and close them.
 */
struct holder {
	pid_t		pid;		/* 0: nobody */
	int		fd;		/* it ends when that is closed */
	unsigned int	nr;		/* of its probes */
};

static void hold(int fd, enum upl_consumer consumer, unsigned int nr)
{
	struct upl_probe *probes = calloc(nr, sizeof(*probes));
	struct upl_link **links = calloc(nr, sizeof(*links));
	unsigned int i;
	char ok = 1;

	if (!probes || !links)
		_exit(ub_error("out of memory for %u probes", nr));
	for (i = 0; i < nr; i++)
		upl_sites_probe(&elsewhere, i, &probes[i]);
	if (upl_attach_all(probes, nr, consumer, links))
		_exit(ub_lib_error());
	/* Neither is worth a word if the other end is gone. */
	if (send(fd, &ok, 1, MSG_NOSIGNAL) == 1)
		recv(fd, &ok, 1, 0);
	_exit(upl_detach_all(links, nr) ? ub_lib_error() : 0);
}

/* If it had no success, it has said why. */
static int holder_stop(struct holder *holder)
{
	int status;

	if (!holder->pid)
		return 0;
	close(holder->fd);
	if (waitpid(holder->pid, &status, 0) < 0 || WIFSIGNALED(status))
		ub_error("the process that holds the probes has died: out of memory, or killed?");
	*holder = (struct holder) {};
	return !!status;
}

/* Probes elsewhere: so many from now on. */
static int holder_set(struct holder *holder, enum upl_consumer consumer, unsigned int nr)
{
	int fds[2], ret;
	pid_t pid;
	char ok;

	if (nr == holder->nr)
		return 0;
	ret = holder_stop(holder);
	if (ret || !nr)
		return ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return ub_error("cannot create a socket: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		close(fds[0]);
		hold(fds[1], consumer, nr);
	}
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return ub_error("cannot fork: %s", strerror(errno));
	}
	*holder = (struct holder) { pid, fds[0], nr };
	if (recv(holder->fd, &ok, 1, 0) != 1)
		return holder_stop(holder) ?: 1;
	return 0;
}

static void report_row(struct ub_report *report, enum upl_consumer consumer,
		       const char *operation, unsigned int nr,
		       const struct ub_stats *ns, double none)
{
	union ub_cell cells[COL_NR] = {
		[COL_OPERATION].text	= operation,
		[COL_CONSUMER].text	= upl_consumer_names[consumer],
		[COL_ELSEWHERE].number	= nr,
		[COL_REPEATS].number	= ns->nr,
		[COL_WINDOW].number	= duration,
		[COL_NS].number		= ns->mean,
		[COL_STDDEV].number	= ub_stats_stddev_pct(ns),
		[COL_RATIO].number	= ns->mean / none,
	};

	ub_report_row(report, cells);
}

static int run_level(enum upl_consumer consumer, struct ub_stats *stats)
{
	unsigned int i;
	int ret = 0;
	double ns;

	for (i = 0; !ret && i < NR_OPS && !ub_interrupted(); i++) {
		ret = time_op(i, consumer, &ns);
		if (!ret)
			ub_stats_add(&stats[i], ns);
	}
	return ret;
}

static int run_levels(struct ub_report *report, enum upl_consumer consumer)
{
	const unsigned int levels[] = { 0, 1, nr_probes };
	unsigned int r, i, level, nr_levels = nr_probes > 1 ? 3 : 2;
	struct ub_stats stats[ARRAY_SIZE(levels)][NR_OPS] = {};
	struct holder holder = {};
	int ret = 0;

	/*
	 * In turn, so that all see the same machine; up and down, so that most
	 * probes come and go once in two turns. The first is for caches.
	 */
	for (r = 0; !ret && r <= bench_repeat; r++) {
		for (i = 0; !ret && i < nr_levels && !ub_interrupted(); i++) {
			level = r % 2 ? nr_levels - 1 - i : i;
			ret = holder_set(&holder, consumer, levels[level]);
			if (!ret)
				ret = run_level(consumer, stats[level]);
		}
		if (!r)
			memset(stats, 0, sizeof(stats));
	}
	ret |= holder_stop(&holder);
	if (ret || ub_interrupted())
		return ret;

	for (level = 0; level < nr_levels; level++) {
		for (i = 0; i < NR_OPS; i++)
			report_row(report, consumer, ops[i].name, levels[level],
				   &stats[level][i], stats[0][i].mean);
	}
	return 0;
}

static void destroy_files(void)
{
	upl_sites_destroy(&clean);
	upl_sites_destroy(&probed);
	upl_sites_destroy(&elsewhere);
}

static int create_files(void)
{
	clean.fd = -1;
	probed.fd = -1;
	elsewhere.fd = -1;
	if (!upl_sites_create(&clean, 1) && !upl_sites_create(&probed, 1) &&
	    !upl_sites_create(&elsewhere, nr_probes))
		return 0;
	destroy_files();
	return ub_lib_error();
}

int bench_uprobe_mmap(int argc, const char **argv)
{
	enum upl_consumer consumer;
	struct ub_report report;
	int ret;

	ub_parse(argc, argv, options, usage);
	ret = upl_consumer_find(consumer_str);
	if (ret < 0)
		return ub_lib_error();
	consumer = ret;
	if (consumer == UPL_NONE)
		return ub_error("nothing to compare: use another consumer than 'none'");

	ub_raise_fd_limit(nr_probes, 0);
	ret = create_files();
	if (ret)
		return ret;
	ret = ub_report_begin(&report, columns, csv);
	if (ret)
		goto out;

	ub_report_title(&report, "consumer %s; %u repeats of %u ms",
			upl_consumer_names[consumer], bench_repeat, duration);
	ub_signals_begin();
	ret = run_levels(&report, consumer);
	ret = ub_signals_end(ret);
	ret = ub_report_end(&report, ret);
out:
	destroy_files();
	return ret;
}
