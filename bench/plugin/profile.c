// SPDX-License-Identifier: GPL-2.0
/*
 * What the figures mean.  All are counts in one window, divided by its hits
 * when they are printed.
 *
 *   instructions  executed by vCPUs that were not muted, kernel or user by
 *                 address; all rounds of a rep prefix are one
 *                 the interrupt that enters at `ignore`, with the softirqs that
 *                 it runs, is left out: the timer's, which belongs to no hit
 *   atomic        locked instructions, and xchg with memory
 *   contended     a line that at least two vCPUs write, of which none makes
 *                 `dominant` percent of the writes or more
 *   read-shared   a line that is not contended, that somebody writes, and that
 *                 another than its main writer reads
 *
 * Kernel and user mode are two separate accounts: a line is judged by what
 * kernel code did to it, and once more by what user code did.  Writes (and, for
 * read-shared, the others' reads) that together are fewer than `rare` percent of
 * the hits are not held against a line.
 *
 *   rounds        of rep prefixes, beyond the one that is the instruction
 *
 * A row is a run of windows under one label.  It is represented by the window
 * with the fewest kernel instructions per hit, then the fewest contended lines:
 * the one that no timer tick and no refill of a cache disturbed.  Of that
 * window's lines, a row counts those that got the same verdict in at least half
 * of its windows: memory that is freed on one vCPU and happens to be allocated
 * on another is not contended.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "insn.h"
#include "profile.h"

struct options options;

enum { USER, KERNEL, NR_MODES };
enum verdict { PRIVATE, CONTENDED, READ_SHARED, NR_VERDICTS };

static const char * const verdict_name[] = { "private", "contended", "read-shared" };

struct line {
	uint64_t line;
	uint64_t vaddr;
	bool kernel;
	enum verdict verdict;
	uint64_t writes, reads;
	uint64_t by_writes[MAX_VCPUS], by_reads[MAX_VCPUS];
};

struct figures {
	uint64_t hits;
	uint64_t insns[NR_MODES];
	uint64_t atomics[NR_MODES];
	uint64_t lines[NR_MODES][NR_VERDICTS];
	uint64_t rounds;
	uint64_t lost;
};

/* A window that is worth keeping: the figures, and what they are made of. */
struct window_data {
	struct figures f;
	struct line *line;
	size_t nr_lines;
	struct access *access;
	size_t nr_access;
	struct { uint32_t site; uint64_t count; } *insn;
	size_t nr_insns;
};

static char label[256];
static size_t label_len;
static unsigned int nr_windows;
static struct window_data best;

/* How often each line of the row got a verdict; open addressing, 0 is free. */
#define HISTORY_SIZE	(1u << 18)
static struct history {
	uint64_t line;
	bool kernel;
	unsigned int verdicts[NR_VERDICTS];
} *history;
static unsigned int nr_history;

static void *alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p) {
		perror("meter: calloc");
		exit(1);
	}
	return p;
}

static void window_free(struct window_data *w)
{
	free(w->line);
	free(w->access);
	free(w->insn);
	memset(w, 0, sizeof(*w));
}

static struct history *history_of(const struct line *l)
{
	uint64_t h = (l->line << 1 | l->kernel) * 0x9e3779b97f4a7c15ULL;
	uint32_t i = h >> 32;
	struct history *e;

	if (!history)
		history = alloc(HISTORY_SIZE, sizeof(*history));
	for (;; i++) {
		e = &history[i % HISTORY_SIZE];
		if (!e->line || (e->line == l->line && e->kernel == l->kernel))
			break;
	}
	if (!e->line) {
		if (++nr_history > HISTORY_SIZE / 2) {
			fprintf(stderr, "meter: too many lines in '%s'\n", label);
			exit(1);
		}
		e->line = l->line;
		e->kernel = l->kernel;
	}
	return e;
}

static bool access_is_kernel(const struct access *a)
{
	return site_by_id(a->site)->flags & INSN_KERNEL;
}

static int compare_access(const void *x, const void *y)
{
	const struct access *a = x, *b = y;
	bool ka = access_is_kernel(a), kb = access_is_kernel(b);

	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return ka - kb;
}

static unsigned int main_writer(const struct line *l)
{
	unsigned int max = 0;

	for (unsigned int i = 1; i < MAX_VCPUS; i++)
		if (l->by_writes[i] > l->by_writes[max])
			max = i;
	return max;
}

static enum verdict judge(const struct line *l, uint64_t hits)
{
	unsigned int max = main_writer(l);
	uint64_t others_read = l->reads - l->by_reads[max];

	if (!l->writes || l->writes * 100 < hits * options.rare)
		return PRIVATE;
	if (l->by_writes[max] * 100 < l->writes * options.dominant)
		return CONTENDED;
	if (others_read && others_read * 100 >= hits * options.rare)
		return READ_SHARED;
	return PRIVATE;
}

/* The vCPU of an access is kept in ->window, which has served its purpose. */
static void collect_access(struct window_data *w)
{
	for (unsigned int c = 0; c < MAX_VCPUS; c++)
		w->nr_access += cpus[c].nr_access;
	w->access = alloc(w->nr_access, sizeof(*w->access));

	for (unsigned int c = 0, n = 0; c < MAX_VCPUS; c++) {
		for (uint32_t i = 0; i < cpus[c].access_size; i++) {
			if (cpus[c].access[i].window != window)
				continue;
			w->access[n] = cpus[c].access[i];
			w->access[n++].window = c;
		}
	}
	qsort(w->access, w->nr_access, sizeof(*w->access), compare_access);
}

static void collect_lines(struct window_data *w)
{
	struct line *l = NULL;

	w->line = alloc(w->nr_access, sizeof(*w->line));
	for (size_t i = 0; i < w->nr_access; i++) {
		const struct access *a = &w->access[i];

		if (!i || compare_access(a - 1, a)) {
			l = &w->line[w->nr_lines++];
			l->line = a->line;
			l->vaddr = a->vaddr;
			l->kernel = access_is_kernel(a);
		}
		l->writes += a->writes;
		l->reads += a->reads;
		l->by_writes[a->window] += a->writes;
		l->by_reads[a->window] += a->reads;
	}

	for (size_t i = 0; i < w->nr_lines; i++) {
		l = &w->line[i];
		l->verdict = judge(l, w->f.hits);
		w->f.lines[l->kernel][l->verdict]++;
		if (l->verdict != PRIVATE)
			history_of(l)->verdicts[l->verdict]++;
	}
}

static void collect_insns(struct window_data *w)
{
	for (unsigned int c = 0; c < MAX_VCPUS; c++)
		w->nr_insns += cpus[c].nr_touched;
	w->insn = alloc(w->nr_insns, sizeof(*w->insn));

	for (unsigned int c = 0, n = 0; c < MAX_VCPUS; c++) {
		for (uint32_t i = 0; i < cpus[c].nr_touched; i++) {
			uint32_t id = cpus[c].touched[i];
			const struct site *site = site_by_id(id);
			bool kernel = site->flags & INSN_KERNEL;

			w->insn[n].site = id;
			w->insn[n++].count = cpus[c].count[id];
			w->f.insns[kernel] += cpus[c].count[id];
			if (site->flags & INSN_ATOMIC)
				w->f.atomics[kernel] += cpus[c].count[id];
		}
	}
}

/* What the row does not bear out is private after all. */
static void drop_chance_verdicts(struct window_data *w)
{
	for (size_t i = 0; i < w->nr_lines; i++) {
		struct line *l = &w->line[i];

		if (l->verdict == PRIVATE ||
		    history_of(l)->verdicts[l->verdict] * 2 >= nr_windows)
			continue;
		w->f.lines[l->kernel][l->verdict]--;
		l->verdict = PRIVATE;
	}
}

/* Fewer kernel instructions per hit, then fewer contended lines. */
static bool better(const struct figures *a, const struct figures *b)
{
	uint64_t x = a->insns[KERNEL] * b->hits, y = b->insns[KERNEL] * a->hits;

	if (!b->hits || x != y)
		return !b->hits || x < y;
	return a->lines[KERNEL][CONTENDED] < b->lines[KERNEL][CONTENDED];
}

static void print_figures(const char *kind, const struct figures *f)
{
	fprintf(options.out, "%s\t%s\t%u", kind, label, nr_windows);
	fprintf(options.out, "\t%" PRIu64, f->hits);
	for (int mode = KERNEL; mode >= USER; mode--)
		fprintf(options.out, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64,
			f->insns[mode], f->atomics[mode],
			f->lines[mode][CONTENDED], f->lines[mode][READ_SHARED]);
	fprintf(options.out, "\t%" PRIu64 "\t%" PRIu64 "\n", f->rounds, f->lost);
}

void row_add_window(void)
{
	struct window_data w = { 0 };

	for (unsigned int c = 0; c < MAX_VCPUS; c++) {
		w.f.hits += cpus[c].hits;
		w.f.lost += cpus[c].lost;
		w.f.rounds += cpus[c].rounds;
	}
	if (!w.f.hits) {
		fprintf(stderr, "meter: window without a hit in '%s'\n", label);
		return;
	}
	nr_windows++;
	collect_insns(&w);
	collect_access(&w);
	collect_lines(&w);
	print_figures("window", &w.f);
	if (better(&w.f, &best.f)) {
		window_free(&best);
		best = w;
	} else {
		window_free(&w);
	}
}

static uint64_t pc_of(uint32_t id)
{
	return id ? site_by_id(id)->pc : 0;
}

static void print_line(const struct window_data *w, const struct line *l)
{
	unsigned int writers = 0, max = main_writer(l);

	for (unsigned int c = 0; c < MAX_VCPUS; c++)
		writers += !!l->by_writes[c];
	fprintf(options.out, "line\t%s\t%s\t%s\t%" PRIx64 "\t%" PRIx64,
		label, l->kernel ? "kernel" : "user", verdict_name[l->verdict],
		l->line << LINE_SHIFT, l->vaddr);
	fprintf(options.out, "\t%" PRIu64 "\t%" PRIu64 "\t%u\t%" PRIu64 "\n",
		l->writes, l->reads, writers,
		l->writes ? l->by_writes[max] * 100 / l->writes : 0);

	for (size_t i = 0; i < w->nr_access; i++) {
		const struct access *a = &w->access[i];

		if (a->line != l->line || access_is_kernel(a) != l->kernel)
			continue;
		fprintf(options.out, "access\t%s\t%" PRIx64 "\t%u\t%" PRIx64,
			label, l->line << LINE_SHIFT, a->window, a->vaddr);
		fprintf(options.out, "\t%u\t%u\t%u\t%" PRIx64, a->writes, a->reads,
			!!(site_by_id(a->site)->flags & INSN_ATOMIC), pc_of(a->site));
		for (unsigned int c = 0; c < CALLERS; c++)
			fprintf(options.out, "\t%" PRIx64, pc_of(a->caller[c]));
		fputc('\n', options.out);
	}
}

/* Print the row that ends, if any, and start afresh. */
void row_finish(void)
{
	if (best.f.hits) {
		drop_chance_verdicts(&best);
		print_figures("row", &best.f);
		for (size_t i = 0; i < best.nr_insns; i++) {
			const struct site *site = site_by_id(best.insn[i].site);

			if (site->flags & INSN_KERNEL)
				fprintf(options.out, "insn\t%s\t%" PRIx64 "\t%" PRIu64 "\n",
					label, site->pc, best.insn[i].count);
		}
		for (size_t i = 0; i < best.nr_lines; i++)
			if (best.line[i].verdict != PRIVATE)
				print_line(&best, &best.line[i]);
		fflush(options.out);
	}
	window_free(&best);
	nr_windows = 0;
	free(history);
	history = NULL;
	nr_history = 0;
}

void row_label_char(unsigned char c)
{
	if (!c) {
		row_finish();
		label_len = 0;
	} else if (label_len < sizeof(label) - 1) {
		label[label_len++] = c;
	}
	label[label_len] = '\0';
}
