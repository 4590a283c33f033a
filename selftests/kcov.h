/* SPDX-License-Identifier: GPL-2.0 */
/* Where the calling task went in the kernel's instrumented files (KCOV). */
#ifndef UPROBES_KCOV_H
#define UPROBES_KCOV_H

#include <stdbool.h>
#include <stdint.h>

/* For this task alone: a child calls it anew. False where there is no KCOV. */
bool kcov_open(void);

/* Between the two, each place that is passed is noted, as often as it is. */
void kcov_begin(void);
/* Their number; *places is valid until the next kcov_begin(). */
uint64_t kcov_end(const uint64_t **places);

#endif /* UPROBES_KCOV_H */
