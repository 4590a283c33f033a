// SPDX-License-Identifier: GPL-2.0
/*
 * From the plugin's raw notes to CSV:
 *
 *   meter-resolve --raw FILE --vmlinux FILE [--source DIR] --out PREFIX
 *          [--columns NAMES --values VALUES]
 *
 * writes PREFIX-rows.csv (the figures), PREFIX-functions.csv (kernel
 * instructions per hit by function) and PREFIX-lines.csv (each line that is not
 * private: its name, and who writes or reads it) and
 * PREFIX-lines.txt (the contended ones for people)  NAMES and VALUES are leading
 * columns, the same for all lines: what was measured on what.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symbols.h"

#define LABEL_COLUMNS	"probe,what,consumer,workers"
#define MAX_FIELDS	16
#define MAX_GROUPS	1024
#define CALLERS		4

struct by_function {
	const char *name;
	uint64_t count;
};

/* Accesses to a line from one place in the code. */
struct by_place {
	const char *function;	/* that accesses, a primitive or not */
	struct place place;
	uint64_t writes, reads, atomics;
};

struct line {
	char mode[16], verdict[16];
	uint64_t physical, vaddr, writes, reads;
	unsigned int writers, share;
	struct by_place place[MAX_GROUPS];
	unsigned int nr_places;
};

static const char *columns = "", *values = "", *comma = "";
static FILE *rows, *functions, *lines, *readable;
static char label[256];
static uint64_t hits;
static struct by_function function[MAX_GROUPS * 16];
static unsigned int nr_functions;
static struct line line;

static void die(const char *why, const char *what)
{
	fprintf(stderr, "meter-resolve: %s: %s\n", why, what);
	exit(1);
}

static double per_hit(uint64_t n)
{
	return hits ? (double)n / hits : 0;
}

static uint64_t number(const char *s, int base)
{
	char *end;
	uint64_t n = strtoull(s, &end, base);

	if (!*s || *end)
		die("not a number", s);
	return n;
}

/* Quoted, as a field of CSV. */
static void put_text(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s; s++) {
		if (*s == '"')
			fputc('"', out);
		fputc(*s, out);
	}
	fputc('"', out);
}

static int compare_functions(const void *x, const void *y)
{
	const struct by_function *a = x, *b = y;

	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	return strcmp(a->name, b->name);
}

static void finish_row(void)
{
	qsort(function, nr_functions, sizeof(*function), compare_functions);
	for (unsigned int i = 0; i < nr_functions; i++)
		fprintf(functions, "%s%s%s,%s,%.2f\n", values, comma, label,
			function[i].name, per_hit(function[i].count));
	nr_functions = 0;
}

static int compare_places(const void *x, const void *y)
{
	const struct by_place *a = x, *b = y;

	if (a->writes != b->writes)
		return a->writes > b->writes ? -1 : 1;
	return b->reads > a->reads ? 1 : -(b->reads < a->reads);
}

/* A variable's name; else what the source says where it is written most. */
static void finish_line(void)
{
	const char *name = NULL;

	if (!line.nr_places)
		return;
	qsort(line.place, line.nr_places, sizeof(*line.place), compare_places);
	if (!strcmp(line.mode, "kernel"))
		name = symbol_variable(line.vaddr);
	if (!name)
		name = *line.place[0].place.text ? line.place[0].place.text :
						   line.place[0].place.function;
	if (!strcmp(line.verdict, "contended"))
		fprintf(readable, "%s %s line %" PRIx64 ": %s\n", label, line.mode,
			line.physical, name);

	for (unsigned int i = 0; i < line.nr_places; i++) {
		const struct by_place *p = &line.place[i];

		fprintf(lines, "%s%s%s,%s,%s,%" PRIx64 ",", values, comma, label,
			line.mode, line.verdict, line.physical);
		put_text(lines, name);
		fprintf(lines, ",%.2f,%u,%u,%s,%s,%s:%d,%.2f,%.2f,%.2f,",
			per_hit(line.writes), line.writers, line.share,
			p->function, p->place.function, p->place.file,
			p->place.line, per_hit(p->writes), per_hit(p->reads),
			per_hit(p->atomics));
		put_text(lines, p->place.text);
		fputc('\n', lines);
		if (p->writes && !strcmp(line.verdict, "contended"))
			fprintf(readable, "  %6.2f writes/hit  %-28s %s (%s:%d)  %s\n",
				per_hit(p->writes), p->function, p->place.function,
				p->place.file, p->place.line, p->place.text);
	}
	line.nr_places = 0;
}

static void on_row(char **f)
{
	finish_line();
	finish_row();
	snprintf(label, sizeof(label), "%s", f[1]);
	hits = number(f[3], 10);
	fprintf(rows, "%s%s%s,%s,%" PRIu64, values, comma, label, f[2], hits);
	for (int i = 4; i < 12; i += 4)
		fprintf(rows, ",%.2f,%.2f,%s,%s", per_hit(number(f[i], 10)),
			per_hit(number(f[i + 1], 10)), f[i + 2], f[i + 3]);
	fprintf(rows, ",%.2f,%s\n", per_hit(number(f[12], 10)), f[13]);
}

static void on_insn(char **f)
{
	const char *name = symbol_function(number(f[2], 16));
	unsigned int i;

	for (i = 0; i < nr_functions; i++)
		if (!strcmp(function[i].name, name))
			break;
	if (i == sizeof(function) / sizeof(*function))
		die("too many functions", label);
	if (i == nr_functions)
		function[nr_functions++] = (struct by_function) { name, 0 };
	function[i].count += number(f[3], 10);
}

static void on_line(char **f)
{
	finish_line();
	snprintf(line.mode, sizeof(line.mode), "%s", f[2]);
	snprintf(line.verdict, sizeof(line.verdict), "%s", f[3]);
	line.physical = number(f[4], 16);
	line.vaddr = number(f[5], 16);
	line.writes = number(f[6], 10);
	line.reads = number(f[7], 10);
	line.writers = number(f[8], 10);
	line.share = number(f[9], 10);
}

/* Cached: one instruction accesses many lines of many rows. */
static const struct place *lookup_place(const uint64_t *pcs)
{
	static struct { uint64_t pcs[1 + CALLERS]; struct place place; } cache[1 << 12];
	uint64_t h = 0;

	for (int i = 0; i <= CALLERS; i++)
		h = (h ^ pcs[i]) * 0x9e3779b97f4a7c15ULL;
	h >>= 52;
	if (memcmp(cache[h].pcs, pcs, sizeof(cache[h].pcs))) {
		memcpy(cache[h].pcs, pcs, sizeof(cache[h].pcs));
		cache[h].place = symbol_place(pcs, 1 + CALLERS);
	}
	return &cache[h].place;
}

static void on_access(char **f)
{
	uint64_t pcs[1 + CALLERS], writes = number(f[5], 10);
	struct place user = { "[user]", "", 0, "" };
	const struct place *place = &user;
	const char *name = "[user]";
	unsigned int i;

	for (i = 0; i <= CALLERS; i++)
		pcs[i] = number(f[8 + i], 16);
	if (!strcmp(line.mode, "kernel")) {
		name = symbol_function(pcs[0]);
		place = lookup_place(pcs);
	}
	for (i = 0; i < line.nr_places; i++)
		if (!strcmp(line.place[i].function, name) &&
		    line.place[i].place.line == place->line &&
		    !strcmp(line.place[i].place.file, place->file) &&
		    !strcmp(line.place[i].place.function, place->function))
			break;
	if (i == MAX_GROUPS)
		die("too many places write one line", label);
	if (i == line.nr_places)
		line.place[line.nr_places++] = (struct by_place) { name, *place, 0, 0, 0 };
	line.place[i].writes += writes;
	line.place[i].reads += number(f[6], 10);
	if (number(f[7], 10))
		line.place[i].atomics += writes;
}

static const struct {
	const char *kind;
	int fields;
	void (*handle)(char **f);
} records[] = {
	{ "row", 14, on_row },
	{ "insn", 4, on_insn },
	{ "line", 10, on_line },
	{ "access", 13, on_access },
};

static void handle(char *text)
{
	char *f[MAX_FIELDS];
	int n = 0;

	for (char *p; n < MAX_FIELDS && (p = strsep(&text, "\t\n")); )
		if (*p || text)
			f[n++] = p;
	for (size_t i = 0; i < sizeof(records) / sizeof(*records); i++) {
		if (!n || strcmp(f[0], records[i].kind))
			continue;
		if (n != records[i].fields)
			die("wrong number of fields", f[0]);
		records[i].handle(f);
	}
}

static FILE *create(const char *prefix, const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s-%s", prefix, name);
	f = fopen(path, "w");
	if (!f)
		die("cannot write", path);
	return f;
}

static FILE *create_csv(const char *prefix, const char *name, const char *header)
{
	FILE *f = create(prefix, name);

	fprintf(f, "%s%s" LABEL_COLUMNS ",%s\n", columns, comma, header);
	return f;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "raw", required_argument, NULL, 'r' },
		{ "vmlinux", required_argument, NULL, 'v' },
		{ "source", required_argument, NULL, 's' },
		{ "out", required_argument, NULL, 'o' },
		{ "columns", required_argument, NULL, 'c' },
		{ "values", required_argument, NULL, 'V' },
		{ 0 }
	};
	const char *raw = NULL, *vmlinux = NULL, *source = NULL, *out = NULL;
	char *text = NULL;
	size_t size = 0;
	FILE *in;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			raw = optarg;
			break;
		case 'v':
			vmlinux = optarg;
			break;
		case 's':
			source = optarg;
			break;
		case 'o':
			out = optarg;
			break;
		case 'c':
			columns = optarg;
			break;
		case 'V':
			values = optarg;
			break;
		default:
			return 1;
		}
	}
	if (!raw || !vmlinux || !out || optind != argc)
		die("usage", "--raw FILE --vmlinux FILE [--source DIR] --out PREFIX "
			     "[--columns NAMES --values VALUES]");
	comma = *columns ? "," : "";
	in = fopen(raw, "r");
	if (!in)
		die("cannot read", raw);
	symbols_open(vmlinux, source);
	rows = create_csv(out, "rows.csv", "windows,hits,kernel_insns,kernel_atomics,"
		      "contended,read_shared,user_insns,user_atomics,"
		      "user_contended,user_read_shared,rounds,lost");
	functions = create_csv(out, "functions.csv", "function,insns");
	lines = create_csv(out, "lines.csv", "mode,verdict,line,variable,line_writes,writers,"
		       "share,writer,function,place,writes,reads,atomics,text");

	readable = create(out, "lines.txt");

	while (getline(&text, &size, in) > 0)
		handle(text);
	finish_line();
	finish_row();
	if (fclose(rows) || fclose(functions) || fclose(lines) ||
	    fclose(readable))
		die("cannot write", out);
	return 0;
}
