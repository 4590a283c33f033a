// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/*
 * Random and mutated definitions, perf attributes and BPF attachments: each is
 * refused or works, and the probes of a file that only this program knows stay
 * exact. Where the kernel says which places of its code an input has reached
 * (KCOV), those that reached new ones are kept and changed a little. x86-64.
 *	FUZZ_SEED	of the random numbers; default: the time
 *	FUZZ_SECONDS	of each case; default: 3
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"
#include "kcov.h"
#include "text.h"

static char path[64], *text;
static unsigned long long random_state;

/* xorshift: the same numbers on every libc. */
static unsigned int number(unsigned int below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 16) % below;
}

/* ---- inputs ---- */

/*
 * An input is a table of numbers. Each decides one thing, whatever the others
 * are, so that one can be changed and the rest still means the same.
 */
#define GENES	256
#define PART	32	/* of them belong together */

struct input {
	unsigned int	gene[GENES];
	bool		used[GENES];	/* asked for when the input ran */
};

static struct input input;

static unsigned int gene(unsigned int nr, unsigned int below)
{
	input.used[nr] = true;
	return input.gene[nr] % below;
}

#define PICK(nr, array) (array[gene(nr, sizeof(array) / sizeof(array[0]))])

enum arm { RANDOM, GUIDED, NR_ARMS };

#define MAX_PLACES	(1 << 16)
#define MAX_CORPUS	512

/* Shared with the children. */
static struct count {
	unsigned long	tried, taken;		/* operations */
	struct {
		unsigned long	inputs, places;
		uint64_t	place[MAX_PLACES];	/* a hash table */
	} arm[NR_ARMS];
	unsigned int	nr_corpus;
	struct input	corpus[MAX_CORPUS];	/* of inputs that reached new places */
} *count;

/* A place that this arm has not reached before? */
static bool is_new(enum arm arm, uint64_t place)
{
	unsigned int at = (place * 0x9e3779b97f4a7c15ULL) >> 48, i;
	uint64_t *table = count->arm[arm].place;

	for (i = 0; i < MAX_PLACES; i++, at = (at + 1) % MAX_PLACES) {
		if (table[at] == place)
			return false;
		if (table[at])
			continue;
		table[at] = place;
		count->arm[arm].places++;
		return true;
	}
	return false;
}

static void learn(enum arm arm)
{
	const uint64_t *places;
	uint64_t nr = kcov_end(&places), i;
	bool new = false;
	unsigned int at;

	for (i = 0; i < nr; i++)
		new |= is_new(arm, places[i]);
	if (arm != GUIDED || !new)
		return;
	at = count->nr_corpus < MAX_CORPUS ? count->nr_corpus++ : number(MAX_CORPUS);
	count->corpus[at] = input;
}

/* What found something: the last ones half of the time, theirs is least known. */
static const struct input *kept_input(void)
{
	unsigned int from = number(2) && count->nr_corpus > 16 ? count->nr_corpus - 16 : 0;

	return &count->corpus[from + number(count->nr_corpus - from)];
}

/* One that was asked for. */
static unsigned int used_gene(void)
{
	unsigned int nr = number(GENES), tries;

	for (tries = 0; !input.used[nr] && tries < GENES; tries++)
		nr = (nr + 1) % GENES;
	return nr;
}

/* Parts of inputs that were kept, with a few numbers changed. */
static void mutate_input(void)
{
	unsigned int n = 2 + number(5), nr, i;

	input = *kept_input();
	for (i = 0; i < GENES; i += PART) {
		const struct input *other = kept_input();

		if (number(2))
			continue;
		memcpy(&input.gene[i], &other->gene[i], PART * sizeof(input.gene[0]));
		memcpy(&input.used[i], &other->used[i], PART * sizeof(input.used[0]));
	}
	while (n--) {
		nr = used_gene();
		if (number(4))
			input.gene[nr] = number(1 << 30);
		else
			input.gene[nr] += 1 - 2 * number(2);
	}
}

static void make_input(enum arm arm)
{
	unsigned int i;

	if (arm == GUIDED && count->nr_corpus && number(2)) {
		mutate_input();
	} else {
		for (i = 0; i < GENES; i++)
			input.gene[i] = number(1 << 30);
	}
	memset(input.used, 0, sizeof(input.used));
}

/* ---- the loop ---- */

/* What must work in between. */
static const char *works(void)
{
	enum function which = number(NR_FUNCTIONS);
	int event, ret;
	const char *why = NULL;

	if (which == CALL || which == LOAD)
		which = NOP;
	event = text_attach(path, text_offset(which), false);
	ret = text_attach(path, text_offset(which), true);
	if (event < 0 || ret < 0)
		return "cannot attach any more";
	text_call(text, which, NULL);
	if (text_hits(event) != 1 || text_hits(ret) != 1)
		why = "a hit is not counted once";
	close(event);
	close(ret);
	if (!why && !text_restored(text, which))
		why = "a breakpoint stays behind";
	return why;
}

static void hit_all(void)
{
	text_call(text, NOP, NULL);
	text_call(text, PUSH, NULL);
	text_call(text, STEP, NULL);
	text_call(text, VALUE, NULL);
}

#define BATCH		50
#define MAX_SECONDS	86400	/* FUZZ_SECONDS says how long it takes */

/* So many inputs in a child: NULL, or what does not hold. */
static const char *batch(void (*fn)(void), enum arm arm, bool watched)
{
	static char died[96];
	int status, i;
	pid_t pid;

	/* Numbers of its own for each batch. */
	random_state += 0x9e3779b97f4a7c15ULL;
	pid = fork();
	if (!pid) {
		random_state ^= random_state >> 30;
		random_state = random_state * 0xbf58476d1ce4e5b9ULL | 1;
		if (watched && !kcov_open())
			_exit(3);
		for (i = 0; i < BATCH; i++) {
			make_input(arm);
			if (watched)
				kcov_begin();
			fn();
			if (watched)
				learn(arm);
			count->arm[arm].inputs++;
		}
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return "cannot fork";
	if (status) {
		snprintf(died, sizeof(died), "wait status %#x after %lu inputs", status,
			 count->arm[RANDOM].inputs + count->arm[GUIDED].inputs);
		return died;
	}
	return works();
}

/* Chance decides a few places. A guide that leads nowhere loses more than that. */
static bool guidance_works(void)
{
	return count->arm[RANDOM].inputs == count->arm[GUIDED].inputs && count->nr_corpus &&
	       4 * count->arm[GUIDED].places >= 3 * count->arm[RANDOM].places;
}

/*
 * As many guided inputs as random ones, batch by batch, or random ones only. A few
 * batches may not show what guides.
 */
static const char *fuzz(void (*fn)(void), bool guided)
{
	time_t end = time(NULL) + setting("FUZZ_SECONDS", 3), now;
	const char *why;

	do {
		why = batch(fn, RANDOM, guided);
		if (!why && guided)
			why = batch(fn, GUIDED, true);
		now = time(NULL);
	} while (!why && (now < end || (guided && now < end + 30 && !guidance_works())));
	if (guided)
		fprintf(stderr, "# %lu inputs each: %lu places at random, %lu guided, %u kept\n",
			count->arm[RANDOM].inputs, count->arm[RANDOM].places,
			count->arm[GUIDED].places, count->nr_corpus);
	return why;
}

/* The kernel has KCOV, and uprobes are among what it looks at. */
static bool can_guide(void)
{
	const uint64_t *places;
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (!kcov_open())
			_exit(1);
		kcov_begin();
		works();
		_exit(!kcov_end(&places));
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static const char *prepare(bool guided)
{
	const char *why = missing(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_BPF |
				  NEED_X86_64);

	if (why)
		return why;
	random_state = setting("FUZZ_SEED", time(NULL)) | 1;
	fprintf(stderr, "# FUZZ_SEED=%llu\n", random_state);
	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(path, sizeof(path), "/tmp/fuzz.%d", getpid());
	if (text_write(path))
		return "no room in /tmp";
	text = text_map(path);
	if (!text)
		return "cannot map a file in /tmp";
	return guided && !can_guide() ? "no KCOV" : NULL;
}

FIXTURE_VARIANT(uprobe) {
	bool	guided;
};

FIXTURE_VARIANT_ADD(uprobe, random) { false };
FIXTURE_VARIANT_ADD(uprobe, guided) { true };

#define FUZZ(fn) do {							\
	const char *why_ = prepare(variant->guided);			\
									\
	if (why_)							\
		SKIP(return, "%s", why_);				\
	why_ = fuzz(fn, variant->guided);				\
	EXPECT_EQ(NULL, why_) TH_LOG("%s", why_);			\
	TH_LOG("%lu operations, %lu taken", count->tried, count->taken); \
	EXPECT_NE(0, count->taken);					\
	EXPECT_LT(count->taken, count->tried);				\
	if (variant->guided)						\
		EXPECT_TRUE(guidance_works());				\
	unlink(path);							\
} while (0)

/* ---- uprobe_events ---- */

/* Parts of a definition; %s is the file, which alone may be probed. */
static const char * const kinds[] = { "p", "r", "p", "r", "p", "-", "q", "p5", "r0", "" };

static const char * const names[] = {
	":fuzz/a", ":fuzz/b", ":fuzz/c", ":fuzz", ":fuzz/", ":/a", ":fuzz/a/b", ":", "",
	":fuzz/0", ":f-z/a",
	":fuzz/averyveryveryveryveryveryveryveryveryveryveryveryverylongnameofanevent",
};

static const char * const places[] = {
	" %s:0x0", " %s:0x40", " %s:0x80", " %s:64", " %s:0x0(0xf00)", " %s:0x40%%return",
	" %s:0x40(0x10)%%return", " %s", " %s:", " %s:-1", " %s:0xfff", " %s:0x1000",
	" %s:0xffffffffffffffff", " %s:0x0(", " %s:0x0(0xf01)", " %s:0x0(0xffffffff)",
	" %s:zero", " %s:0x0%%retur", " /:0", " /dev/null:0", " :0",
};

static const char * const arguments[] = {
	" %%ax", " a=%%sp", " $stack", " $stack0", " $stack99", " $retval", " $comm", " $arg1",
	" +0(%%sp)", " +8(+0(%%sp)):u64", " @0x0", " @+0", " @+64:x8", " \\1", " \\\"text\"",
	" +0(%%ip):string", " +u0(%%sp):ustring", " +0(%%ip):x8[4]", " a=+0(%%sp):string[2]",
	" %%di:b4@2/32", " %%di:b99@99/8", " %%di:u7", " x=x=x", " =", " +(",
	" +0(+0(+0(+0(%%sp))))",
	" %%nothing", " @", " +0(%%sp):x8[65]", " $stack:symbol", " a=%%ip a=%%ip", " $imm", " \\",
	" averylongargumentnameaverylongargumentnameaverylongargumentname=%%sp",
};

static const char noise[] = ":/ $%@+-\\\"()[]=,.0123456789abcdefxzst\t\n\177\200\377";

/* What decides about one definition; there are DEFINITIONS of them in an input. */
enum {
	D_KIND, D_NAME, D_PLACE, D_MANY, D_ARGS, D_MUTATE, D_ENABLE, D_CHANGES,
	D_CHANGE,			/* 3 times 4 */
	D_ARG		= D_CHANGE + 12,
	D_SIZE		= 64,
};

#define DEFINITIONS	(GENES / D_SIZE)

static void mutate(char *line, size_t size, unsigned int first)
{
	size_t len = strlen(line), at;
	/* Nothing but the file's own name is ever a path: keep it whole. */
	char *file = strstr(line, path);
	size_t from = file ? file - line : len, to = file ? from + strlen(path) : len;
	unsigned int n = gene(first + D_CHANGES, 3), g = first + D_CHANGE;

	for (; n-- && len; g += 4, len = strlen(line)) {
		at = gene(g, len);
		if (at >= from && at < to)
			continue;
		switch (gene(g + 1, 4)) {
		case 0:
			line[at] = noise[gene(g + 2, sizeof(noise) - 1)];
			break;
		case 1:
			if (at >= to)
				line[at] = '\0';
			break;
		case 2:
			if (at >= to && len + 40 < size) {
				memmove(line + at + 40, line + at, len - at + 1);
				memset(line + at, noise[gene(g + 2, sizeof(noise) - 1)], 40);
			}
			break;
		case 3:
			if (at >= to)
				memmove(line + at, line + at + 1, len - at);
			break;
		}
	}
}

static void try_definition(unsigned int first)
{
	char line[4096];
	unsigned int n, i;
	size_t used;
	int fd;

	used = snprintf(line, sizeof(line), "%s%s", PICK(first + D_KIND, kinds),
			PICK(first + D_NAME, names));
	used += snprintf(line + used, sizeof(line) - used, PICK(first + D_PLACE, places), path);
	n = gene(first + D_MANY, 20) ? gene(first + D_ARGS, 4) : 140;
	for (i = 0; i < n && used < sizeof(line) - 256; i++)
		used += snprintf(line + used, sizeof(line) - used,
				 PICK(first + D_ARG + i % (D_SIZE - D_ARG), arguments), 0);
	if (gene(first + D_MUTATE, 2))
		mutate(line, sizeof(line), first);

	count->tried++;
	fd = tracefs_open("uprobe_events", O_WRONLY | O_APPEND);
	if (fd < 0)
		_exit(1);
	if (write(fd, line, strlen(line)) > 0) {
		count->taken++;
		if (gene(first + D_ENABLE, 3)) {
			tracefs_write("events/fuzz/enable", 0, "1");
			hit_all();
			tracefs_write("events/fuzz/enable", 0, "0");
		}
	}
	close(fd);
}

/* Our events go by name, those of others stay. */
static bool remove_definitions(void)
{
	char line[4096], command[256], *end;
	int fd = tracefs_open("uprobe_events", O_RDONLY), left = 0;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	while (file && fgets(line, sizeof(line), file)) {
		if (!strstr(line, path))
			continue;
		end = strchr(line, ' ');
		if (!end || !strchr(line, ':'))
			continue;
		*end = '\0';
		snprintf(command, sizeof(command), "-%.250s", strchr(line, ':'));
		define_event(command);
		left++;
	}
	if (file)
		fclose(file);
	return !left;
}

static void try_definitions(void)
{
	int i;

	for (i = 0; i < DEFINITIONS; i++)
		try_definition(i * D_SIZE);
	tracefs_write("events/fuzz/enable", 0, "0");
	for (i = 0; i < 20 && !remove_definitions(); i++)
		;
	if (i == 20)
		_exit(2);
}

/* Lines for uprobe_events: what is taken can be enabled, hit and removed. */
TEST_F_TIMEOUT(uprobe, definitions, MAX_SECONDS)
{
	/* trace_uprobe says of some why it refuses them. */
	self->expected = "trace_uprobe: ";
	FUZZ(try_definitions);
}

/* ---- perf ---- */

static int pmu_type;

static int read_type(const char *file)
{
	FILE *f = fopen(file, "re");
	int type = -1;

	if (f && fscanf(f, "%d", &type) != 1)
		type = -1;
	if (f)
		fclose(f);
	return type;
}

static const char * const filters[] = { "", "common_pid == 0", "nothing == 1", "((", "!", "1" };

/* What decides about one event. */
enum {
	E_CONFIG, E_FUNCTION, E_INHERIT, E_DISABLED, E_PATH, E_PATH_VALUE, E_OFFSET,
	E_OFFSET_VALUE, E_BITS, E_BITS_VALUE, E_BITS_SHIFT, E_SAMPLE, E_PERIOD, E_TYPE,
	E_FLIP, E_FLIPS, E_PID, E_CPU, E_CPU_VALUE, E_FLAGS, E_FLAGS_VALUE,
	E_BIT,				/* 3 times */
	E_SIZE		= 32,
};

/* An event of the uprobe PMU, somewhat off. */
static int try_event(unsigned int first)
{
	static const unsigned long long pointers[] = {
		0, 1, 4095, 1ULL << 47, 1ULL << 63, ~0ULL, 0xffff888000000000, 0xffffffff81000000,
	};
	struct perf_event_attr attr = {
		.type = pmu_type, .size = sizeof(attr),
		.config = gene(first + E_CONFIG, 2),
		.config1 = (unsigned long)path,
		.config2 = text_offset(gene(first + E_FUNCTION, NR_FUNCTIONS)),
		.inherit = gene(first + E_INHERIT, 2), .disabled = gene(first + E_DISABLED, 2),
	};
	unsigned int n, bit;

	if (!gene(first + E_PATH, 8))
		attr.config1 = PICK(first + E_PATH_VALUE, pointers);
	if (!gene(first + E_OFFSET, 8))
		attr.config2 = PICK(first + E_OFFSET_VALUE, pointers) & ~0x3fULL;
	if (!gene(first + E_BITS, 8))
		attr.config |= (unsigned long long)gene(first + E_BITS_VALUE, 1 << 30) <<
			       gene(first + E_BITS_SHIFT, 40);
	if (!gene(first + E_SAMPLE, 4)) {
		attr.sample_period = gene(first + E_PERIOD, 3);
		attr.sample_type = gene(first + E_TYPE, 1 << 24);
	}
	for (n = gene(first + E_FLIP, 4) ? 0 : gene(first + E_FLIPS, 4); n; n--) {
		bit = gene(first + E_BIT + n - 1, sizeof(attr) * 8);
		/* The path and the probed place stay ours. */
		if (bit / 64 == offsetof(struct perf_event_attr, config1) / 8 ||
		    bit / 64 == offsetof(struct perf_event_attr, config2) / 8 || bit < 32)
			continue;
		((unsigned char *)&attr)[bit / 8] ^= 1 << bit % 8;
	}
	/* It would kill, as is asked for. */
	attr.sigtrap = 0;
	return syscall(SYS_perf_event_open, &attr, gene(first + E_PID, 8) ? 0 : -1,
		       gene(first + E_CPU, 4) ? -1 : (int)gene(first + E_CPU_VALUE, 4), -1,
		       gene(first + E_FLAGS, 8) ? PERF_FLAG_FD_CLOEXEC :
						  gene(first + E_FLAGS_VALUE, 16));
}

static int try_prog(unsigned int first)
{
	static const int types[] = {
		BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_KPROBE,
		BPF_PROG_TYPE_TRACEPOINT, BPF_PROG_TYPE_PERF_EVENT,
		BPF_PROG_TYPE_SOCKET_FILTER,
	};
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = gene(first, 2) },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = PICK(first + 1, types), .insns = (unsigned long)insns, .insn_cnt = 2,
		.license = (unsigned long)"GPL",
		.prog_flags = gene(first + 2, 8) ? 0 : 1 << gene(first + 3, 6),
	};

	return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* And about what becomes of it. */
enum { A_OPERATION = E_SIZE, A_ARGUMENT, A_CLOSE };

static void try_attr(void)
{
	int event = try_event(0);
	uint64_t hits[4];

	count->tried++;
	if (event < 0)
		return;
	count->taken++;
	hit_all();
	switch (gene(A_OPERATION, 6)) {
	case 0:
		ioctl(event, PERF_EVENT_IOC_ENABLE, 0);
		break;
	case 1:
		ioctl(event, PERF_EVENT_IOC_DISABLE, gene(A_ARGUMENT, 2));
		break;
	case 2:
		ioctl(event, PERF_EVENT_IOC_SET_FILTER, PICK(A_ARGUMENT, filters));
		break;
	case 3:
		ioctl(event, PERF_EVENT_IOC_REFRESH, gene(A_ARGUMENT, 3));
		break;
	case 4:
		if (!fork()) {
			hit_all();
			_exit(0);
		}
		wait(NULL);
		break;
	}
	hit_all();
	if (read(event, hits, sizeof(hits)) < 0)
		errno = 0;
	/* Some end with their process. */
	if (gene(A_CLOSE, 4))
		close(event);
}

/* Attributes of perf events: read as they are meant, or refused. */
TEST_F_TIMEOUT(uprobe, perf_attributes, MAX_SECONDS)
{
	pmu_type = read_type("/sys/bus/event_source/devices/uprobe/type");
	self->expected = "trace_uprobe: ";
	FUZZ(try_attr);
}

/* ---- BPF ---- */

/* Three events, three programs, then steps of B_STEP_SIZE each. */
enum {
	B_SAME		= 3 * E_SIZE,	/* 3 times */
	B_PROG		= B_SAME + 3,	/* 3 times 4 */
	B_KEEP		= B_PROG + 12,
	B_STEP,
	B_STEP_SIZE	= 16,
	B_STEPS		= 6,
};

_Static_assert(B_STEP + B_STEPS * B_STEP_SIZE <= GENES, "an input is too small");

enum {
	S_EVENT, S_PROG, S_OPERATION, S_TARGET, S_TARGET_VALUE, S_TYPE, S_TYPE_VALUE, S_FLAGS,
	S_FLAGS_VALUE, S_COOKIE, S_LENGTH, S_LENGTH_VALUE, S_IDS, S_BUFFER,
};

static void try_attachment(void)
{
	struct perf_event_query_bpf *query;
	union bpf_attr attr = {};
	int events[3], progs[3], link = -1, i;
	char buffer[64];

	for (i = 0; i < 3; i++) {
		events[i] = i && !gene(B_SAME + i, 4) ? dup(events[0]) : try_event(i * E_SIZE);
		progs[i] = try_prog(B_PROG + 4 * i);
	}
	for (i = 0; i < B_STEPS; i++) {
		unsigned int s = B_STEP + i * B_STEP_SIZE;
		int event = PICK(s + S_EVENT, events), prog = PICK(s + S_PROG, progs);

		switch (gene(s + S_OPERATION, 7)) {
		case 0:
		case 1:
			count->tried++;
			if (!ioctl(event, PERF_EVENT_IOC_SET_BPF, prog))
				count->taken++;
			break;
		case 2:
			count->tried++;
			memset(&attr, 0, sizeof(attr));
			attr.link_create.prog_fd = prog;
			attr.link_create.target_fd = gene(s + S_TARGET, 8) ? event :
						     (int)gene(s + S_TARGET_VALUE, 100);
			attr.link_create.attach_type = gene(s + S_TYPE, 8) ? BPF_PERF_EVENT :
						       gene(s + S_TYPE_VALUE, 50);
			attr.link_create.flags = gene(s + S_FLAGS, 8) ? 0 :
						 gene(s + S_FLAGS_VALUE, 16);
			attr.link_create.perf_event.bpf_cookie = gene(s + S_COOKIE, 2);
			link = syscall(SYS_bpf, BPF_LINK_CREATE, &attr,
				       gene(s + S_LENGTH, 8) ? sizeof(attr) :
							       gene(s + S_LENGTH_VALUE, 200));
			if (link >= 0)
				count->taken++;
			break;
		case 3:
			query = calloc(1, sizeof(*query) + 16 * sizeof(query->ids[0]));
			query->ids_len = gene(s + S_IDS, 17);
			ioctl(event, PERF_EVENT_IOC_QUERY_BPF, query);
			free(query);
			break;
		case 4:
			memset(&attr, 0, sizeof(attr));
			attr.task_fd_query.pid = getpid();
			attr.task_fd_query.fd = event;
			attr.task_fd_query.buf = (unsigned long)buffer;
			attr.task_fd_query.buf_len = gene(s + S_BUFFER, sizeof(buffer));
			syscall(SYS_bpf, BPF_TASK_FD_QUERY, &attr, sizeof(attr));
			break;
		case 5:
			if (link >= 0)
				close(link);
			link = -1;
			break;
		case 6:
			close(event);
			break;
		}
		hit_all();
	}
	for (i = 0; i < 3; i++) {
		close(progs[i]);
		close(events[i]);
	}
	if (gene(B_KEEP, 4) && link >= 0)
		close(link);
}

/* Programs and links on such events, in any order, with the wrong types too. */
TEST_F_TIMEOUT(uprobe, bpf_attachments, MAX_SECONDS)
{
	pmu_type = read_type("/sys/bus/event_source/devices/uprobe/type");
	self->expected = "trace_uprobe: ";
	FUZZ(try_attachment);
}

TEST_HARNESS_MAIN
