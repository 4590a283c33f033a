/* SPDX-License-Identifier: GPL-2.0 */
/* What a case needs to know of the machine and of the kernel it runs on. */
#ifndef UPROBES_HELPERS_H
#define UPROBES_HELPERS_H

#include <stdbool.h>
#include <stdint.h>

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

/* A number that the environment sets. */
long setting(const char *name, long otherwise);

/* Is it ten times as slow as others, because it checks each access? */
bool has_sanitizers(void);

/* Write text to a file that is there, one write. */
bool write_file(const char *path, const char *text);

/*
 * Write a setting of the system, a file that can be read as well. The fixture's
 * teardown gives all of them back what they had before, by restore_settings().
 */
bool write_setting(const char *path, const char *text);
bool restore_settings(void);

/* Seconds, of a clock that no one sets. */
double now(void);

/* Set failslab's and fail_page_alloc's file of that name; false: not both are there. */
bool set_fault(const char *setting, const char *value);

/* A file of tracefs; -1 and errno as open() does. */
int tracefs_open(const char *name, int flags);
/* Write a line to it; flags beside O_WRONLY. 0 or -errno. */
int tracefs_write(const char *name, int flags, const char *line);
/* Contains it that text? */
bool tracefs_has(const char *name, const char *text);
/* Add a line to uprobe_events; without O_APPEND all that is there would go. */
int define_event(const char *line);

/* The page that this process single-steps in, with the trampoline at its start. */
bool find_xol_area(uintptr_t *start, uintptr_t *end);
bool has_xol_area(void);

/*
 * Read the kernel log from where the last call in this program or in a child
 * of it ended. Print the lines that tell of a fault, return their number. A
 * line that contains `expected` is none; NULL expects nothing.
 */
unsigned int kernel_log_faults(const char *expected);

/* A function whose instructions are just these. */
#define ASM_FUNCTION(name, body)				\
	asm(".pushsection .text\n"				\
	    ".balign 16\n"					\
	    ".globl " #name "\n"				\
	    ".type " #name ", @function\n"			\
	    #name ":\n" body "\n"				\
	    ".size " #name ", . - " #name "\n"			\
	    ".popsection\n")

#endif /* UPROBES_HELPERS_H */
