/* SPDX-License-Identifier: GPL-2.0 */
/* From the vCPUs' notes of one window to figures, and from windows to a row. */
#ifndef METER_PROFILE_H
#define METER_PROFILE_H

#include <stdio.h>

#include "cpu.h"

struct options {
	FILE *out;
	unsigned int dominant;	/* percent of a line's writes */
	unsigned int rare;	/* percent of the hits */
	unsigned int vcpus;
	uint64_t ignore;	/* where the timer's interrupt enters the kernel */
};

extern struct options options;

struct site *site_get(uint64_t pc, uint32_t flags);
const struct site *site_by_id(uint32_t id);

void row_label_char(unsigned char c);
void row_add_window(void);
void row_finish(void);

#endif
