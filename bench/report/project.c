// SPDX-License-Identifier: GPL-2.0
/*
 * A MODEL, not a measurement: throughput of a probe at 1 to 256 CPUs, from the
 * profile that the meter took of it.
 *
 *   project --machine FILE --published FILE [--profiles FILE]
 *           --out PREFIX --label ROW... NAME...
 *
 * Closed queueing network, solved exactly by mean value analysis. Each CPU is a
 * customer. Between two hits it spends its local time,
 *
 *   (instructions * ns_per_insn + atomics * ns_per_atomic) * slowdown(CPUs)
 *
 * and at each contended line it queues for one server, which keeps it for
 * transfer_ns times the writes per hit: the line has to come over for each of
 * them, unless this CPU had it last, by chance one time in CPUs. The constants
 * stand in --machine, with what they were derived from.
 *
 * Reads NAME-rows.csv and NAME-lines.csv; writes PREFIX-projection.csv and
 * PREFIX-deviation.csv, and prints the latter.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "csv.h"

#define MAX_CPUS	256
#define MAX_LINES	64
#define MAX_POINTS	16
#define MAX_PROFILES	64

static struct {
	double ns_per_insn, ns_per_atomic, transfer_ns;
	double cpus[MAX_POINTS], slowdown[MAX_POINTS];
	int points;
} machine;

struct profile {
	char name[64], row[128];
	double insns, atomics;
	double writes[MAX_LINES];	/* per hit, by contended line */
	int nr_lines;
	double mhits[MAX_CPUS + 1];
};

static struct profile profiles[MAX_PROFILES];
static int nr_profiles;

static void die(const char *why, const char *what)
{
	fprintf(stderr, "project: %s: %s\n", why, what);
	exit(1);
}

static void read_machine(const char *path)
{
	struct csv csv;

	csv_open(&csv, path);
	while (csv_next(&csv)) {
		const char *key = csv_get(&csv, "key");
		double value = csv_number(&csv, "value");

		if (!strcmp(key, "ns_per_insn")) {
			machine.ns_per_insn = value;
		} else if (!strcmp(key, "ns_per_atomic")) {
			machine.ns_per_atomic = value;
		} else if (!strcmp(key, "transfer_ns")) {
			machine.transfer_ns = value;
		} else if (strcmp(key, "slowdown") || machine.points == MAX_POINTS) {
			die("unknown key, or too many", key);
		} else {
			machine.cpus[machine.points] = csv_number(&csv, "cpus");
			machine.slowdown[machine.points++] = value;
		}
	}
	csv_close(&csv);
	if (!machine.points || machine.ns_per_insn <= 0 || machine.transfer_ns <= 0)
		die("incomplete", path);
}

/* Linear between the points given, constant outside. */
static double slowdown(double cpus)
{
	int i = 0;

	while (i < machine.points && machine.cpus[i] < cpus)
		i++;
	if (!i || i == machine.points)
		return machine.slowdown[i ? i - 1 : 0];
	return machine.slowdown[i - 1] +
	       (machine.slowdown[i] - machine.slowdown[i - 1]) *
	       (cpus - machine.cpus[i - 1]) / (machine.cpus[i] - machine.cpus[i - 1]);
}

/*
 * The local time depends on the number of CPUs, so each number is a network of
 * its own, built up customer by customer.
 */
static double solve(const struct profile *p, int cpus)
{
	double local = (p->insns * machine.ns_per_insn +
			p->atomics * machine.ns_per_atomic) * slowdown(cpus);
	double queue[MAX_LINES] = { 0 }, wait[MAX_LINES], rate = 0;

	for (int n = 1; n <= cpus; n++) {
		double total = local;

		for (int k = 0; k < p->nr_lines; k++) {
			/* It need not come over if this CPU had it last. */
			double service = p->writes[k] * machine.transfer_ns *
					 (cpus - 1) / cpus;

			wait[k] = service * (1 + queue[k]);
			total += wait[k];
		}
		rate = n / total;
		for (int k = 0; k < p->nr_lines; k++)
			queue[k] = rate * wait[k];
	}
	return rate * 1e3;		/* hits/ns to M hits/s */
}

static void label_of(const struct csv *csv, char *label, size_t size)
{
	snprintf(label, size, "%s,%s,%s,%s", csv_get(csv, "probe"),
		 csv_get(csv, "what"), csv_get(csv, "consumer"), csv_get(csv, "workers"));
}

static void read_lines(struct profile *p, const char *prefix)
{
	char path[4096], row[128], last[64] = "";
	struct csv csv;

	snprintf(path, sizeof(path), "%s-lines.csv", prefix);
	csv_open(&csv, path);
	while (csv_next(&csv)) {
		label_of(&csv, row, sizeof(row));
		if (strcmp(row, p->row) || strcmp(csv_get(&csv, "mode"), "kernel") ||
		    strcmp(csv_get(&csv, "verdict"), "contended") ||
		    !strcmp(csv_get(&csv, "line"), last))
			continue;
		snprintf(last, sizeof(last), "%s", csv_get(&csv, "line"));
		if (p->nr_lines == MAX_LINES)
			die("too many contended lines", p->row);
		p->writes[p->nr_lines++] = csv_number(&csv, "line_writes");
	}
	csv_close(&csv);
}

static void read_profile(const char *prefix, const char *wanted)
{
	char path[4096], row[128];
	struct profile *p;
	struct csv csv;

	snprintf(path, sizeof(path), "%s-rows.csv", prefix);
	csv_open(&csv, path);
	while (csv_next(&csv)) {
		label_of(&csv, row, sizeof(row));
		if (strcmp(row, wanted))
			continue;
		if (nr_profiles == MAX_PROFILES)
			die("too many profiles", prefix);
		p = &profiles[nr_profiles++];
		snprintf(p->row, sizeof(p->row), "%s", row);
		snprintf(p->name, sizeof(p->name), "%s", csv_get(&csv, "name"));
		p->insns = csv_number(&csv, "kernel_insns");
		p->atomics = csv_number(&csv, "kernel_atomics");
		read_lines(p, prefix);
		for (int n = 1; n <= MAX_CPUS; n++)
			p->mhits[n] = solve(p, n);
		break;
	}
	csv_close(&csv);
}

/* Profiles of kernels that are not measured here, as they were published. */
static void read_published_profiles(const char *path, char **label, int labels)
{
	struct csv csv;
	char row[128];

	csv_open(&csv, path);
	while (csv_next(&csv)) {
		struct profile *p = &profiles[nr_profiles];
		bool wanted = false;
		char *text, *end;

		label_of(&csv, row, sizeof(row));
		for (int i = 0; i < labels; i++)
			wanted |= !strcmp(row, label[i]);
		for (int i = 0; i < nr_profiles; i++)
			wanted &= strcmp(profiles[i].name, csv_get(&csv, "name")) ||
				  strcmp(profiles[i].row, row);
		if (!wanted)
			continue;
		if (nr_profiles == MAX_PROFILES)
			die("too many profiles", path);
		nr_profiles++;
		snprintf(p->row, sizeof(p->row), "%s", row);
		snprintf(p->name, sizeof(p->name), "%s", csv_get(&csv, "name"));
		p->insns = csv_number(&csv, "kernel_insns");
		p->atomics = csv_number(&csv, "kernel_atomics");
		text = (char *)csv_get(&csv, "line_writes");
		for (; p->nr_lines < MAX_LINES; text = end) {
			double writes = strtod(text, &end);

			if (end == text)
				break;
			p->writes[p->nr_lines++] = writes;
		}
		for (int n = 1; n <= MAX_CPUS; n++)
			p->mhits[n] = solve(p, n);
	}
	csv_close(&csv);
}

static FILE *create(const char *prefix, const char *what)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s-%s.csv", prefix, what);
	f = fopen(path, "w");
	if (!f)
		die("cannot write", path);
	return f;
}

static void write_projection(const char *prefix)
{
	FILE *f = create(prefix, "projection");

	fprintf(f, "name,probe,what,consumer,workers,cpus,mhits,linear\n");
	for (int i = 0; i < nr_profiles; i++)
		for (int n = 1; n <= MAX_CPUS; n++)
			fprintf(f, "%s,%s,%d,%.3f,%.3f\n", profiles[i].name,
				profiles[i].row, n, profiles[i].mhits[n],
				profiles[i].mhits[1] * n);
	if (fclose(f))
		die("cannot write", prefix);
}

/* Beside each published figure, what the model says for the kernel it is of. */
static void write_deviation(const char *prefix, const char *published)
{
	FILE *f = create(prefix, "deviation");
	struct csv csv;

	fprintf(f, "series,name,probe,what,consumer,workers,cpus,published,model,deviation,role\n");
	printf("MODEL against published figures, M hits/s\n%-22s %5s %10s %8s %10s\n",
	       "series", "CPUs", "published", "model", "deviation");
	csv_open(&csv, published);
	while (csv_next(&csv)) {
		double real = csv_number(&csv, "mhits"), model, deviation;
		int cpus = csv_number(&csv, "cpus");
		char row[128];

		label_of(&csv, row, sizeof(row));
		for (int i = 0; i < nr_profiles; i++) {
			if (strcmp(row, profiles[i].row) ||
			    strcmp(csv_get(&csv, "name"), profiles[i].name))
				continue;
			model = profiles[i].mhits[cpus];
			deviation = (model / real - 1) * 100;
			fprintf(f, "%s,%s,%s,%d,%.2f,%.2f,%.0f,%s\n",
				csv_get(&csv, "series"), profiles[i].name, row,
				cpus, real, model, deviation, csv_get(&csv, "role"));
			printf("%-22s %5d %10.2f %8.2f %9.0f%% %s\n",
			       csv_get(&csv, "series"), cpus, real, model, deviation,
			       csv_get(&csv, "role"));
		}
	}
	csv_close(&csv);
	if (fclose(f))
		die("cannot write", prefix);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "machine", required_argument, NULL, 'm' },
		{ "published", required_argument, NULL, 'p' },
		{ "profiles", required_argument, NULL, 'P' },
		{ "out", required_argument, NULL, 'o' },
		{ "label", required_argument, NULL, 'l' },
		{ 0 }
	};
	const char *published = NULL, *given = NULL, *out = NULL;
	char *label[MAX_PROFILES];
	int c, labels = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'm':
			read_machine(optarg);
			break;
		case 'p':
			published = optarg;
			break;
		case 'P':
			given = optarg;
			break;
		case 'o':
			out = optarg;
			break;
		case 'l':
			if (labels == MAX_PROFILES)
				die("too many labels", optarg);
			label[labels++] = optarg;
			break;
		default:
			return 1;
		}
	}
	if (!machine.points || !published || !out || !labels || optind == argc)
		die("usage", "--machine FILE --published FILE --out PREFIX --label ROW NAME...");
	for (; optind < argc; optind++)
		for (int i = 0; i < labels; i++)
			read_profile(argv[optind], label[i]);
	if (given)
		read_published_profiles(given, label, labels);
	if (!nr_profiles)
		die("no such row in any file", label[0]);
	write_projection(out);
	write_deviation(out, published);
	return 0;
}
