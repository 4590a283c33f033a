/* SPDX-License-Identifier: GPL-2.0 */
/* Operations that `load` measures, by the first field of a row's label. */
#ifndef METER_OPS_H
#define METER_OPS_H

#include "team.h"

/*
 * What stands in the label of a row: "entry,nop,bpf,threads".
 *
 *   entry|return  a probe of that kind; instruction (see upl_targets), consumer
 *   cost          what the rest of the system pays; operation, and the consumer
 *                 of a probe in a file that nobody maps, or none
 */
struct row {
	const char *probe, *what, *consumer, *workers;
};

/* Set up and name the operation; 0, or -1 and a message. */
int hit_prepare(const struct row *row, struct team *team);
int hit_finish(void);
int cost_prepare(const struct row *row, struct team *team);
int cost_finish(void);

#endif
