// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/*
 * Random and mutated definitions, perf attributes and BPF attachments: each is
 * refused or works, and the probes of a file that only this program knows stay
 * exact. x86-64.
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

#define PICK(array) (array[number(sizeof(array) / sizeof(array[0]))])

static long setting(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? atol(value) : otherwise;
}

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

/* Shared with the children. */
static struct count {
	unsigned long	tried, taken;
} *count;

#define BATCH		50
#define MAX_SECONDS	86400	/* FUZZ_SECONDS says how long it takes */

/* Inputs by the batch, each batch in a child: NULL, or what does not hold. */
static const char *fuzz(void (*fn)(void))
{
	time_t end = time(NULL) + setting("FUZZ_SECONDS", 3);
	static char died[96];
	const char *why;
	int status, i;
	pid_t pid;

	do {
		/* Numbers of its own for each batch. */
		random_state += 0x9e3779b97f4a7c15ULL;
		pid = fork();
		if (!pid) {
			random_state ^= random_state >> 30;
			random_state = random_state * 0xbf58476d1ce4e5b9ULL | 1;
			for (i = 0; i < BATCH; i++)
				fn();
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return "cannot fork";
		if (status) {
			snprintf(died, sizeof(died), "wait status %#x after %lu inputs",
				 status, count->tried);
			return died;
		}
		why = works();
	} while (!why && time(NULL) < end);
	return why;
}

static const char *prepare(void)
{
	const char *why = missing(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_BPF |
				  NEED_X86_64);

	if (why)
		return why;
	random_state = setting("FUZZ_SEED", time(NULL)) | 1;
	printf("# FUZZ_SEED=%llu\n", random_state);
	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(path, sizeof(path), "/tmp/fuzz.%d", getpid());
	if (text_write(path))
		return "no room in /tmp";
	text = text_map(path);
	return text ? NULL : "cannot map a file in /tmp";
}

#define FUZZ(fn) do {							\
	const char *why_ = prepare();					\
									\
	if (why_)							\
		SKIP(return, "%s", why_);				\
	why_ = fuzz(fn);						\
	EXPECT_EQ(NULL, why_) TH_LOG("%s", why_);			\
	TH_LOG("%lu inputs, %lu taken", count->tried, count->taken);	\
	EXPECT_NE(0, count->taken);					\
	EXPECT_LT(count->taken, count->tried);				\
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

static void mutate(char *line, size_t size)
{
	size_t len = strlen(line), at;
	/* Nothing but the file's own name is ever a path: keep it whole. */
	char *file = strstr(line, path);
	size_t from = file ? file - line : len, to = file ? from + strlen(path) : len;
	unsigned int n = number(3);

	while (n-- && len) {
		at = number(len);
		if (at >= from && at < to)
			continue;
		switch (number(4)) {
		case 0:
			line[at] = noise[number(sizeof(noise) - 1)];
			break;
		case 1:
			if (at >= to)
				line[at] = '\0';
			break;
		case 2:
			if (at >= to && len + 40 < size) {
				memmove(line + at + 40, line + at, len - at + 1);
				memset(line + at, noise[number(sizeof(noise) - 1)], 40);
			}
			break;
		case 3:
			if (at >= to)
				memmove(line + at, line + at + 1, len - at);
			break;
		}
		len = strlen(line);
	}
}

static void trace_write(const char *file, const char *value)
{
	int fd = tracefs_open(file, O_WRONLY | O_APPEND);

	if (fd >= 0 && write(fd, value, strlen(value)) < 0)
		errno = 0;
	close(fd);
}

static void random_definition(void)
{
	char line[4096];
	unsigned int n;
	size_t used;
	int fd;

	used = snprintf(line, sizeof(line), "%s%s", PICK(kinds), PICK(names));
	used += snprintf(line + used, sizeof(line) - used, PICK(places), path);
	for (n = number(number(20) ? 4 : 140); n && used < sizeof(line) - 256; n--)
		used += snprintf(line + used, sizeof(line) - used, PICK(arguments), 0);
	if (number(2))
		mutate(line, sizeof(line));

	count->tried++;
	fd = tracefs_open("uprobe_events", O_WRONLY | O_APPEND);
	if (fd < 0)
		_exit(1);
	if (write(fd, line, strlen(line)) > 0) {
		count->taken++;
		if (number(3)) {
			trace_write("events/fuzz/enable", "1");
			hit_all();
			trace_write("events/fuzz/enable", "0");
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
		trace_write("uprobe_events", command);
		left++;
	}
	if (file)
		fclose(file);
	return !left;
}

static void random_definitions(void)
{
	int i;

	for (i = 0; i < 10; i++)
		random_definition();
	trace_write("events/fuzz/enable", "0");
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
	FUZZ(random_definitions);
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

/* An event of the uprobe PMU, somewhat off. */
static int random_event(void)
{
	static const unsigned long long pointers[] = {
		0, 1, 4095, 1ULL << 47, 1ULL << 63, ~0ULL, 0xffff888000000000, 0xffffffff81000000,
	};
	struct perf_event_attr attr = {
		.type = pmu_type, .size = sizeof(attr),
		.config = number(2),
		.config1 = (unsigned long)path,
		.config2 = text_offset(number(NR_FUNCTIONS)),
		.inherit = number(2), .disabled = number(2),
	};
	unsigned int n, bit;

	if (!number(8))
		attr.config1 = PICK(pointers);
	if (!number(8))
		attr.config2 = PICK(pointers) & ~0x3fULL;
	if (!number(8))
		attr.config |= (unsigned long long)number(1 << 30) << number(40);
	if (!number(4)) {
		attr.sample_period = number(3);
		attr.sample_type = number(1 << 24);
	}
	for (n = number(4) ? 0 : number(4); n; n--) {
		bit = number(sizeof(attr) * 8);
		/* The path and the probed place stay ours. */
		if (bit / 64 == offsetof(struct perf_event_attr, config1) / 8 ||
		    bit / 64 == offsetof(struct perf_event_attr, config2) / 8 || bit < 32)
			continue;
		((unsigned char *)&attr)[bit / 8] ^= 1 << bit % 8;
	}
	/* It would kill, as is asked for. */
	attr.sigtrap = 0;
	return syscall(SYS_perf_event_open, &attr, number(8) ? 0 : -1,
		       number(4) ? -1 : (int)number(4), -1,
		       number(8) ? PERF_FLAG_FD_CLOEXEC : number(16));
}

static int random_prog(void)
{
	static const int types[] = {
		BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_KPROBE,
		BPF_PROG_TYPE_TRACEPOINT, BPF_PROG_TYPE_PERF_EVENT,
		BPF_PROG_TYPE_SOCKET_FILTER,
	};
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = number(2) },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = PICK(types), .insns = (unsigned long)insns, .insn_cnt = 2,
		.license = (unsigned long)"GPL", .prog_flags = number(8) ? 0 : 1 << number(6),
	};

	return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static void random_attr(void)
{
	int event = random_event();
	uint64_t hits[4];

	count->tried++;
	if (event < 0)
		return;
	count->taken++;
	hit_all();
	switch (number(6)) {
	case 0:
		ioctl(event, PERF_EVENT_IOC_ENABLE, 0);
		break;
	case 1:
		ioctl(event, PERF_EVENT_IOC_DISABLE, number(2));
		break;
	case 2:
		ioctl(event, PERF_EVENT_IOC_SET_FILTER, PICK(filters));
		break;
	case 3:
		ioctl(event, PERF_EVENT_IOC_REFRESH, number(3));
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
	if (number(4))
		close(event);
}

/* Attributes of perf events: read as they are meant, or refused. */
TEST_F_TIMEOUT(uprobe, perf_attributes, MAX_SECONDS)
{
	pmu_type = read_type("/sys/bus/event_source/devices/uprobe/type");
	self->expected = "trace_uprobe: ";
	FUZZ(random_attr);
}

/* ---- BPF ---- */

static void random_attachment(void)
{
	struct perf_event_query_bpf *query;
	union bpf_attr attr = {};
	int events[3], progs[3], link = -1, i;
	char buffer[64];

	for (i = 0; i < 3; i++) {
		events[i] = i && !number(4) ? dup(events[0]) : random_event();
		progs[i] = random_prog();
	}
	for (i = 0; i < 6; i++) {
		int event = PICK(events), prog = PICK(progs);

		switch (number(7)) {
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
			attr.link_create.target_fd = number(8) ? event : (int)number(100);
			attr.link_create.attach_type = number(8) ? BPF_PERF_EVENT : number(50);
			attr.link_create.flags = number(8) ? 0 : number(16);
			attr.link_create.perf_event.bpf_cookie = number(2);
			link = syscall(SYS_bpf, BPF_LINK_CREATE, &attr,
				       number(8) ? sizeof(attr) : number(200));
			if (link >= 0)
				count->taken++;
			break;
		case 3:
			query = calloc(1, sizeof(*query) + 16 * sizeof(query->ids[0]));
			query->ids_len = number(17);
			ioctl(event, PERF_EVENT_IOC_QUERY_BPF, query);
			free(query);
			break;
		case 4:
			memset(&attr, 0, sizeof(attr));
			attr.task_fd_query.pid = getpid();
			attr.task_fd_query.fd = event;
			attr.task_fd_query.buf = (unsigned long)buffer;
			attr.task_fd_query.buf_len = number(sizeof(buffer));
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
	if (number(4) && link >= 0)
		close(link);
}

/* Programs and links on such events, in any order, with the wrong types too. */
TEST_F_TIMEOUT(uprobe, bpf_attachments, MAX_SECONDS)
{
	pmu_type = read_type("/sys/bus/event_source/devices/uprobe/type");
	self->expected = "trace_uprobe: ";
	FUZZ(random_attachment);
}

TEST_HARNESS_MAIN
