// SPDX-License-Identifier: GPL-2.0
/* The operation "hit a probe". */
#include <stdio.h>
#include <string.h>

#include <uprobe/uprobe.h>

#include "../plugin/marker.h"
#include "ops.h"

static const struct upl_target *target;
static struct upl_link *probed;

static void op_hit(unsigned int worker, void *data)
{
	METER_MARK(METER_UNMUTE);
	target->fn();
	METER_MARK(METER_HIT);
	METER_MARK(METER_MUTE);
}

int hit_prepare(const struct row *row, struct team *team)
{
	int consumer = upl_consumer_find(row->consumer);
	struct upl_probe probe;

	target = upl_target_find(row->what);
	if (!target) {
		fprintf(stderr, "load: unknown instruction '%s'\n", row->what);
		return -1;
	}
	if (strcmp(row->probe, "entry") && strcmp(row->probe, "return")) {
		fprintf(stderr, "load: '%s' is neither entry, return nor cost\n",
			row->probe);
		return -1;
	}
	if (consumer < 0 || upl_target_probe(target, &probe))
		goto fail;
	probe.is_return = !strcmp(row->probe, "return");
	if (upl_attach(&probe, consumer, &probed))
		goto fail;
	if (consumer != UPL_NONE && upl_check_fires(probed, target->fn)) {
		upl_detach(probed);
		goto fail;
	}
	team->op = op_hit;
	return 0;
fail:
	fprintf(stderr, "load: %s\n", upl_reason());
	return -1;
}

int hit_finish(void)
{
	if (!upl_detach(probed))
		return 0;
	fprintf(stderr, "load: %s\n", upl_reason());
	return -1;
}
