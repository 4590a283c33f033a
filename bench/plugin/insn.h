/* SPDX-License-Identifier: GPL-2.0 */
#ifndef METER_INSN_H
#define METER_INSN_H

#include <stddef.h>
#include <stdint.h>

enum insn_flag {
	INSN_KERNEL	= 1 << 0,	/* address in the upper half */
	INSN_ATOMIC	= 1 << 1,	/* locked, or xchg with memory */
	INSN_CALL	= 1 << 2,
	INSN_RET	= 1 << 3,
	INSN_REP	= 1 << 4,	/* string instruction, one round at a time */
	INSN_IRET	= 1 << 5,
	INSN_IGNORED	= 1 << 6,	/* first of an interrupt not to count */
};

/* Flags of the x86-64 instruction of @size bytes at virtual address @pc. */
unsigned int insn_flags(uint64_t pc, const uint8_t *bytes, size_t size);

/* The message of a marker nop; 0 when the instruction is none. */
uint32_t insn_marker(const uint8_t *bytes, size_t size);

#endif
