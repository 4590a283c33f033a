// SPDX-License-Identifier: GPL-2.0
/*
 * Random steps of tracers and of the processes that they trace. After each one,
 * every copy of every counter is what a model says that it must be.
 *
 *	SDT_SEED=	the run to repeat; printed by each
 *	SDT_STEPS=	how many; some hundred if it is not said
 */
#define _GNU_SOURCE 1
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>

#include "common.h"
#include "events.h"
#include "sdt_worker.h"

#define SITES		3
#define CTRS		3	/* and no counter, the last kind of target */
#define FILE_TARGETS	(SITES * (CTRS + 1))
#define LIB_TARGET	FILE_TARGETS
#define TARGETS		(FILE_TARGETS + 1)
#define TRACERS		10
#define NOP		0x90

#define RW	(PROT_READ | PROT_WRITE)

/* What a tracer probes: a place and a counter. */
static struct target {
	char		path[600];
	uint64_t	offset, ctr;
	int		nr;		/* of the counter in the page; -1: none */
	char		trace[32], perf[32];	/* its two trace events */
} targets[TARGETS];

enum kind {
	FTRACE, ALL, BPF_ALL, TRACEPOINT_ALL,	/* every process */
	TASK, TASK_CHILDREN, BPF_TASK, TRACEPOINT_TASK,
	KINDS
};

static const char * const kind_names[] = {
	"ftrace", "all", "bpf all", "tracepoint all",
	"task", "task and children", "bpf task", "tracepoint task",
};

static struct tracer {
	bool		used;
	enum kind	kind;
	unsigned int	target;
	unsigned int	accepts;	/* bit per worker */
	int		fd;
	struct upl_link	*link;
} tracers[TRACERS];

/* One copy of the counters. */
struct copy {
	bool		mapped, shared;
	int		prot;
	unsigned int	raised;		/* bit per target */
	uint64_t	at;		/* of the library's counter */
};

static struct process {
	bool		alive;
	bool		text[SDT_TEXTS];
	struct copy	data[SDT_DATAS];
	struct copy	lib[SDT_LIBS];
} processes[SDT_WORKERS];

static char history[24][96];
static unsigned int steps_made, steps_failed;

static __attribute__((format(printf, 1, 2))) void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(history[steps_made++ % 24], sizeof(history[0]), fmt, ap);
	va_end(ap);
}

static void tell_history(void)
{
	unsigned int i = steps_made > 24 ? steps_made - 24 : 0;

	for (; i < steps_made; i++)
		printf("# step %u: %s\n", i, history[i % 24]);
	for (i = 0; i < TRACERS; i++) {
		if (tracers[i].used)
			printf("# tracer %s of target %u, processes %#x\n",
			       kind_names[tracers[i].kind], tracers[i].target,
			       tracers[i].accepts);
	}
}

/* xorshift64: the same everywhere */
static uint64_t random_state;

static unsigned int pick(unsigned int n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 20) % n;
}

/* ---- the model ---- */

static bool accepted(unsigned int target, unsigned int w)
{
	unsigned int i;

	for (i = 0; i < TRACERS; i++) {
		if (tracers[i].used && tracers[i].target == target &&
		    (tracers[i].kind < TASK || tracers[i].accepts & 1 << w))
			return true;
	}
	return false;
}

/*
 * What is wanted is raised in what can be written, where the probed text is;
 * what nobody wants is lowered wherever it was raised.
 */
static void settle(struct copy *copies, unsigned int nr, unsigned int target,
		   bool wanted, bool text)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (!wanted)
			copies[i].raised &= ~(1 << target);
		else if (text && copies[i].mapped && !copies[i].shared &&
			 copies[i].prot & PROT_WRITE)
			copies[i].raised |= 1 << target;
	}
}

static void settle_all(void)
{
	struct process *p;
	unsigned int w, t;

	for (w = 0; w < SDT_WORKERS; w++) {
		p = &processes[w];
		if (!p->alive)
			continue;
		for (t = 0; t < FILE_TARGETS; t++)
			settle(p->data, SDT_DATAS, t, accepted(t, w), p->text[0] || p->text[1]);
		settle(p->lib, SDT_LIBS, LIB_TARGET, accepted(LIB_TARGET, w),
		       p->lib[0].mapped || p->lib[1].mapped);
	}
}

static int expected(const struct copy *copy, int nr)
{
	int value = 0;
	unsigned int t;

	for (t = 0; t < FILE_TARGETS; t++)
		value += targets[t].nr == nr && copy->raised & 1 << t;
	return value;
}

/* ---- what is, against the model ---- */

static bool same(unsigned int w, const char *what, unsigned int i, int nr, int want, int is)
{
	if (want == is)
		return true;
	printf("# process %u %s %u counter %d: %d, must be %d\n", w, what, i, nr, is, want);
	return false;
}

static bool check_data(unsigned int w, unsigned int d)
{
	const struct copy *copy = &processes[w].data[d];
	int16_t words[128];
	bool ok = true;
	int nr;

	if (pread(sdt_worker(w)->mem, words, sizeof(words), sdt_data_at(d)) != sizeof(words))
		return same(w, "data", d, -1, copy->mapped, 0);
	if (!copy->mapped)
		return same(w, "data", d, -1, 0, 1);
	for (nr = 0; nr < CTRS; nr++)
		ok &= same(w, "data", d, nr, expected(copy, nr),
			   words[(sdt_ctr(nr) - sdt_ctr(0)) / 2]);
	return ok;
}

/* What the program reads itself: one copy each time. */
static bool check_read(unsigned int w, unsigned int d, unsigned int nr)
{
	const struct copy *copy = &processes[w].data[d];

	if (!processes[w].alive || !copy->mapped || !(copy->prot & PROT_READ))
		return true;
	return same(w, "itself, data", d, nr, expected(copy, nr),
		    sdt_tell(sdt_worker(w), SDT_OP_READ, d, nr));
}

static bool check_all(void)
{
	unsigned int w, i;
	struct copy *lib;
	bool ok = true;

	for (w = 0; w < SDT_WORKERS; w++) {
		if (!processes[w].alive)
			continue;
		for (i = 0; i < SDT_DATAS; i++)
			ok &= check_data(w, i);
		for (i = 0; i < SDT_LIBS; i++) {
			lib = &processes[w].lib[i];
			if (lib->mapped)
				ok &= same(w, "library", i, 0, !!lib->raised,
					   sdt_peek_at(sdt_worker(w), lib->at));
		}
	}
	return ok && check_read(pick(SDT_WORKERS), pick(SDT_DATAS), pick(CTRS));
}

/* ---- tracers ---- */

static int open_uprobe(const struct target *t, pid_t pid, bool children)
{
	struct upl_probe probe = {
		.path = t->path, .offset = t->offset, .ref_ctr_offset = t->ctr,
		.pid = pid, .cpu = pid == -1 ? 0 : -1,
	};

	return event_open(&probe, children);
}

static int open_tracepoint(const struct target *t, pid_t pid)
{
	char name[64];

	snprintf(name, sizeof(name), "sdt_model/%s", t->perf);
	return event_open_trace(name, pid, pid == -1 ? 0 : -1);
}

static int enable(const struct target *t, const char *on)
{
	char path[128];

	snprintf(path, sizeof(path), "events/sdt_model/%s/enable", t->trace);
	return tracefs_write(path, 0, on);
}

static int open_bpf(const struct target *t, pid_t pid, struct upl_link **link)
{
	struct upl_probe probe = {
		.path = t->path, .offset = t->offset, .ref_ctr_offset = t->ctr,
		.pid = pid, .cpu = pid == -1 ? 0 : -1,
	};

	return upl_attach(&probe, UPL_BPF, link);
}

static bool ftrace_used(unsigned int target)
{
	unsigned int i;

	for (i = 0; i < TRACERS; i++) {
		if (tracers[i].used && tracers[i].kind == FTRACE && tracers[i].target == target)
			return true;
	}
	return false;
}

/* Each of these is one step: false if it cannot be made now. */
static bool attach(unsigned int w)
{
	struct tracer *tracer = &tracers[pick(TRACERS)];
	struct target *t;
	pid_t pid = -1;
	int ret = 0;

	if (tracer->used)
		return false;
	*tracer = (struct tracer){ .kind = pick(KINDS), .target = pick(TARGETS), .fd = -1 };
	if (tracer->kind == FTRACE && ftrace_used(tracer->target))
		return false;
	t = &targets[tracer->target];
	if (tracer->kind >= TASK) {
		pid = sdt_worker(w)->pid;
		tracer->accepts = 1 << w;
	}
	note("attach %s to target %u process %u", kind_names[tracer->kind], tracer->target, w);
	switch (tracer->kind) {
	case FTRACE:
		ret = enable(t, "1");
		break;
	case BPF_ALL:
	case BPF_TASK:
		ret = open_bpf(t, pid, &tracer->link);
		break;
	case TRACEPOINT_ALL:
	case TRACEPOINT_TASK:
		tracer->fd = open_tracepoint(t, pid);
		ret = tracer->fd;
		break;
	default:
		tracer->fd = open_uprobe(t, pid, tracer->kind == TASK_CHILDREN);
		ret = tracer->fd;
	}
	if (ret < 0) {
		printf("# attach failed: %d %s\n", ret, upl_reason());
		steps_failed++;
	}
	tracer->used = ret >= 0;
	return true;
}

static void detach_tracer(struct tracer *tracer)
{
	if (tracer->fd >= 0)
		close(tracer->fd);
	if (tracer->link)
		upl_detach(tracer->link);
	if (tracer->kind == FTRACE)
		enable(&targets[tracer->target], "0");
	tracer->used = false;
}

static bool detach(unsigned int unused)
{
	unsigned int i = pick(TRACERS);
	struct tracer *tracer = &tracers[i];

	(void)unused;
	if (!tracer->used)
		return false;
	note("detach %s from target %u", kind_names[tracer->kind], tracer->target);
	detach_tracer(tracer);
	return true;
}

/* ---- processes ---- */

static void tell(unsigned int w, enum sdt_op op, long a, long b, long c)
{
	long ret = sdt_tell(sdt_worker(w), op, a, b, c);

	if (ret < 0) {
		printf("# process %u: operation %d failed: %ld\n", w, op, ret);
		steps_failed++;
	}
}

static bool do_fork(unsigned int w)
{
	unsigned int child = pick(SDT_WORKERS), i;

	if (processes[child].alive)
		return false;
	note("fork process %u: %u", w, child);
	if (!sdt_fork(sdt_worker(w), child)) {
		printf("# process %u: fork failed\n", w);
		steps_failed++;
		return true;
	}
	processes[child] = processes[w];
	for (i = 0; i < TRACERS; i++) {
		if (tracers[i].kind == TASK_CHILDREN &&
		    tracers[i].accepts & 1 << w)
			tracers[i].accepts |= 1 << child;
	}
	return true;
}

static bool do_exec(unsigned int w)
{
	note("exec in process %u", w);
	sdt_exec(sdt_worker(w));
	processes[w] = (struct process){ .alive = true };
	return true;
}

static bool do_exit(unsigned int w)
{
	unsigned int i, alive = 0;

	for (i = 0; i < SDT_WORKERS; i++)
		alive += processes[i].alive;
	if (alive == 1)
		return false;
	note("exit of process %u", w);
	sdt_exit(sdt_worker(w));
	processes[w].alive = false;
	for (i = 0; i < TRACERS; i++)
		tracers[i].accepts &= ~(1 << w);
	return true;
}

static bool map_text(unsigned int w)
{
	unsigned int i = pick(SDT_TEXTS);

	note("map text %u in process %u", i, w);
	tell(w, SDT_OP_MAP_TEXT, i, 0, 0);
	processes[w].text[i] = true;
	return true;
}

static bool unmap_text(unsigned int w)
{
	unsigned int i = pick(SDT_TEXTS);

	if (!processes[w].text[i])
		return false;
	note("unmap text %u in process %u", i, w);
	tell(w, SDT_OP_UNMAP_TEXT, i, 0, 0);
	processes[w].text[i] = false;
	return true;
}

static bool map_data(unsigned int w)
{
	unsigned int i = pick(SDT_DATAS);
	struct copy *copy = &processes[w].data[i];

	/* Over what is there, if need be. */
	*copy = (struct copy){
		.mapped = true,
		.shared = !pick(8),
		.prot = pick(4) ? RW : PROT_READ,
	};
	note("map %s data %u in process %u, prot %d", copy->shared ? "shared" : "private",
	     i, w, copy->prot);
	tell(w, SDT_OP_MAP_DATA, i, copy->prot, copy->shared ? MAP_SHARED : MAP_PRIVATE);
	return true;
}

static bool unmap_data(unsigned int w)
{
	unsigned int i = pick(SDT_DATAS);

	if (!processes[w].data[i].mapped)
		return false;
	note("unmap data %u in process %u", i, w);
	tell(w, SDT_OP_UNMAP_DATA, i, 0, 0);
	processes[w].data[i] = (struct copy){};
	return true;
}

static bool protect_data(unsigned int w)
{
	static const int prots[] = { RW, RW, PROT_READ, PROT_NONE };
	unsigned int i = pick(SDT_DATAS);
	struct copy *copy = &processes[w].data[i];

	if (!copy->mapped)
		return false;
	copy->prot = prots[pick(4)];
	note("protect data %u in process %u, prot %d", i, w, copy->prot);
	tell(w, SDT_OP_PROTECT_DATA, i, copy->prot, 0);
	return true;
}

static bool move_data(unsigned int w)
{
	unsigned int from = pick(SDT_DATAS), to = pick(SDT_DATAS);
	struct copy *data = processes[w].data;

	if (!data[from].mapped || from == to)
		return false;
	note("move data %u to %u in process %u", from, to, w);
	tell(w, SDT_OP_MOVE_DATA, from, to, 0);
	data[to] = data[from];
	data[from] = (struct copy){};
	return true;
}

static bool open_lib(unsigned int w)
{
	unsigned int i = pick(SDT_LIBS);
	struct copy *lib = &processes[w].lib[i];

	if (lib->mapped)
		return false;
	note("%s in process %u", i ? "dlmopen" : "dlopen", w);
	tell(w, SDT_OP_OPEN_LIB, i, 0, 0);
	*lib = (struct copy){
		.mapped = true, .prot = RW,
		.at = sdt_tell(sdt_worker(w), SDT_OP_LIB_COUNTER, i),
	};
	return true;
}

static bool close_lib(unsigned int w)
{
	unsigned int i = pick(SDT_LIBS);

	if (!processes[w].lib[i].mapped)
		return false;
	note("dlclose %u in process %u", i, w);
	tell(w, SDT_OP_CLOSE_LIB, i, 0, 0);
	processes[w].lib[i] = (struct copy){};
	return true;
}

static bool hit(unsigned int w)
{
	unsigned int i = pick(SDT_TEXTS), site = pick(SITES);

	if (processes[w].text[i]) {
		note("hit site %u of text %u in process %u", site, i, w);
		tell(w, SDT_OP_HIT, i, site, 0);
	} else if (processes[w].lib[i].mapped) {
		note("hit library %u in process %u", i, w);
		tell(w, SDT_OP_HIT_LIB, i, 0, 0);
	} else {
		return false;
	}
	return true;
}

static const struct {
	bool		(*step)(unsigned int worker);
	unsigned int	weight;
} steps[] = {
	{ attach, 20 }, { detach, 18 }, { do_fork, 8 }, { do_exec, 2 }, { do_exit, 5 },
	{ map_text, 8 }, { unmap_text, 4 }, { map_data, 14 }, { unmap_data, 5 },
	{ protect_data, 12 }, { move_data, 10 }, { open_lib, 3 }, { close_lib, 3 },
	{ hit, 8 },
};

static void one_step(void)
{
	unsigned int i, n, w, total = 0;

	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		total += steps[i].weight;
	do {
		do {
			w = pick(SDT_WORKERS);
		} while (!processes[w].alive);
		n = pick(total);
		for (i = 0; n >= steps[i].weight; i++)
			n -= steps[i].weight;
	} while (!steps[i].step(w));
}

/* ---- begin and end ---- */

static bool define(struct target *t, char prefix, char *name, unsigned int i)
{
	char line[800], ctr[32] = "";

	sprintf(name, "%c%u", prefix, i);
	if (t->ctr)
		sprintf(ctr, "(0x%llx)", (unsigned long long)t->ctr);
	snprintf(line, sizeof(line), "p:sdt_model/%s %s:0x%llx%s", name, t->path,
		 (unsigned long long)t->offset, ctr);
	return !define_event(line);
}

static bool define_targets(void)
{
	struct upl_marker marker;
	struct target *t;
	unsigned int i;

	for (i = 0; i < TARGETS; i++) {
		t = &targets[i];
		if (i == LIB_TARGET) {
			sdt_lib_path(t->path, sizeof(t->path));
			if (upl_find_marker(t->path, "lib", "hit", &marker))
				return false;
			t->offset = marker.offset;
			t->ctr = marker.ref_ctr_offset;
			t->nr = CTRS;
		} else {
			strcpy(t->path, SDT_FILE);
			t->offset = sdt_site(i % SITES);
			t->nr = i / SITES < CTRS ? i / SITES : -1;
			t->ctr = t->nr < 0 ? 0 : sdt_ctr(t->nr);
		}
		if (!define(t, 't', t->trace, i) || !define(t, 'p', t->perf, i))
			return false;
	}
	return true;
}

static bool undefine_targets(void)
{
	char line[64];
	unsigned int i;
	bool ok = true;

	for (i = 0; i < TARGETS; i++) {
		snprintf(line, sizeof(line), "-:sdt_model/%s", targets[i].trace);
		ok &= !define_event(line);
		snprintf(line, sizeof(line), "-:sdt_model/%s", targets[i].perf);
		ok &= !define_event(line);
	}
	return ok;
}

static bool text_is_clean(void)
{
	unsigned int w, i, site;
	bool ok = true;

	for (w = 0; w < SDT_WORKERS; w++) {
		for (i = 0; processes[w].alive && i < SDT_TEXTS; i++) {
			for (site = 0; processes[w].text[i] && site < SITES; site++)
				ok &= same(w, "text", i, site, NOP,
					   sdt_peek_text(sdt_worker(w), i, site));
		}
	}
	return ok;
}

/* After any steps, each counter is what it must be; in the end they are all 0. */
TEST_F_TIMEOUT(uprobe, random_steps, 7200)
{
	unsigned long seed = setting("SDT_SEED", time(NULL) ^ (long)getpid() << 16);
	unsigned long nr = setting("SDT_STEPS", 400), i;
	bool ok = true;
	double begin;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_BPF | NEED_X86_64);
	printf("# SDT_SEED=%lu SDT_STEPS=%lu\n", seed, nr);
	random_state = seed | 1;
	ASSERT_TRUE(sdt_begin());
	ASSERT_TRUE(define_targets());
	ASSERT_NE(NULL, sdt_start(0));
	processes[0].alive = true;

	begin = now();
	for (i = 0; ok && i < nr; i++) {
		one_step();
		settle_all();
		/* Steps that are refused would have the model agree with nothing. */
		ok = check_all() && !steps_failed;
		if (i % 1000 == 999)
			printf("# %lu steps\n", i + 1);
	}
	printf("# %u steps in %.0f s\n", steps_made, now() - begin);
	if (!ok)
		tell_history();
	EXPECT_TRUE(ok);

	for (i = 0; i < TRACERS; i++) {
		if (tracers[i].used)
			detach_tracer(&tracers[i]);
	}
	settle_all();
	/* No tracer, so nothing is raised in the model. */
	EXPECT_TRUE(check_all());
	EXPECT_TRUE(text_is_clean());
	EXPECT_TRUE(undefine_targets());
	sdt_end();
}

TEST_HARNESS_MAIN
