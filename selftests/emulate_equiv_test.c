// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions that the kernel emulates do to registers, flags and memory what
 * they do without a probe, and fault as they do without one. Random encodings
 * of each form run from random states, at the same address, first natively and
 * then probed; both outcomes must agree to the bit. x86-64.
 *
 *	UPROBE_STATES=N	states of each form (320); every hundredth once more
 *			under a debugger that single-steps
 *	UPROBE_SEED=N	another sequence of encodings and states
 *	UPROBE_FORM=S	only forms whose name contains S
 *	UPROBE_PART=K/N	only the Kth of N parts of the forms, to run N at once
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "common.h"

#ifdef __x86_64__
/* ---- the forms ---- */

enum {
	MODRM	= 1 << 0,
	MEM	= 1 << 1,	/* modrm names memory, else a register */
	EXT	= 1 << 2,	/* modrm.reg extends the opcode */
	W	= 1 << 3,	/* bit 0 of the opcode: not a byte */
	BYTE	= 1 << 4,	/* always a byte */
	QUAD	= 1 << 5,	/* always 64 bits, no prefix 66 */
	NO66	= 1 << 6,
	REXW	= 1 << 7,
	IB	= 1 << 8,
	IW	= 1 << 9,
	IZ	= 1 << 10,	/* of the operand's size, 4 bytes at most */
	IV	= 1 << 11,	/* of the operand's size */
	STACK	= 1 << 12,	/* memory at rsp */
	PUSH	= 1 << 13,	/* below it */
	FRAME	= 1 << 14,	/* memory at rbp */
	JUMP	= 1 << 15,	/* goes where its operand says */
	EA	= 1 << 16,	/* computes the address, does not access it */
	FIXED	= 1 << 17,	/* the opcode bytes are all of it */
	TWO	= 1 << 18,	/* 0f before the opcode */
};

struct form {
	const char	*name;
	uint32_t	flags;
	uint8_t		opcode, vary;	/* vary: bits that may be either */
	uint8_t		ext;
	uint8_t		bytes[4];	/* FIXED */
};

#define ALU(name, n)							\
	{ name " reg,reg", MODRM | W, (n) << 3, 3 },			\
	{ name " with memory", MODRM | W | MEM, (n) << 3, 3 },		\
	{ name " imm,acc", W | IZ, (n) << 3 | 4, 1 },			\
	{ name " imm,reg", MODRM | EXT | W | IZ, 0x80, 1, n },		\
	{ name " imm,mem", MODRM | EXT | W | IZ | MEM, 0x80, 1, n },	\
	{ name " imm8,reg", MODRM | EXT | W | IB, 0x83, 0, n },		\
	{ name " imm8,mem", MODRM | EXT | W | IB | MEM, 0x83, 0, n }

static const struct form forms[] = {
	{ "endbr64", FIXED, .bytes = { 0xf3, 0x0f, 0x1e, 0xfa } },
	{ "endbr32", FIXED, .bytes = { 0xf3, 0x0f, 0x1e, 0xfb } },
	{ "nop", MODRM | MEM | EXT | EA | TWO, 0x1f, 0, 0 },
	{ "mov reg,reg", MODRM | W, 0x88, 3 },
	{ "mov with memory", MODRM | W | MEM, 0x88, 3 },
	{ "mov imm8,reg", BYTE | IB, 0xb0, 7 },
	{ "mov imm,reg", IV, 0xb8, 7 },
	{ "mov imm,modrm reg", MODRM | EXT | W | IZ, 0xc6, 1, 0 },
	{ "mov imm,mem", MODRM | EXT | W | IZ | MEM, 0xc6, 1, 0 },
	{ "movz reg,reg", MODRM | TWO, 0xb6, 1 },
	{ "movz mem,reg", MODRM | TWO | MEM, 0xb6, 1 },
	{ "movs reg,reg", MODRM | TWO, 0xbe, 1 },
	{ "movs mem,reg", MODRM | TWO | MEM, 0xbe, 1 },
	{ "movsl reg,reg", MODRM | NO66, 0x63, 0 },
	{ "movsl mem,reg", MODRM | NO66 | MEM, 0x63, 0 },
	{ "lea", MODRM | MEM | EA, 0x8d, 0 },
	{ "push reg", QUAD | PUSH, 0x50, 7 },
	{ "push imm", QUAD | PUSH | IZ, 0x68, 0 },
	{ "push imm8", QUAD | PUSH | IB, 0x6a, 0 },
	{ "pop reg", QUAD | STACK, 0x58, 7 },
	{ "leave", QUAD | FRAME, 0xc9, 0 },
	{ "ret", QUAD | STACK | JUMP, 0xc3, 0 },
	{ "ret imm", QUAD | STACK | JUMP | IW, 0xc2, 0 },
	{ "jmp reg", QUAD | MODRM | EXT | JUMP, 0xff, 0, 4 },
	{ "jmp mem", QUAD | MODRM | EXT | JUMP | MEM, 0xff, 0, 4 },
	ALU("add", 0),
	ALU("or", 1),
	ALU("adc", 2),
	ALU("sbb", 3),
	ALU("and", 4),
	ALU("sub", 5),
	ALU("xor", 6),
	ALU("cmp", 7),
	{ "test reg,reg", MODRM | W, 0x84, 1 },
	{ "test reg,mem", MODRM | W | MEM, 0x84, 1 },
	{ "test imm,acc", W | IZ, 0xa8, 1 },
	{ "test imm,reg", MODRM | EXT | W | IZ, 0xf6, 1, 0 },
	{ "test imm,mem", MODRM | EXT | W | IZ | MEM, 0xf6, 1, 0 },
};

#define NR_FORMS	(sizeof(forms) / sizeof(forms[0]))
#define NR_CODES	32	/* encodings of a form */
#define CODE_SIZE	64

/* ---- addresses, all within the reach of a 32-bit displacement ---- */

#define PAGE		4096UL
#define CODE_AREA	0x20000000UL
#define DATA_AREA	0x30000000UL
#define DATA_PAGES	8UL
#define READABLE_PAGE	3	/* the two before are writable, the next is not there */
#define MISSING_PAGE	4
#define WINDOW		64	/* bytes around the operand that are compared */

static uint8_t *codes;		/* what is written to the file of the code area */
static uint8_t *data;		/* the data area once more, all of it writable */
static int code_fd;

/* ---- random numbers: splitmix64 ---- */

static uint64_t seed;

static uint64_t rnd(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static bool one_in(unsigned int n)
{
	return rnd() % n == 0;
}

/* Half of them where carries, signs and zeroes are. */
static uint64_t rnd_value(void)
{
	static const uint64_t edges[] = {
		0, 1, -1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
		0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000,
	};

	switch (rnd() % 4) {
	case 0:
		return edges[rnd() % (sizeof(edges) / sizeof(edges[0]))];
	case 1:
		return edges[rnd() % (sizeof(edges) / sizeof(edges[0]))] + rnd() % 3 - 1;
	default:
		return rnd();
	}
}

/* ---- encodings ---- */

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
#define NO_REG	-1

struct code {
	uint8_t		bytes[CODE_SIZE];
	unsigned int	length;
	/* Where its memory is: base + (index << scale) + disp. */
	int		base, index, scale, jump_reg;
	int64_t		disp;
};

static void emit(struct code *c, uint64_t value, unsigned int size)
{
	memcpy(c->bytes + c->length, &value, size);
	c->length += size;
}

static uint64_t rnd_place(bool valid);

/* modrm, sib and displacement of a memory operand. */
static void emit_memory(struct code *c, unsigned int reg, unsigned int rex,
			unsigned int imm_size, uint64_t at)
{
	unsigned int b = rex & 1 ? 8 : 0, x = rex & 2 ? 8 : 0;
	unsigned int mod = rnd() % 3, rm = rnd() % 8, sib = rnd();
	unsigned int base = rm, disp_size = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	int64_t disp;

	if (rm == 4) {
		base = sib & 7;
		if ((sib >> 3 & 7) + x != 4)
			c->index = (sib >> 3 & 7) + x;
		c->scale = sib >> 6 & 3;
	}
	c->base = base + b;
	emit(c, mod << 6 | (reg & 7) << 3 | rm, 1);
	if (rm == 4)
		emit(c, sib & 0xff, 1);
	disp = disp_size == 1 ? (int8_t)rnd() : (int32_t)rnd_value();
	if (mod == 0) {
		disp = 0;
		if (base == 5) {
			/* No base: an absolute or a rip-relative address. */
			disp_size = 4;
			c->base = NO_REG;
			disp = rnd_place(false);
			if (rm == 5)
				disp -= at + c->length + 4 + imm_size;
			disp = (int32_t)disp;
		}
	}
	emit(c, disp, disp_size);
	c->disp = disp;
	if (rm == 5 && mod == 0)
		c->disp += at + c->length + imm_size;
}

static void encode(struct code *c, const struct form *f, uint64_t at)
{
	unsigned int opcode = f->opcode | (f->vary & rnd()), rex = 0, size, imm;
	unsigned int reg = rnd() % 8, rm = rnd() % 8;
	bool has_rex = !one_in(3), has66 = !(f->flags & (QUAD | NO66 | FIXED)) && one_in(4);

	memset(c, 0, sizeof(*c));
	c->base = NO_REG;
	c->index = NO_REG;
	c->jump_reg = NO_REG;
	if (f->flags & FIXED) {
		memcpy(c->bytes, f->bytes, sizeof(f->bytes));
		c->length = sizeof(f->bytes);
		return;
	}
	if (has66)
		emit(c, 0x66, 1);
	if (has_rex) {
		rex = rnd() % 16;
		emit(c, 0x40 | rex, 1);
	}
	if (f->flags & TWO)
		emit(c, 0x0f, 1);
	emit(c, opcode, 1);

	size = rex & 8 ? 8 : has66 ? 2 : 4;
	if (f->flags & BYTE || (f->flags & W && !(opcode & 1)))
		size = 1;
	imm = f->flags & IB ? 1 : f->flags & IW ? 2 : f->flags & IV ? size : 0;
	if (f->flags & IZ)
		imm = f->flags & QUAD ? 4 : size < 4 ? size : 4;

	if (f->flags & EXT)
		reg = f->ext;
	if (f->flags & MEM) {
		emit_memory(c, reg, rex, imm, at);
	} else if (f->flags & MODRM) {
		emit(c, 0xc0 | reg << 3 | rm, 1);
		if (f->flags & JUMP)
			c->jump_reg = rm + (rex & 1 ? 8 : 0);
	}
	emit(c, rnd_value(), imm);

	if (f->flags & (STACK | PUSH))
		c->base = RSP;
	if (f->flags & PUSH)
		c->disp = -8;
	if (f->flags & FRAME)
		c->base = RBP;
}

/* ---- states ---- */

struct state {
	uint64_t	gpr[16];	/* as the CPU numbers them */
	uint64_t	flags;
	uint64_t	ip;
	/* If it faulted: */
	uint64_t	address;
	int		signal, si_code;
	/* Around the operand. */
	uint8_t		memory[WINDOW];
};

#define STATUS	0x8d5UL
#define DF	0x400UL
#define AC	0x40000UL

/* Load the registers from run_state, jump to its ip; on_exit() comes back. */
void run(void);
/* Where an instruction that has been executed goes on. */
void on_exit_insn(void);
/* Leaves run(); a signal handler returns to it. */
void leave_run(void);
struct state run_state;
uint64_t host_sp;
asm(
"	.pushsection .text\n"
"run:\n"
"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
"	mov %rsp, host_sp(%rip)\n"
"	push 128+run_state(%rip); popf\n"
"	mov 0+run_state(%rip), %rax; mov 8+run_state(%rip), %rcx\n"
"	mov 16+run_state(%rip), %rdx; mov 24+run_state(%rip), %rbx\n"
"	mov 32+run_state(%rip), %rsp; mov 40+run_state(%rip), %rbp\n"
"	mov 48+run_state(%rip), %rsi; mov 56+run_state(%rip), %rdi\n"
"	mov 64+run_state(%rip), %r8; mov 72+run_state(%rip), %r9\n"
"	mov 80+run_state(%rip), %r10; mov 88+run_state(%rip), %r11\n"
"	mov 96+run_state(%rip), %r12; mov 104+run_state(%rip), %r13\n"
"	mov 112+run_state(%rip), %r14; mov 120+run_state(%rip), %r15\n"
"	jmp *136+run_state(%rip)\n"
"on_exit_insn:\n"
"	mov %rax, 0+run_state(%rip); mov %rcx, 8+run_state(%rip)\n"
"	mov %rdx, 16+run_state(%rip); mov %rbx, 24+run_state(%rip)\n"
"	mov %rsp, 32+run_state(%rip); mov %rbp, 40+run_state(%rip)\n"
"	mov %rsi, 48+run_state(%rip); mov %rdi, 56+run_state(%rip)\n"
"	mov %r8, 64+run_state(%rip); mov %r9, 72+run_state(%rip)\n"
"	mov %r10, 80+run_state(%rip); mov %r11, 88+run_state(%rip)\n"
"	mov %r12, 96+run_state(%rip); mov %r13, 104+run_state(%rip)\n"
"	mov %r14, 112+run_state(%rip); mov %r15, 120+run_state(%rip)\n"
"	mov host_sp(%rip), %rsp\n"
"	pushf; pop 128+run_state(%rip)\n"
"leave_run:\n"
"	push $2; popf\n"
"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
"	ret\n"
"	.popsection\n"
);

static const int greg_of[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void on_fault(int sig, siginfo_t *info, void *context)
{
	greg_t *gregs = ((ucontext_t *)context)->uc_mcontext.gregs;
	unsigned int i;

	/* It came here with AC, if that was set. */
	__builtin_ia32_writeeflags_u64(2);
	for (i = 0; i < 16; i++)
		run_state.gpr[i] = gregs[greg_of[i]];
	run_state.flags = gregs[REG_EFL];
	run_state.ip = gregs[REG_RIP];
	run_state.signal = sig;
	run_state.si_code = info->si_code;
	run_state.address = (uint64_t)info->si_addr;
	gregs[REG_RSP] = host_sp;
	gregs[REG_RIP] = (greg_t)leave_run;
	gregs[REG_EFL] = 2;
}

/* Where a memory operand goes: mostly writable, over page ends, and the rest. */
static uint64_t rnd_place(bool valid)
{
	unsigned int kind = valid ? 31 : rnd() % 32;
	uint64_t near_end = PAGE - 9 + rnd() % 18;

	switch (kind) {
	case 0:	/* not canonical, or just not any more */
		return one_in(2) ? rnd() | 1UL << 62 : (1UL << 47) - 8 + rnd() % 16;
	case 1:	/* the kernel's */
		return 0xffff888000000000UL + rnd() % PAGE;
	case 2:	/* writable to readable */
		return DATA_AREA + (READABLE_PAGE - 1) * PAGE + near_end;
	case 3:	/* readable to missing */
		return DATA_AREA + READABLE_PAGE * PAGE + near_end;
	case 4:
		return DATA_AREA + READABLE_PAGE * PAGE + rnd() % PAGE;
	case 5:	/* missing to writable */
		return DATA_AREA + MISSING_PAGE * PAGE + near_end;
	case 6:
	case 7:
	case 8:	/* writable to writable */
		return DATA_AREA + PAGE + near_end;
	default:
		return DATA_AREA + PAGE + 64 + rnd() % (PAGE - 128);
	}
}

static uint64_t rnd_target(bool valid)
{
	if (valid || !one_in(16))
		return (uint64_t)on_exit_insn;
	return rnd_place(false);
}

static uint8_t *window_of(uint64_t place)
{
	uint64_t offset = place - DATA_AREA - 24;

	return offset > DATA_PAGES * PAGE - WINDOW ? NULL : data + offset;
}

/* A state for c, and the memory that it works on. Returns where that is. */
static uint64_t rnd_state(struct state *s, const struct code *c, const struct form *f,
			  uint64_t at, bool valid)
{
	uint64_t place = rnd_place(valid), target = rnd_target(valid), rest;
	uint8_t *window;
	unsigned int i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < 16; i++)
		s->gpr[i] = rnd_value();
	s->flags = 2 | (rnd() & (STATUS | DF));
	if (one_in(16) && !valid)
		s->flags |= AC;
	s->ip = at;

	rest = place - c->disp;
	if (c->base != NO_REG) {
		s->gpr[c->base] = rest;
		if (c->index != NO_REG && c->index != c->base)
			s->gpr[c->base] -= s->gpr[c->index] << c->scale;
	} else if (c->index != NO_REG) {
		s->gpr[c->index] = rest >> c->scale;
	}
	place = c->disp;
	if (c->base != NO_REG)
		place += s->gpr[c->base];
	if (c->index != NO_REG)
		place += s->gpr[c->index] << c->scale;
	if (c->jump_reg != NO_REG)
		s->gpr[c->jump_reg] = target;

	window = window_of(place);
	if (window) {
		for (i = 0; i < WINDOW / 8; i++) {
			uint64_t value = rnd_value();

			memcpy(window + 8 * i, &value, 8);
		}
		if (f->flags & JUMP)
			memcpy(window + 24, &target, 8);
	}
	return place;
}

static void save_memory(struct state *s, uint64_t place)
{
	uint8_t *window = window_of(place);

	if (window)
		memcpy(s->memory, window, WINDOW);
}

/* ---- what is run, twice ---- */

struct job {
	const struct form *form;
	const struct code *code;
	uint64_t	at;
	uint64_t	seed;
	unsigned int	states;
	bool		valid;		/* only what does not fault */
	pid_t		stepped;	/* a child to step, or 0 */
};

static void run_here(struct state *s)
{
	run_state = *s;
	run();
	*s = run_state;
}

/* Single-step the child once, as a debugger does. */
static bool run_stepped(pid_t pid, struct state *s)
{
	struct user_regs_struct regs;
	unsigned long long * const gpr[16] = {
		&regs.rax, &regs.rcx, &regs.rdx, &regs.rbx, &regs.rsp, &regs.rbp,
		&regs.rsi, &regs.rdi, &regs.r8, &regs.r9, &regs.r10, &regs.r11,
		&regs.r12, &regs.r13, &regs.r14, &regs.r15,
	};
	siginfo_t info;
	unsigned int i;
	int status;

	if (ptrace(PTRACE_GETREGS, pid, 0, &regs))
		return false;
	for (i = 0; i < 16; i++)
		*gpr[i] = s->gpr[i];
	regs.eflags = s->flags;
	regs.rip = s->ip;
	regs.orig_rax = -1;
	if (ptrace(PTRACE_SETREGS, pid, 0, &regs) ||
	    ptrace(PTRACE_SINGLESTEP, pid, 0, 0) ||
	    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_GETREGS, pid, 0, &regs))
		return false;
	for (i = 0; i < 16; i++)
		s->gpr[i] = *gpr[i];
	s->flags = regs.eflags;
	s->ip = regs.rip;
	s->signal = WSTOPSIG(status);
	if (s->signal != SIGTRAP) {
		if (ptrace(PTRACE_GETSIGINFO, pid, 0, &info))
			return false;
		s->si_code = info.si_code;
		s->address = (uint64_t)info.si_addr;
	}
	return true;
}

/* The same states for the same seed; out[] gets what became of them. */
static bool run_states(const struct job *job, struct state *out)
{
	unsigned int i;
	uint64_t place;

	seed = job->seed;
	for (i = 0; i < job->states; i++) {
		place = rnd_state(&out[i], job->code, job->form, job->at, job->valid);
		if (!job->stepped)
			run_here(&out[i]);
		else if (!run_stepped(job->stepped, &out[i]))
			return false;
		save_memory(&out[i], place);
	}
	return true;
}

/* ---- reports ---- */

static void print_code(const struct code *c, const struct form *f)
{
	unsigned int i;

	fprintf(stderr, "# %s:", f->name);
	for (i = 0; i < c->length; i++)
		fprintf(stderr, " %02x", c->bytes[i]);
	fprintf(stderr, "\n");
}

static void print_difference(const struct job *job, const struct state *native,
			     const struct state *probed, unsigned int nr)
{
	struct state start;
	unsigned int i;

	seed = job->seed;
	for (i = 0; i <= nr; i++)
		rnd_state(&start, job->code, job->form, job->at, job->valid);
	print_code(job->code, job->form);
	fprintf(stderr, "#%18s %18s %18s%s\n", "before", "native", "probed",
		job->stepped ? ", stepped by a debugger" : "");
#define LINE(what, x)							\
	fprintf(stderr, "# %16lx %18lx %18lx %s%s\n", (long)start.x, (long)native->x, \
		(long)probed->x, what, native->x == probed->x ? "" : " <--")
	for (i = 0; i < 16; i++) {
		static const char * const names[] = {
			"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
			"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
		};
		LINE(names[i], gpr[i]);
	}
	LINE("flags", flags);
	LINE("ip", ip);
	LINE("signal", signal);
	LINE("si_code", si_code);
	LINE("si_addr", address);
#undef LINE
	if (memcmp(native->memory, probed->memory, WINDOW))
		fprintf(stderr, "# memory differs\n");
}

/* ---- one form ---- */

static uint64_t code_address(unsigned int form, unsigned int nr)
{
	return CODE_AREA + (form * NR_CODES + nr) * CODE_SIZE;
}

static struct upl_link *probe(uint64_t at, pid_t pid)
{
	struct upl_probe probe = { .offset = at - CODE_AREA, .pid = pid, .cpu = -1 };
	struct upl_link *link = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", code_fd);
	probe.path = path;
	if (upl_attach(&probe, UPL_PERF, &link))
		fprintf(stderr, "# %s\n", upl_reason());
	return link;
}

static struct code *all_codes(void)
{
	static struct code c[NR_FORMS][NR_CODES];
	unsigned int i, j;

	seed = setting("UPROBE_SEED", 1);
	for (i = 0; i < NR_FORMS; i++)
		for (j = 0; j < NR_CODES; j++)
			encode(&c[i][j], &forms[i], code_address(i, j));
	return &c[0][0];
}

/* Encodings go to a file that is mapped at its place, data to another. */
static bool set_up(struct code *all)
{
	static const int prot[DATA_PAGES] = {
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
		PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
		PROT_READ | PROT_WRITE,
	};
	size_t size = (NR_FORMS * NR_CODES * CODE_SIZE + PAGE - 1) & ~(PAGE - 1);
	struct sigaction sa = { .sa_sigaction = on_fault,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	static uint8_t stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	void *exit_insn = on_exit_insn;
	unsigned int i;
	int data_fd;

	code_fd = memfd_create("code", 0);
	data_fd = memfd_create("data", 0);
	if (code_fd < 0 || data_fd < 0 || ftruncate(code_fd, size) ||
	    ftruncate(data_fd, DATA_PAGES * PAGE))
		return false;
	for (i = 0; i < NR_FORMS * NR_CODES; i++) {
		/* jmp *disp(%rip): goes where the last eight bytes say */
		uint8_t jump[] = { 0xff, 0x25, CODE_SIZE - 8 - 6 - all[i].length, 0, 0, 0 };

		memcpy(all[i].bytes + all[i].length, jump, sizeof(jump));
		memcpy(all[i].bytes + CODE_SIZE - 8, &exit_insn, 8);
		if (pwrite(code_fd, all[i].bytes, CODE_SIZE, i * CODE_SIZE) != CODE_SIZE)
			return false;
	}
	codes = mmap((void *)CODE_AREA, size, PROT_READ | PROT_EXEC,
		     MAP_PRIVATE | MAP_FIXED_NOREPLACE, code_fd, 0);
	data = mmap(NULL, DATA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, data_fd, 0);
	if (codes != (void *)CODE_AREA || data == MAP_FAILED)
		return false;
	for (i = 0; i < DATA_PAGES; i++) {
		void *page = (void *)(DATA_AREA + i * PAGE);

		if (mmap(page, PAGE, prot[i], MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE,
			 data_fd, i * PAGE) != page)
			return false;
	}
	return !sigaltstack(&ss, NULL) && !sigaction(SIGSEGV, &sa, NULL) &&
	       !sigaction(SIGBUS, &sa, NULL) && !sigaction(SIGILL, &sa, NULL) &&
	       !sigaction(SIGTRAP, &sa, NULL);
}

static pid_t stopped_child(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) ? pid : -1;
}

#define CHUNK	1024

/*
 * Run the job's states both ways, a chunk at a time. Returns how many differed,
 * or -1.
 */
static int compare(struct job job)
{
	static struct state native[CHUNK], probed[CHUNK];
	unsigned int left = job.states, i;
	int different = 0;

	for (; left; left -= job.states, job.seed++) {
		struct upl_link *link;
		uint64_t hits = 0;

		job.states = left < CHUNK ? left : CHUNK;
		if (!run_states(&job, native))
			return -1;
		link = probe(job.at, job.stepped ?: getpid());
		if (!link || !run_states(&job, probed))
			return -1;
		upl_count(link, &hits);
		upl_detach(link);
		if (hits != job.states) {
			fprintf(stderr, "# %lu of %u states hit the probe\n", hits, job.states);
			return -1;
		}
		for (i = 0; i < job.states; i++) {
			if (memcmp(&native[i], &probed[i], sizeof(native[i])) && !different++)
				print_difference(&job, &native[i], &probed[i], i);
		}
	}
	return different;
}

/* What a child found out about a form; shared with it. */
struct outcome {
	int	different;	/* states, or -1 */
	bool	done, has_xol_area;
};

enum mode { PLAIN, STEPPED, VALID };

/* May the operand be there without a fault? */
static bool is_valid(const struct job *job)
{
	struct state s;
	uint64_t place;

	/* No program returns over more than 32 KB: that is left to the CPU. */
	if (job->form->flags & IW && job->code->bytes[job->code->length - 1] & 0x80)
		return false;
	if (!(job->form->flags & (MEM | STACK | PUSH | FRAME)) || job->form->flags & EA)
		return true;
	seed = job->seed;
	place = rnd_state(&s, job->code, job->form, job->at, true) - DATA_AREA;
	return place < READABLE_PAGE * PAGE - 8;
}

static void check_form(unsigned int nr, const struct code *code, unsigned int states,
		       enum mode mode, struct outcome *out)
{
	/* A probe costs more than a hit: few states go to few encodings. */
	unsigned int most = states / 40 < NR_CODES ? states / 40 : NR_CODES;
	unsigned int i, codes = most < 4 ? 4 : most;
	struct job job = {
		.form = &forms[nr],
		.valid = mode == VALID,
		.states = (states + codes - 1) / codes,
	};
	int different;

	memset((void *)DATA_AREA, 0, READABLE_PAGE * PAGE);
	if (mode == STEPPED) {
		job.stepped = stopped_child();
		if (job.stepped < 0)
			return;
	}
	for (i = 0; i < codes; i++) {
		job.code = &code[nr * NR_CODES + i];
		job.at = code_address(nr, i);
		job.seed = setting("UPROBE_SEED", 1) + job.at * 0x10001;
		if (mode == VALID && !is_valid(&job))
			continue;
		different = compare(job);
		if (different < 0) {
			print_code(job.code, job.form);
			out->different = -1;
			break;
		}
		out->different += different;
	}
	out->has_xol_area = has_xol_area();
	out->done = true;
	if (job.stepped) {
		kill(job.stepped, SIGKILL);
		waitpid(job.stepped, NULL, 0);
	}
}

static const struct code *prepared(void)
{
	static struct code *code;

	if (!code) {
		code = all_codes();
		fprintf(stderr, "# UPROBE_SEED=%lu\n", setting("UPROBE_SEED", 1));
		if (!set_up(code))
			code = NULL;
	}
	return code;
}

/* In a process of its own, which has no page for single-stepping yet. */
static struct outcome in_child(unsigned int nr, const struct code *code, unsigned int states,
			       enum mode mode)
{
	struct outcome *out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0), result;
	pid_t pid = fork();
	int status;

	if (!pid) {
		check_form(nr, code, states, mode, out);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		fprintf(stderr, "# killed by signal %d\n", WTERMSIG(status));
	result = *out;
	munmap(out, sizeof(*out));
	return result;
}

static bool wanted(unsigned int form)
{
	const char *name = getenv("UPROBE_FORM"), *part = getenv("UPROBE_PART");
	unsigned int k, n;

	if (part && sscanf(part, "%u/%u", &k, &n) == 2 && n && form % n != k % n)
		return false;
	return !name || strstr(forms[form].name, name);
}

static void check_forms(struct __test_metadata *_metadata, unsigned int states, enum mode mode)
{
	const struct code *code = prepared();
	unsigned int i, nr = 0;

	ASSERT_NE(NULL, code)
		TH_LOG("cannot map the encodings at their addresses");
	for (i = 0; i < NR_FORMS; i++) {
		struct outcome out;

		if (!wanted(i))
			continue;
		nr++;
		out = in_child(i, code, states, mode);
		/* A long run shows how far it has come. */
		if (getenv("UPROBE_STATES"))
			fprintf(stderr, "# %s: %u states, %d differ%s\n", forms[i].name, states,
				out.different, mode == STEPPED ? ", stepped by a debugger" : "");
		EXPECT_TRUE(out.done)
			TH_LOG("%s: not run to the end", forms[i].name);
		EXPECT_EQ(0, out.different)
			TH_LOG("%s: not as without a probe", forms[i].name);
		if (mode == VALID) {
			EXPECT_FALSE(out.has_xol_area)
				TH_LOG("%s: single-stepped", forms[i].name);
		}
	}
	fprintf(stderr, "# %u states of each of %u forms\n", states, nr);
	EXPECT_NE(0, nr)
		TH_LOG("no form with that name");
}

/* No limit of time but that of the runner: the number of states is a parameter. */
#define LIMIT	86400

/* Registers, flags, memory and faults are the same with a probe. */
TEST_F_TIMEOUT(uprobe, emulated_forms_agree, LIMIT)
{
	REQUIRE(NEED_ROOT | NEED_PMU);
	check_forms(_metadata, setting("UPROBE_STATES", 320), PLAIN);
}

/* They are the same for a debugger that steps over the probe. */
TEST_F_TIMEOUT(uprobe, debugger_steps_emulated_forms, LIMIT)
{
	REQUIRE(NEED_ROOT | NEED_PMU);
	check_forms(_metadata, (setting("UPROBE_STATES", 320) + 99) / 100, STEPPED);
}

/* Where nothing faults, no process gets a page to step them in. */
TEST_F_TIMEOUT(uprobe, emulated_forms_are_not_stepped, LIMIT)
{
	REQUIRE(NEED_ROOT | NEED_PMU);
	check_forms(_metadata, 320, VALID);
}
#else
TEST_F(uprobe, x86_only)
{
	REQUIRE(NEED_X86_64);
}
#endif /* __x86_64__ */

TEST_HARNESS_MAIN
