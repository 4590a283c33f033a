// SPDX-License-Identifier: GPL-2.0
/* A 32-bit program without library: 1,000 calls of each function, exit 42. */

#define FUNCTION(name, body)						\
	asm(".pushsection .text; .balign 16; .globl " #name ";"		\
	    ".type " #name ", @function; " #name ": " body "; ret;"	\
	    ".size " #name ", . - " #name "; .popsection");		\
	int name(void)

int word = 7;

FUNCTION(on_nop, "nop; mov $1, %eax");
FUNCTION(on_push, "push %ebp; pop %ebp; mov $2, %eax");
FUNCTION(on_step, "pxor %xmm0, %xmm0; mov $3, %eax");
FUNCTION(on_load, "mov word, %eax");

__attribute__((noreturn, used)) static void run(void)
{
	int i, sum = 0;

	for (i = 0; i < 1000; i++)
		sum += on_nop() + on_push() + on_step() + on_load();
	sum = sum == 13000 ? 42 : 1;
	asm volatile("int $0x80" : : "a" (1), "b" (sum));
	__builtin_unreachable();
}

asm(".globl _start; _start: and $-16, %esp; call run");
