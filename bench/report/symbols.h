/* SPDX-License-Identifier: GPL-2.0 */
/* Names for addresses of a kernel: its symbol table and its DWARF. */
#ifndef METER_SYMBOLS_H
#define METER_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

struct place {
	const char *function;	/* inlined or not */
	const char *file;	/* relative to the kernel's source when there */
	int line;
	const char *text;	/* of that line; "" without the source */
};

void symbols_open(const char *vmlinux, const char *source);

/* The function that has @pc in its body, inlined ones not counted. */
const char *symbol_function(uint64_t pc);

/* The variable at @addr, as name or name+0xoffset; NULL if it is none. */
const char *symbol_variable(uint64_t addr);

/*
 * The place in the code that explains what happens at pcs[0], which was called
 * from pcs[1] and so on: the first that is no lock, atomic or list primitive.
 */
struct place symbol_place(const uint64_t *pcs, unsigned int n);

#endif
