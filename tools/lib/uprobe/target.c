// SPDX-License-Identifier: GPL-2.0
/* Functions that begin with a given instruction. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "internal.h"

/*
 * A function whose first instruction is the one to probe, on a cache line of
 * its own. The rest of the body undoes what it did and returns.
 */
#define INSN(insn, body)						\
	asm(".pushsection .text\n"					\
	    ".p2align 6\n"						\
	    ".globl upl_insn_" #insn "\n"				\
	    ".type upl_insn_" #insn ", @function\n"			\
	    "upl_insn_" #insn ":\n"					\
	    body "\n"							\
	    ".size upl_insn_" #insn ", . - upl_insn_" #insn "\n"	\
	    ".popsection")

/* The shape that the compiler gives to a function. */
upl_fn upl_insn_func;
upl_attr(noinline, noclone) void upl_insn_func(void)
{
	asm volatile("" ::: "memory");
}

#ifdef __x86_64__
upl_fn upl_insn_nop, upl_insn_nop5, upl_insn_nop10, upl_insn_push, upl_insn_endbr64,
	upl_insn_mov, upl_insn_mov_reg, upl_insn_sub, upl_insn_ret, upl_insn_lea,
	upl_insn_lea_rip, upl_insn_xor, upl_insn_test, upl_insn_jmp, upl_insn_call,
	upl_insn_pxor;

INSN(nop, "nop; ret");
INSN(nop5, ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00; ret");
INSN(nop10, ".byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0; ret");
INSN(push, "push %rbp; pop %rbp; ret");
INSN(endbr64, ".byte 0xf3, 0x0f, 0x1e, 0xfa; ret");
INSN(mov, "mov %rsp, %rbp; ret");
INSN(mov_reg, "mov %rdi, %rax; ret");
INSN(sub, "sub $8, %rsp; add $8, %rsp; ret");
INSN(ret, "ret");
INSN(lea, "lea 8(%rsp), %r10; ret");
INSN(lea_rip, "lea 0(%rip), %rax; ret");
INSN(xor, "xor %eax, %eax; ret");
INSN(test, "test %rdi, %rdi; ret");
INSN(jmp, "jmp 1f; 1: ret");
INSN(call, "call 1f; ret; 1: ret");
INSN(pxor, "pxor %xmm0, %xmm0; ret");

/* "mov %rsp, %rbp" takes the caller's frame pointer away: keep it meanwhile. */
asm(".pushsection .text\n"
	".p2align 6\n"
	".type upl_call_mov, @function\n"
	"upl_call_mov:\n"
	"push %rbp; call upl_insn_mov; pop %rbp; ret\n"
	".size upl_call_mov, . - upl_call_mov\n"
	".popsection");
upl_fn upl_call_mov;
#endif /* __x86_64__ */

#define TARGET_CALL(insn_, call, what_) {				\
	.name = #insn_, .fn = call, .insn = upl_insn_##insn_,		\
	.symbol = "upl_insn_" #insn_, .what = what_ }
#define TARGET(insn_, what_)	TARGET_CALL(insn_, upl_insn_##insn_, what_)

const struct upl_target upl_targets[] = {
#ifdef __x86_64__
	TARGET(nop, "1-byte nop: SDT markers, emulated by every kernel"),
	TARGET(nop5, "5-byte nop: SDT markers of newer <sys/sdt.h>, ftrace-style pads"),
	TARGET(nop10, "10-byte nop: the newest markers"),
	TARGET(push, "push %rbp: a function with a frame pointer"),
	TARGET(endbr64, "endbr64: any function built with -fcf-protection"),
	TARGET_CALL(mov, upl_call_mov, "mov %rsp,%rbp: the second one of a prologue"),
	TARGET(mov_reg, "mov %rdi,%rax: a function without prologue"),
	TARGET(sub, "sub $8,%rsp: a function that needs stack"),
	TARGET(ret, "ret: an empty function, or the end of one"),
	TARGET(lea, "lea 8(%rsp),%r10: a function that aligns its stack"),
	TARGET(lea_rip, "lea 0(%rip),%rax: an address relative to the instruction"),
	TARGET(xor, "xor %eax,%eax: a function that returns 0"),
	TARGET(test, "test %rdi,%rdi: a function that checks its argument"),
	TARGET(jmp, "jmp: a tail call"),
	TARGET(call, "call: a function that begins with a call"),
	TARGET(pxor, "pxor %xmm0,%xmm0: stands for all that must be single-stepped"),
#endif
	TARGET(func, "whatever the compiler makes of an empty function"),
	{}
};

const struct upl_target *upl_target_find(const char *name)
{
	const struct upl_target *target;

	for (target = upl_targets; target->name; target++) {
		if (!strcmp(target->name, name))
			return target;
	}
	return NULL;
}

const char *upl_own_file(const void *addr, uint64_t *offset)
{
	static char path[PATH_MAX];

	if (upl_addr_offset(addr, path, sizeof(path), offset))
		return NULL;
	return path;
}

int upl_target_probe(const struct upl_target *target, struct upl_probe *probe)
{
	memset(probe, 0, sizeof(*probe));
	probe->pid = -1;
	probe->cpu = -1;
	probe->path = upl_own_file(target->insn, &probe->offset);
	return probe->path ? 0 : -ENOENT;
}
