/* SPDX-License-Identifier: GPL-2.0 */
/* What a case needs to know of the machine and of the kernel it runs on. */
#ifndef UPROBES_HELPERS_H
#define UPROBES_HELPERS_H

#include <stdbool.h>

enum requirement {
	NEED_ROOT	= 1 << 0,
	NEED_PMU	= 1 << 1,	/* perf's uprobe PMU */
	NEED_TRACEFS	= 1 << 2,	/* uprobe_events */
	NEED_BPF	= 1 << 3,	/* programs on perf events */
	NEED_SMP	= 1 << 4,
	NEED_X86_64	= 1 << 5,
	NEED_AVX	= 1 << 6,
};

/* All that is missing, in one line, or NULL. */
const char *missing(unsigned int requirements);

/* A file of tracefs; -1 and errno as open() does. */
int tracefs_open(const char *name, int flags);

/* Has this process the page that instructions are single-stepped in? */
bool has_xol_area(void);

/*
 * Read the kernel log from where the last call in this program or in a child
 * of it ended. Print the lines that tell of a fault, return their number. A
 * line that contains `expected` is none; NULL expects nothing.
 */
unsigned int kernel_log_faults(const char *expected);

#endif /* UPROBES_HELPERS_H */
