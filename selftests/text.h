/* SPDX-License-Identifier: GPL-2.0 */
/* A file of probed functions, on whatever file system a case wants it. x86-64. */
#ifndef UPROBES_TEXT_H
#define UPROBES_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#define TEXT_SIZE	4096
#define TEXT_STEP	64	/* from one function to the next */

enum function {
	NOP,	/* emulated: nop; ret */
	PUSH,	/* emulated, writes the stack: push %rbp; pop %rbp; ret */
	STEP,	/* single-stepped: pxor %xmm0,%xmm0; ret */
	CALL,	/* calls its argument, a function without arguments */
	LOAD,	/* loads from its argument, an address, single-stepped */
	VALUE,	/* returns TEXT_VALUE: mov $TEXT_VALUE,%eax; ret */
	NR_FUNCTIONS
};

#define TEXT_VALUE	0x01020304

/* Make or overwrite the file. 0 or -errno. */
int text_write(const char *path);

/* Map it private and executable; NULL and errno on failure. */
char *text_map(const char *path);

/* Call a function of a mapping. */
long text_call(const char *text, enum function function, const void *argument);

/* The probe's offset in the file. */
uint64_t text_offset(enum function function);

/*
 * A perf event that counts the probe's hits in the caller and the children and
 * threads that it starts from now on: one system call. The descriptor, or -1
 * and errno.
 */
int text_attach(const char *path, uint64_t offset, bool is_return);

/* What the event has counted; close() detaches. */
uint64_t text_hits(int event);

/*
 * Wait until a function's text is that of the file: a removal that found no memory
 * is tried again, first after 0.1 s. It does not call the function, since a hit
 * would take away what was left there. False after two seconds.
 */
bool text_restored(const char *text, enum function function);

#endif /* UPROBES_TEXT_H */
