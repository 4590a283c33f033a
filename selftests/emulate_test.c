// SPDX-License-Identifier: GPL-2.0
/*
 * Probed instructions do what they do unprobed, and those that the kernel can
 * emulate are not single-stepped. x86-64.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "common.h"

#ifdef __x86_64__
#define ROUNDS	64

/* Registers that an instruction may read or write; its stack is its own. */
struct state {
	uint64_t gpr[15];	/* ax bx cx dx si di bp r8 ... r15 */
	uint64_t flags;
	uint8_t	 xmm[3][16];
};

/* Load the registers from *state, call insn, store them there. */
void run_insn(const void *insn, struct state *state);
asm(
"	.pushsection .text\n"
"run_insn:\n"
"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
"	push %rsi; push %rdi\n"
"	movdqu 128(%rsi), %xmm0; movdqu 144(%rsi), %xmm1; movdqu 160(%rsi), %xmm2\n"
"	push 120(%rsi); popf\n"
"	mov 0(%rsi), %rax; mov 8(%rsi), %rbx; mov 16(%rsi), %rcx\n"
"	mov 24(%rsi), %rdx; mov 40(%rsi), %rdi; mov 48(%rsi), %rbp\n"
"	mov 56(%rsi), %r8; mov 64(%rsi), %r9; mov 72(%rsi), %r10\n"
"	mov 80(%rsi), %r11; mov 88(%rsi), %r12; mov 96(%rsi), %r13\n"
"	mov 104(%rsi), %r14; mov 112(%rsi), %r15; mov 32(%rsi), %rsi\n"
"	call *(%rsp)\n"
"	pushf; push %rax\n"
"	mov 24(%rsp), %rax\n"
"	mov %rbx, 8(%rax); mov %rcx, 16(%rax); mov %rdx, 24(%rax)\n"
"	mov %rsi, 32(%rax); mov %rdi, 40(%rax); mov %rbp, 48(%rax)\n"
"	mov %r8, 56(%rax); mov %r9, 64(%rax); mov %r10, 72(%rax)\n"
"	mov %r11, 80(%rax); mov %r12, 88(%rax); mov %r13, 96(%rax)\n"
"	mov %r14, 104(%rax); mov %r15, 112(%rax)\n"
"	movdqu %xmm0, 128(%rax); movdqu %xmm1, 144(%rax); movdqu %xmm2, 160(%rax)\n"
"	pop 0(%rax); pop 120(%rax)\n"
"	pop %rdi; pop %rsi\n"
"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
"	ret\n"
"	.popsection\n"
);

/*
 * Each in 64 bytes of its own: the instruction, 16 bytes that show in %rax where
 * execution went on (as many as are copied for single-stepping), and a ret.
 */
#define INSN(bytes)							\
	".byte " bytes "; .rept 4; lea 1(%rax), %rax; .endr; ret; .p2align 6, 0xcc\n"
#define TEXT(bytes)	bytes,

/* name_code[i] is callable, name_text[i] says what it is. */
#define LIST(name, INSNS)						\
	asm(".pushsection .text; .p2align 6; " #name "_code:\n"		\
	    INSNS(INSN) ".popsection");					\
	extern const char name##_code[][64];				\
	static const char * const name##_text[] = { INSNS(TEXT) }

/* What changes nothing but ip, as assemblers write it and as they do not. */
#define NOPS(_)								\
	_("0x90")							\
	_("0x66,0x90")							\
	_("0xf3,0x90")							\
	_("0x48,0x90")							\
	_("0x0f,0x1f,0x00")						\
	_("0x0f,0x1f,0x40,0x00")					\
	_("0x0f,0x1f,0x44,0x00,0x00")					\
	_("0x66,0x0f,0x1f,0x44,0x00,0x00")				\
	_("0x0f,0x1f,0x80,0x00,0x00,0x00,0x00")				\
	_("0x0f,0x1f,0x84,0x00,0x00,0x00,0x00,0x00")			\
	_("0x66,0x0f,0x1f,0x84,0x00,0x00,0x00,0x00,0x00")		\
	_("0x66,0x2e,0x0f,0x1f,0x84,0x00,0x00,0x00,0x00,0x00")		\
	_("0x66,0x66,0x2e,0x0f,0x1f,0x84,0x00,0x00,0x00,0x00,0x00")	\
	_("0x66,0x66,0x66,0x66,0x66,0x66,0x2e,0x0f,0x1f,0x84,0x00,0x00,0x00,0x00,0x00") \
	_("0x3e,0x0f,0x1f,0x00")					\
	_("0x64,0x0f,0x1f,0x00")					\
	_("0x67,0x0f,0x1f,0x00")					\
	_("0xf3,0x0f,0x1f,0x00")					\
	_("0x0f,0x1f,0xc0")						\
	_("0x48,0x0f,0x1f,0x00")					\
	_("0x41,0x0f,0x1f,0x00")					\
	_("0x0f,0x1f,0x05,0x00,0x00,0x00,0x00")

/* Those that share an opcode with a nop and are none. */
#define XCHGS(_)							\
	_("0x49,0x90")			/* xchg %r8,%rax */		\
	_("0x41,0x90")			/* xchg %r8d,%eax */		\
	_("0x66,0x41,0x90")		/* xchg %r8w,%ax */		\
	_("0x48,0x91")			/* xchg %rcx,%rax */		\
	_("0x87,0xc0")			/* xchg %eax,%eax: clears the upper half */

/* Those whose last opcode byte means something else without a VEX prefix. */
#define AVX(_)								\
	_("0xc5,0xf1,0xeb,0xc2")	/* vpor: eb is jmp */		\
	_("0xc5,0xf1,0xe8,0xc2")	/* vpsubsb: e8 is call */	\
	_("0xc5,0xf1,0xea,0xc2")	/* vpminsw: ea is ljmp */	\
	_("0xc5,0xf0,0xc2,0xc2,0x00")	/* vcmpps: c2 is ret */		\
	_("0xc5,0xf9,0x70,0xc2,0x1b")	/* vpshufd: 70 is jo */		\
	_("0xc5,0xf1,0x74,0xc2")	/* vpcmpeqb: 74 is je */	\
	_("0xc5,0xf1,0xef,0xc2")	/* vpxor: ef is out */		\
	_("0xc5,0xf9,0x6f,0xc2")	/* vmovdqa: 6f is outs */	\
	_("0xc5,0xf1,0xfe,0xc2")	/* vpaddd: fe is inc */

/* Those that a processor refuses. */
#define LOCKED(_)							\
	_("0xf0,0x90")							\
	_("0xf0,0x0f,0x1f,0x00")					\
	_("0x0f,0x0b,0x78,0x65,0x6e,0x90")	/* ud2, "xen": a prefix to the decoder */

LIST(nops, NOPS);
LIST(xchgs, XCHGS);
LIST(avx, AVX);
LIST(locked, LOCKED);

#define for_each_insn(i, list)						\
	for (i = 0; i < sizeof(list##_text) / sizeof(list##_text[0]); i++)

/* What became of a probed instruction; shared with the child that ran it. */
struct outcome {
	int		attach;		/* what upl_attach() returned */
	bool		done;
	bool		stepped;
	uint64_t	hits;
	struct state	states[ROUNDS];
};

/* The same states in every run: a linear congruential generator. */
static void random_states(struct state *states)
{
	uint64_t seed = 0x9e3779b97f4a7c15;
	unsigned int i, j;

	for (i = 0; i < ROUNDS; i++) {
		for (j = 0; j < sizeof(*states) / 8; j++) {
			seed = seed * 6364136223846793005 + 1442695040888963407;
			memcpy((uint64_t *)&states[i] + j, &seed, 8);
		}
		/* Status flags only, and bit 1, which is always set. */
		states[i].flags = (states[i].flags & 0x8d5) | 2;
	}
}

static void run_all(const void *code, struct state *states)
{
	unsigned int i;

	random_states(states);
	for (i = 0; i < ROUNDS; i++)
		run_insn(code, &states[i]);
}

/* In a process of its own, which has no page for single-stepping yet. */
static void run_probed(const void *code, struct outcome *out)
{
	struct upl_probe probe = { .pid = getpid(), .cpu = -1 };
	struct upl_link *link;
	char path[256];

	probe.path = path;
	out->attach = upl_addr_offset(code, path, sizeof(path), &probe.offset);
	if (!out->attach)
		out->attach = upl_attach(&probe, UPL_PERF, &link);
	if (out->attach) {
		fprintf(stderr, "# %s\n", upl_reason());
		return;
	}
	run_all(code, out->states);
	out->stepped = has_xol_area();
	upl_count(link, &out->hits);
	upl_detach(link);
	out->done = true;
}

static struct outcome *outcome(const void *code)
{
	static struct outcome *out;
	int status;
	pid_t pid;

	if (!out)
		out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(out, 0, sizeof(*out));
	pid = fork();
	if (!pid) {
		run_probed(code, out);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		fprintf(stderr, "# killed by signal %d\n", WTERMSIG(status));
	return out;
}

static void check_same(struct __test_metadata *_metadata, const char *text,
		       const void *code)
{
	struct state native[ROUNDS];
	struct outcome *out;

	run_all(code, native);
	out = outcome(code);
	EXPECT_EQ(0, out->attach)
		TH_LOG("%s: cannot be probed", text);
	if (out->attach)
		return;
	EXPECT_TRUE(out->done)
		TH_LOG("%s: the probed program died", text);
	EXPECT_EQ(ROUNDS, out->hits)
		TH_LOG("%s: hits lost", text);
	EXPECT_EQ(0, memcmp(native, out->states, sizeof(native)))
		TH_LOG("%s: other registers or flags than without a probe", text);
}

#define CHECK_SAME(list) do {						\
	unsigned int i_;						\
									\
	for_each_insn(i_, list)						\
		check_same(_metadata, list##_text[i_], list##_code[i_]);	\
} while (0)

/* Nops of every length, with random registers as operands, change nothing. */
TEST_F(uprobe, nops_do_nothing)
{
	REQUIRE(NEED_ROOT | NEED_PMU);
	CHECK_SAME(nops);
}

/* Nops of every length are emulated: no process gets a page to step them in. */
TEST_F(uprobe, nops_are_not_stepped)
{
	unsigned int i;

	REQUIRE(NEED_ROOT | NEED_PMU);
	for_each_insn(i, nops) {
		struct outcome *out = outcome(nops_code[i]);

		EXPECT_TRUE(out->done)
			TH_LOG("%s: not run", nops_text[i]);
		EXPECT_FALSE(out->stepped)
			TH_LOG("%s: single-stepped", nops_text[i]);
	}
}

/* An exchange with opcode 90 swaps its registers under a probe. */
TEST_F(uprobe, xchg_swaps)
{
	REQUIRE(NEED_ROOT | NEED_PMU);
	CHECK_SAME(xchgs);
}

/* AVX instructions are not taken for branches of the same opcode byte. */
TEST_F(uprobe, avx_computes)
{
	REQUIRE(NEED_ROOT | NEED_PMU | NEED_AVX);
	CHECK_SAME(avx);
}

/* An exchange is single-stepped: the way to tell, used above, can tell. */
TEST_F(uprobe, xchg_is_stepped)
{
	struct outcome *out;

	REQUIRE(NEED_ROOT | NEED_PMU);
	out = outcome(xchgs_code[3]);
	EXPECT_TRUE(out->done);
	EXPECT_TRUE(out->stepped);
}

/* ---- where instructions are stepped ---- */

#define NR_XCHGS	(sizeof(xchgs_text) / sizeof(xchgs_text[0]))
#define THREADS		2

static pthread_barrier_t step_done;

struct stepper {
	unsigned int	insn;
	struct state	states[ROUNDS];
};

/* The same instruction again and again, at the same time as another thread its own. */
static void *step_own(void *arg)
{
	struct stepper *s = arg;
	unsigned int i;

	random_states(s->states);
	for (i = 0; i < ROUNDS; i++) {
		run_insn(xchgs_code[s->insn], &s->states[i]);
		pthread_barrier_wait(&step_done);
	}
	return NULL;
}

/* A thread that steps one instruction after another steps each, and no other thread's. */
TEST_F(uprobe, steps_in_turn)
{
	static struct state native[NR_XCHGS][ROUNDS], probed[NR_XCHGS][ROUNDS];
	static struct stepper steppers[THREADS] = { { .insn = 0 }, { .insn = 2 } };
	struct upl_probe probe = { .pid = getpid(), .cpu = -1 };
	struct upl_link *links[NR_XCHGS];
	pthread_t threads[THREADS];
	unsigned int i, round;
	char path[256];

	REQUIRE(NEED_ROOT | NEED_PMU);
	for (i = 0; i < NR_XCHGS; i++) {
		run_all(xchgs_code[i], native[i]);
		random_states(probed[i]);
	}
	probe.path = path;
	for (i = 0; i < NR_XCHGS; i++) {
		ASSERT_EQ(0, upl_addr_offset(xchgs_code[i], path, sizeof(path), &probe.offset));
		ASSERT_EQ(0, upl_attach(&probe, UPL_PERF, &links[i]));
	}
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < NR_XCHGS; i++)
			run_insn(xchgs_code[i], &probed[i][round]);
	}
	EXPECT_EQ(0, memcmp(native, probed, sizeof(native)));

	ASSERT_EQ(0, pthread_barrier_init(&step_done, NULL, THREADS));
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, step_own, &steppers[i]));
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, memcmp(native[steppers[i].insn], steppers[i].states,
				    sizeof(native[0])))
			TH_LOG("thread %u", i);
	}
	upl_detach_all(links, NR_XCHGS);
}

/* A nop that faults without a probe (lock, ud2) is not emulated but refused. */
TEST_F(uprobe, locked_nop_is_refused)
{
	unsigned int i;

	REQUIRE(NEED_ROOT | NEED_PMU);
	for_each_insn(i, locked) {
		struct outcome *out = outcome(locked_code[i]);

		EXPECT_NE(0, out->attach)
			TH_LOG("can be probed: %s", locked_text[i]);
	}
}
#else
TEST_F(uprobe, x86_only)
{
	REQUIRE(NEED_X86_64);
}
#endif /* __x86_64__ */

TEST_HARNESS_MAIN
