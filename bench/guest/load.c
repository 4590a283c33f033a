// SPDX-License-Identifier: GPL-2.0
/*
 * The guest program of the meter: perform the rows named on the command line,
 * each by one worker per vCPU, in turn or (--free) as the vCPUs come. Every row
 * has a process of its own, laid out alike, so that it does not depend on the
 * rows before it.
 *
 *   load [--windows N] [--rounds N] [--free] entry,nop,bpf,threads ...
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../plugin/marker.h"
#include "ops.h"

static int parse(char *text, struct row *row)
{
	row->probe = strsep(&text, ",");
	row->what = strsep(&text, ",");
	row->consumer = strsep(&text, ",");
	row->workers = strsep(&text, ",");
	if (row->workers && !text && (!strcmp(row->workers, "threads") ||
				      !strcmp(row->workers, "processes")))
		return 0;
	fprintf(stderr, "load: a row is probe,what,consumer,threads|processes\n");
	return -1;
}

static int run(const char *label, struct team *team)
{
	int (*prepare)(const struct row *row, struct team *team) = hit_prepare;
	int (*finish)(void) = hit_finish;
	char *text = strdup(label);
	struct row row;
	int failed;

	if (!text || parse(text, &row))
		return -1;
	if (!strcmp(row.probe, "cost")) {
		prepare = cost_prepare;
		finish = cost_finish;
	}
	team->processes = !strcmp(row.workers, "processes");
	if (prepare(&row, team))
		return -1;
	failed = !team_run(team, label);
	if (finish() || failed) {
		fprintf(stderr, "load: %s failed\n", label);
		return -1;
	}
	free(text);
	return 0;
}

/* Run this program again, for one row. */
static int run_apart(char **argv, int first, char *row)
{
	char *args[first + 2];
	int status;
	pid_t pid;

	for (int i = 0; i < first; i++)
		args[i] = argv[i];
	args[first] = row;
	args[first + 1] = NULL;
	pid = fork();
	if (!pid) {
		personality(ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", args);
		_exit(1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status ? 0 : -1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "windows", required_argument, NULL, 'w' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "free", no_argument, NULL, 'f' },
		{ "exec-end", no_argument, NULL, 'e' },
		{ 0 }
	};
	struct team team = {
		.workers = sysconf(_SC_NPROCESSORS_ONLN),
		.windows = 40,
		.rounds = 4,
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'w':
			team.windows = atoi(optarg);
			break;
		case 'r':
			team.rounds = atoi(optarg);
			break;
		case 'f':
			team.free = true;
			break;
		case 'e':	/* the program that the operation "exec" starts */
			METER_MARK(METER_MUTE);
			return 0;
		default:
			return 1;
		}
	}
	if (optind == argc || !team.windows || !team.rounds) {
		fprintf(stderr, "load: no row, or nothing to do\n");
		return 1;
	}
	if (argc - optind == 1)
		return run(argv[optind], &team) ? 1 : 0;
	for (int i = optind; i < argc; i++)
		if (run_apart(argv, optind, argv[i]))
			return 1;
	return 0;
}
