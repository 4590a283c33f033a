// SPDX-License-Identifier: GPL-2.0
/* What the meter must know of an instruction: decoded once, at translation. */
#include <stdbool.h>
#include <string.h>

#define METER_PLUGIN
#include "insn.h"
#include "marker.h"

#define KERNEL_START	0xffff800000000000ULL

static bool is_legacy_prefix(uint8_t b)
{
	switch (b) {
	case 0x26: case 0x2e: case 0x36: case 0x3e:
	case 0x64 ... 0x67:
	case 0xf0: case 0xf2: case 0xf3:
		return true;
	}
	return false;
}

unsigned int insn_flags(uint64_t pc, const uint8_t *bytes, size_t size)
{
	unsigned int flags = pc >= KERNEL_START ? INSN_KERNEL : 0;
	bool lock = false, rep = false, has_modrm;
	unsigned int reg = 0, mod = 0;
	size_t i = 0;

	for (; i < size && is_legacy_prefix(bytes[i]); i++) {
		lock |= bytes[i] == 0xf0;
		rep |= bytes[i] == 0xf2 || bytes[i] == 0xf3;
	}
	if (i < size && (bytes[i] & 0xf0) == 0x40)	/* REX */
		i++;
	if (i >= size)
		return flags;

	has_modrm = i + 1 < size;
	if (has_modrm) {
		mod = bytes[i + 1] >> 6;
		reg = bytes[i + 1] >> 3 & 7;
	}

	switch (bytes[i]) {
	case 0x86: case 0x87:		/* xchg: locked without a prefix */
		lock |= has_modrm && mod != 3;
		break;
	case 0xa4 ... 0xa7: case 0xaa ... 0xaf: case 0x6c ... 0x6f:
		flags |= rep ? INSN_REP : 0;
		break;
	case 0xe8:
		flags |= INSN_CALL;
		break;
	case 0xff:
		if (has_modrm && reg == 2)
			flags |= INSN_CALL;
		break;
	case 0xcf:
		flags |= INSN_IRET;
		break;
	case 0xc2: case 0xc3:
		flags |= INSN_RET;
		break;
	}
	return flags | (lock ? INSN_ATOMIC : 0);
}

uint32_t insn_marker(const uint8_t *bytes, size_t size)
{
	static const uint8_t nop[] = { 0x0f, 0x1f, 0x80 };
	uint32_t imm;

	if (size != 7 || memcmp(bytes, nop, sizeof(nop)))
		return 0;
	memcpy(&imm, bytes + sizeof(nop), sizeof(imm));
	return imm > METER_MAGIC && imm <= METER_LAST ? imm : 0;
}
