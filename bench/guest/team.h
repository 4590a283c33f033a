/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A team of workers, one pinned to each vCPU, that perform an operation strictly
 * in turn, or freely if asked.  They wait muted, so the meter sees the operations and nothing else.
 */
#ifndef METER_TEAM_H
#define METER_TEAM_H

#include <stdbool.h>

struct team {
	unsigned int workers;
	bool processes;			/* or threads of one */
	bool free;			/* no turns within a window */
	unsigned int windows;
	unsigned int rounds;		/* operations per worker and window */
	/*
	 * One operation.  It unmutes the vCPU, works, marks the hit and mutes
	 * the vCPU again, so that it decides what exactly is measured.
	 */
	void (*op)(unsigned int worker, void *data);
	void *data;
};

/* Measure under @label; false when a worker could not run or failed. */
bool team_run(const struct team *team, const char *label);

/* Memory that workers share, be they threads or processes. */
void *team_shared_memory(unsigned long size);

#endif
