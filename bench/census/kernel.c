// SPDX-License-Identifier: GPL-2.0
/*
 * What a kernel would do with a probe on an instruction, said by the kernel's
 * own code: bench/census/run compiles this as that kernel's uprobes.c was.
 */
#include "arch/x86/kernel/uprobes.c"

int census_class(const u8 *bytes);

/* 'e'mulated, 's'ingle-stepped, or 'r'efused in a 64-bit process. */
int census_class(const u8 *bytes)
{
	static struct mm_struct mm;
	struct arch_uprobe auprobe = {};

	memcpy(auprobe.insn, bytes, sizeof(auprobe.insn));
	if (arch_uprobe_analyze_insn(&auprobe, &mm, 0))
		return 'r';
	return auprobe.ops->emulate ? 'e' : 's';
}
