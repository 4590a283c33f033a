// SPDX-License-Identifier: GPL-2.0
/*
 * Return probes: who asked for a return at the entry is told of it, nobody else;
 * stacks show the callers; longjmp(), fork() and deep recursion harm nothing. x86-64.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"
#include "events.h"

#ifdef __x86_64__

#define MAX_DEPTH	64	/* pending returns of a task */

/* ---- what is probed ---- */

/*
 * A list of functions: each calls the next one, handing it what follows, and
 * returns what that returns plus one. Any function of this kind may be the last.
 */
typedef long list_fn(void *const *rest);

#define FUNCTION(name, body)					\
	ASM_FUNCTION(name, body);				\
	long name(void *const *rest)

#define CALL_NEXT	"mov (%rdi), %rax; add $8, %rdi; call *%rax\n"

/* With a frame of its own, so that the kernel can walk over it. */
#define FRAME(name)						\
	FUNCTION(name, "push %rbp; mov %rsp, %rbp\n" CALL_NEXT "inc %rax; pop %rbp; ret")

FRAME(outer);
FRAME(middle);
FRAME(inner);
FRAME(plain);
/* The next one returns for it: a tail call. */
FUNCTION(tail, "nop; mov (%rdi), %rax; add $8, %rdi; jmp *%rax");
FUNCTION(leaf, "push %rbp; mov %rsp, %rbp; .globl inside_leaf\n"
	 "inside_leaf: nop; xor %eax, %eax; pop %rbp; ret");
extern const char inside_leaf[];
/* Returns its own return address, as it stands on the stack. */
FUNCTION(look, "nop; mov (%rsp), %rax; ret");

/*
 * Calls the list jump_over, which ends with leap(): a longjmp() back to here. Then
 * it goes on with its own list, whose frames lie where those of the other were.
 */
void *const *jump_over;
void *jump_stack;
FUNCTION(jump, "push %rbp; mov %rsp, %rbp; push %rdi; push %rdi\n"
	 "mov %rsp, jump_stack(%rip)\n"
	 "mov jump_over(%rip), %rdi\n" CALL_NEXT "ud2\n"
	 "jumped: pop %rdi; pop %rdi\n" CALL_NEXT "inc %rax; pop %rbp; ret");
FUNCTION(leap, "mov jump_stack(%rip), %rsp; lea 16(%rsp), %rbp; jmp jumped");

/* Calls a list; what the kernel walks over ends here. */
FUNCTION(run, "push %rbp; xor %ebp, %ebp\n" CALL_NEXT "pop %rbp; ret");

#define RUN(...)	run((void *const []){ __VA_ARGS__ })

/* So many times that function, then the last one. */
static long run_deep(list_fn *fn, unsigned int depth, list_fn *last)
{
	void **list = malloc((depth + 1) * sizeof(*list));
	unsigned int i;
	long ret;

	for (i = 0; i < depth; i++)
		list[i] = fn;
	list[depth] = last;
	ret = run(list);
	free(list);
	return ret;
}

static long zero(void *const *rest)
{
	return 0;
}

/* ---- probing it ---- */

static int attach_to(const void *insn, bool is_return, bool inherit)
{
	static char path[256];
	struct upl_probe probe = {
		.path = path, .is_return = is_return, .pid = 0, .cpu = -1,
	};

	if (upl_addr_offset(insn, path, sizeof(path), &probe.offset))
		return -ENOENT;
	return event_open(&probe, inherit);
}

/* Of this process alone. */
static int attach_return(list_fn *fn)
{
	return attach_to(fn, true, false);
}

/* Everybody's entry: its consumer keeps the breakpoint in each process. */
static int attach_entry_of_all(list_fn *fn)
{
	char path[256];
	struct upl_probe probe = { .path = path, .pid = -1, .cpu = 0 };

	if (upl_addr_offset(fn, path, sizeof(path), &probe.offset))
		return -ENOENT;
	return event_open(&probe, false);
}

static uint64_t *counters;

/* A program counts the returns in counters[0] and stays countable when it has left. */
static int count_returns(int event)
{
	int map = counters_make(1, &counters), prog;

	if (map < 0)
		return map;
	prog = counters_prog(map, 0);
	return prog < 0 ? prog : event_set_prog(event, prog);
}

/* fn in a child: its exit status, or -1. */
static int in_child(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(fn());
	if (pid > 0)
		waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- who is told ---- */

/* Called from one place: its return address is the same each time. */
static long looked_at(void)
{
	return RUN(plain, look);
}

static long unprobed;

static int stack_is_ours(void)
{
	return looked_at() == unprobed;
}

/*
 * A return probe of one process: others are neither counted, by a program that does
 * not ask for whom it runs, nor do their stacks change; though their entry is probed.
 */
TEST_F(uprobe, filtered)
{
	int event, entry;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_BPF);
	unprobed = looked_at();
	EXPECT_EQ(1, in_child(stack_is_ours));
	event = attach_return(look);
	ASSERT_LE(0, event);
	ASSERT_EQ(0, count_returns(event));
	entry = attach_entry_of_all(look);
	ASSERT_LE(0, entry);
	EXPECT_NE(unprobed, looked_at()) TH_LOG("not probed: this proves nothing");
	EXPECT_EQ(1, counters[0]);
	EXPECT_EQ(1, in_child(stack_is_ours)) TH_LOG("the stack of a process not asked for");
	EXPECT_EQ(1, counters[0]) TH_LOG("a process not asked for is counted");
	close(event);
	close(entry);
	EXPECT_EQ(unprobed, looked_at());
}

static int call_and_count(void)
{
	int event = attach_return(look);

	if (event < 0)
		return 2;
	looked_at();
	return event_count(event) == 1;
}

/* So it is if somebody else wants the returns of that process. */
TEST_F(uprobe, filtered_beside_another)
{
	int event;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_BPF);
	event = attach_return(look);
	ASSERT_LE(0, event);
	ASSERT_EQ(0, count_returns(event));
	EXPECT_EQ(1, in_child(call_and_count));
	EXPECT_EQ(0, counters[0]);
	looked_at();
	EXPECT_EQ(1, counters[0]);
	close(event);
}

static int came, stays, leaves;

static long come_and_go(void *const *rest)
{
	came = attach_return(outer);
	close(leaves);
	return 0;
}

/* Who comes between entry and return is not told of the return; nor is who goes. */
TEST_F(uprobe, registered_in_between)
{
	REQUIRE(NEED_ROOT | NEED_PMU | NEED_BPF);
	stays = attach_return(outer);
	ASSERT_LE(0, stays);
	leaves = attach_return(outer);
	ASSERT_LE(0, leaves);
	ASSERT_EQ(0, count_returns(leaves));
	EXPECT_EQ(1, RUN(outer, come_and_go));
	ASSERT_LE(0, came);
	EXPECT_EQ(1, event_count(stays));
	EXPECT_EQ(0, event_count(came));
	EXPECT_EQ(0, counters[0]);
	/* The next call is theirs. */
	EXPECT_EQ(1, RUN(outer, zero));
	EXPECT_EQ(2, event_count(stays));
	EXPECT_EQ(1, event_count(came));
	close(stays);
	close(came);
}

static long all_go(void *const *rest)
{
	close(leaves);
	/* For some, the probe is freed and another one takes its place. */
	if (rest[0]) {
		usleep(200000);
		came = attach_return(outer);
	}
	return 0;
}

/* If all have left, and even if others have come since, the function just returns. */
TEST_F(uprobe, unregistered_in_between)
{
	REQUIRE(NEED_ROOT | NEED_PMU | NEED_BPF);
	leaves = attach_return(outer);
	ASSERT_LE(0, leaves);
	EXPECT_EQ(1, RUN(outer, all_go, NULL));

	leaves = attach_return(outer);
	ASSERT_LE(0, leaves);
	ASSERT_EQ(0, count_returns(leaves));
	EXPECT_EQ(1, RUN(outer, all_go, outer));
	ASSERT_LE(0, came);
	EXPECT_EQ(0, counters[0]);
	EXPECT_EQ(0, event_count(came));
	close(came);
}

/* ---- call chains ---- */

#define RING_PAGES	16
#define PAGE		4096UL

struct sampler {
	int				fd;
	struct perf_event_mmap_page	*page;
};

static bool sampler_start(struct sampler *s, struct perf_event_attr *attr)
{
	attr->sample_period = attr->sample_period ?: 1;
	attr->sample_type = PERF_SAMPLE_CALLCHAIN;
	attr->exclude_callchain_kernel = 1;
	s->fd = event_open_attr(attr, 0, -1);
	if (s->fd < 0)
		return false;
	s->page = mmap(NULL, (1 + RING_PAGES) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       s->fd, 0);
	return s->page != MAP_FAILED;
}

static bool sampler_at(struct sampler *s, const void *insn)
{
	char path[256];
	struct upl_probe probe = { .path = path };
	struct perf_event_attr attr;

	if (upl_addr_offset(insn, path, sizeof(path), &probe.offset))
		return false;
	attr = event_attr(&probe);
	return sampler_start(s, &attr);
}

static void sampler_stop(struct sampler *s)
{
	munmap(s->page, (1 + RING_PAGES) * PAGE);
	close(s->fd);
}

struct chain {
	unsigned int	nr;
	uint64_t	ip[30];
};

/* The next sample's chain, without marks of its context; false: there is none. */
static bool next_chain(struct sampler *s, struct chain *chain)
{
	const uint64_t *data = (uint64_t *)((char *)s->page + PAGE);
	const unsigned int words = RING_PAGES * PAGE / 8;
	struct perf_event_header header;
	uint64_t head, tail, nr, i, ip;

	/* Pairs with the kernel's smp_wmb(): records first, then the head. */
	head = __atomic_load_n(&s->page->data_head, __ATOMIC_ACQUIRE);
	for (tail = s->page->data_tail; tail < head; tail += header.size) {
		memcpy(&header, &data[tail / 8 % words], sizeof(header));
		if (header.type == PERF_RECORD_SAMPLE)
			break;
	}
	chain->nr = 0;
	if (tail < head) {
		nr = data[(tail / 8 + 1) % words];
		for (i = 0; i < nr; i++) {
			ip = data[(tail / 8 + 2 + i) % words];
			if (ip < PERF_CONTEXT_MAX && chain->nr < 30)
				chain->ip[chain->nr++] = ip;
		}
		tail += header.size;
	}
	/* Pairs with the kernel's read of the tail: read first, then given back. */
	__atomic_store_n(&s->page->data_tail, tail, __ATOMIC_RELEASE);
	return chain->nr;
}

/* A chain that a probe at that instruction sees, and only it. */
static bool chain_at(const void *insn, void *const *list, struct chain *chain)
{
	struct sampler sampler;
	struct chain more;
	bool found;

	if (!sampler_at(&sampler, insn))
		return false;
	run(list);
	found = next_chain(&sampler, chain) && !next_chain(&sampler, &more);
	sampler_stop(&sampler);
	return found;
}

static void tell(const char *what, const struct chain *chain)
{
	uintptr_t start = 0, end = 0;
	unsigned int i;

	find_xol_area(&start, &end);
	printf("# %s:", what);
	for (i = 0; i < chain->nr; i++)
		printf(chain->ip[i] >= start && chain->ip[i] < end ? " [uprobes]" : " %#llx",
		       (unsigned long long)chain->ip[i]);
	printf("\n");
	fflush(stdout);
}

#define MAX_PROBED	4

/*
 * The chain is what it is without return probes, whichever of the functions have
 * one; expected has so many entries.
 */
static void check_chains(struct __test_metadata *_metadata, const void *insn,
			 void *const *list, unsigned int nr, list_fn *const *probed,
			 unsigned int nr_probed)
{
	struct chain expected, chain;
	unsigned int mask, i, bad = 0;
	int events[MAX_PROBED];

	ASSERT_TRUE(chain_at(insn, list, &expected));
	if (expected.nr != nr)
		tell("without return probes", &expected);
	ASSERT_EQ(nr, expected.nr);
	for (mask = 1; mask < 1U << nr_probed; mask++) {
		for (i = 0; i < nr_probed; i++) {
			events[i] = mask & 1 << i ? attach_return(probed[i]) : -1;
			ASSERT_TRUE(events[i] >= 0 || !(mask & 1 << i));
		}
		ASSERT_TRUE(chain_at(insn, list, &chain));
		if (chain.nr != nr || memcmp(chain.ip, expected.ip, nr * sizeof(*chain.ip))) {
			if (!bad++) {
				TH_LOG("return probes on %#x of the functions", mask);
				tell("without return probes", &expected);
				tell("with", &chain);
			}
		}
		for (i = 0; i < nr_probed; i++) {
			if (events[i] < 0)
				continue;
			EXPECT_LE(1, event_count(events[i]))
				TH_LOG("no return: this proves nothing");
			close(events[i]);
		}
	}
	EXPECT_EQ(0, bad) TH_LOG("of %u chains", mask - 1);
}

/* Nested calls with returns pending show their callers, not the trampoline. */
TEST_F(uprobe, chain_nested)
{
	list_fn *const probed[] = { outer, middle, inner, leaf };
	void *const list[] = { outer, middle, inner, leaf };

	REQUIRE(NEED_ROOT | NEED_PMU);
	check_chains(_metadata, inside_leaf, list, 5, probed, 4);
}

/* So they do at the first instruction, where the caller is not in a frame yet. */
TEST_F(uprobe, chain_at_entry)
{
	list_fn *const probed[] = { outer, inner, leaf };
	void *const list[] = { outer, middle, inner, leaf };

	REQUIRE(NEED_ROOT | NEED_PMU);
	check_chains(_metadata, leaf, list, 5, probed, 3);
}

/* So do functions that return for others, several returns in one. */
TEST_F(uprobe, chain_tail_calls)
{
	list_fn *const probed[] = { outer, tail, inner, leaf };
	void *const list[] = { outer, tail, tail, inner, tail, leaf };

	REQUIRE(NEED_ROOT | NEED_PMU);
	check_chains(_metadata, inside_leaf, list, 4, probed, 4);
}

/* So does one function that calls itself. */
TEST_F(uprobe, chain_recursive)
{
	list_fn *const probed[] = { inner, tail };
	void *const list[] = { inner, inner, tail, inner, plain, inner, leaf };

	REQUIRE(NEED_ROOT | NEED_PMU);
	check_chains(_metadata, inside_leaf, list, 7, probed, 2);
}

/* What longjmp() left behind is not in the chain of what is called then. */
TEST_F(uprobe, chain_after_longjmp)
{
	list_fn *const probed[] = { outer };
	void *const over[] = { middle, inner, leap };
	void *const list[] = { outer, jump, leaf };

	REQUIRE(NEED_ROOT | NEED_PMU);
	jump_over = over;
	ASSERT_LE(0, attach_return(middle));
	ASSERT_LE(0, attach_return(inner));
	check_chains(_metadata, inside_leaf, list, 4, probed, 1);
}

/*
 * Nor is it if what is called then reaches further down the stack than that did, to
 * functions with return probes or without.
 */
TEST_F(uprobe, chain_deep_after_longjmp)
{
	list_fn *const probed[] = { outer };
	void *const over[] = { middle, inner, leap };
	void *const list[] = { outer, jump, plain, plain, plain, leaf };
	void *const again[] = { outer, jump, plain, plain, plain, inner, leaf };

	REQUIRE(NEED_ROOT | NEED_PMU);
	jump_over = over;
	ASSERT_LE(0, attach_return(middle));
	check_chains(_metadata, inside_leaf, list, 7, probed, 1);
	check_chains(_metadata, inside_leaf, again, 8, probed, 1);
	ASSERT_LE(0, attach_return(inner));
	check_chains(_metadata, inside_leaf, list, 7, probed, 1);
}

/* Wherever a timer interrupts calls and returns, no caller is the trampoline. */
TEST_F(uprobe, chain_at_any_time)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = 100000,	/* ns */
	};
	unsigned long samples = 0, longer = 0, bad = 0;
	time_t stop = time(NULL) + setting("RETURN_SECONDS", 2) + 1;
	uintptr_t start, end;
	struct sampler sampler;
	struct chain chain;
	unsigned int i;
	bool good;

	REQUIRE(NEED_ROOT | NEED_PMU);
	ASSERT_LE(0, attach_return(outer));
	ASSERT_LE(0, attach_return(tail));
	ASSERT_LE(0, attach_return(inner));
	RUN(outer, leaf);
	ASSERT_TRUE(find_xol_area(&start, &end));
	ASSERT_TRUE(sampler_start(&sampler, &attr));
	while (time(NULL) < stop) {
		for (i = 0; i < 100; i++)
			RUN(outer, middle, tail, inner, plain, inner, leaf);
		while (next_chain(&sampler, &chain)) {
			samples++;
			longer += chain.nr > 3;
			/* The first one is where it is, which may be the trampoline. */
			for (i = 1, good = true; i < chain.nr; i++)
				good &= chain.ip[i] < start || chain.ip[i] >= end;
			if (!good && !bad++)
				tell("first of them", &chain);
		}
	}
	sampler_stop(&sampler);
	TH_LOG("%lu samples, %lu of them with more than two callers", samples, longer);
	EXPECT_LT(0, longer);
	EXPECT_EQ(0, bad);
}

/* ---- depth ---- */

static char event_line[512], event_name[32];

static int define_return(list_fn *fn)
{
	char path[256];
	uint64_t offset;

	if (upl_addr_offset(fn, path, sizeof(path), &offset))
		return -ENOENT;
	snprintf(event_name, sizeof(event_name), "return_%d", getpid());
	snprintf(event_line, sizeof(event_line), "r:return_test/%s %s:0x%llx", event_name, path,
		 (unsigned long long)offset);
	return define_event(event_line);
}

static int enable(const char *on)
{
	char path[96];

	snprintf(path, sizeof(path), "events/return_test/%s/enable", event_name);
	return tracefs_write(path, 0, on);
}

static void remove_event(void)
{
	char line[96];

	enable("0");
	snprintf(line, sizeof(line), "-:return_test/%s", event_name);
	define_event(line);
}

/* Deeper than the kernel follows: what it omits it counts, and all calls return. */
TEST_F(uprobe, omitted)
{
	uint64_t hits, missed;
	int event, i;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_TRACEFS);
	self->expected = "omit uretprobe";
	event = attach_return(outer);
	ASSERT_LE(0, event);
	ASSERT_EQ(0, define_return(outer));
	EXPECT_EQ(0, enable("1"));
	for (i = 1; i <= 3; i++) {
		EXPECT_EQ(100, run_deep(outer, 100, zero));
		EXPECT_EQ(MAX_DEPTH * i, event_count(event));
		EXPECT_TRUE(event_profile(event_name, &hits, &missed));
		EXPECT_EQ(100 * i, hits);
		EXPECT_EQ((100 - MAX_DEPTH) * i, missed);
	}
	/* As many as it follows: none is omitted. */
	EXPECT_EQ(MAX_DEPTH, run_deep(outer, MAX_DEPTH, zero));
	EXPECT_TRUE(event_profile(event_name, &hits, &missed));
	EXPECT_EQ((100 - MAX_DEPTH) * 3, missed);
	remove_event();
	close(event);
}

/* A longjmp() over a thousand frames leaves nothing that later calls would meet. */
TEST_F(uprobe, longjmp_over_many)
{
	static void *over[1001];
	int events[2], i;

	REQUIRE(NEED_ROOT | NEED_PMU);
	self->expected = "omit uretprobe";
	events[0] = attach_return(outer);
	events[1] = attach_return(middle);
	ASSERT_LE(0, events[0]);
	ASSERT_LE(0, events[1]);
	for (i = 0; i < 1000; i++)
		over[i] = middle;
	over[1000] = leap;
	jump_over = over;
	for (i = 1; i <= 5; i++) {
		/* jump, and one that is called at the top of where they were. */
		EXPECT_EQ(2, RUN(jump, outer, zero));
		EXPECT_EQ((MAX_DEPTH + 1) * i - MAX_DEPTH, event_count(events[0]));
		EXPECT_EQ(MAX_DEPTH, run_deep(outer, MAX_DEPTH, zero));
		EXPECT_EQ((MAX_DEPTH + 1) * i, event_count(events[0]))
			TH_LOG("what is left uses up the depth");
	}
	EXPECT_EQ(0, event_count(events[1]));
}

/* ---- clones ---- */

/* Forks twice; the exit status of each tells whether it has returned as it should. */
static pid_t forked;

static long fork_twice(void *const *rest)
{
	forked = fork();
	if (!forked)
		forked = fork();
	return 0;
}

/* Returns pending at a fork, through tail calls too, come in all three processes. */
TEST_F(uprobe, forked)
{
	list_fn *const probed[] = { outer, tail, inner };
	/* As many as are followed. */
	void *list[MAX_DEPTH + 1];
	int events[3], status, i;
	long ret;
	pid_t me = getpid();

	REQUIRE(NEED_ROOT | NEED_PMU);
	for (i = 0; i < MAX_DEPTH - 1; i++)
		list[i] = probed[i % 3];
	list[i++] = outer;
	list[i] = fork_twice;
	for (i = 0; i < 3; i++) {
		events[i] = attach_to(probed[i], true, true);
		ASSERT_LE(0, events[i]);
	}
	ret = run(list);
	if (getpid() != me) {
		status = ret == 43 ? 0 : 1;
		if (forked && (waitpid(forked, &i, 0) != forked || i))
			status = 2;
		_exit(status);
	}
	EXPECT_EQ(43, ret);
	ASSERT_EQ(forked, waitpid(forked, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(3 * 22, event_count(events[0]));
	EXPECT_EQ(3 * 21, event_count(events[1]));
	EXPECT_EQ(3 * 21, event_count(events[2]));
	/* And the child's list of pending returns is empty again. */
	EXPECT_EQ(MAX_DEPTH, run_deep(outer, MAX_DEPTH, zero));
	EXPECT_EQ(3 * 22 + MAX_DEPTH, event_count(events[0]));
}

static long vfork_and_exec(void *const *rest)
{
	int status = -1;
	pid_t pid = vfork();

	if (!pid) {
		RUN(outer, zero);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	return status;
}

/* A child that borrows the memory, hits in it and executes another program. */
TEST_F(uprobe, vfork_then_exec)
{
	int events[2], i;

	REQUIRE(NEED_ROOT | NEED_PMU);
	events[0] = attach_to(outer, true, true);
	events[1] = attach_to(inner, true, true);
	ASSERT_LE(0, events[0]);
	ASSERT_LE(0, events[1]);
	for (i = 1; i <= 20; i++) {
		EXPECT_EQ(3, RUN(outer, inner, inner, vfork_and_exec));
		EXPECT_EQ(2 * i, event_count(events[0]));
		EXPECT_EQ(2 * i, event_count(events[1]));
	}
}

#else
TEST_F(uprobe, x86_only)
{
	REQUIRE(NEED_X86_64);
}
#endif /* __x86_64__ */

TEST_HARNESS_MAIN
