// SPDX-License-Identifier: GPL-2.0
/* The table of instructions seen.  Used at translation only, under a lock. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "profile.h"

/*
 * Sites are handed to QEMU as callback data and never move or go.  Identifiers
 * start at 1.  The lock protects nr_sites and the hash table; a site itself is
 * constant from the moment it is handed out.
 */
static struct site sites[MAX_SITES];
static uint32_t nr_sites = 1;
static uint32_t index_by_hash[2 * MAX_SITES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct site *site_get(uint64_t pc, uint32_t flags)
{
	uint64_t h = (pc ^ (uint64_t)flags << 56) * 0x9e3779b97f4a7c15ULL;
	uint32_t i = h >> 40, *id;
	struct site *site;

	pthread_mutex_lock(&lock);
	for (;; i++) {
		id = &index_by_hash[i & (2 * MAX_SITES - 1)];
		site = &sites[*id];
		if (!*id || (site->pc == pc && site->flags == flags))
			break;
	}
	if (!*id) {
		if (nr_sites == MAX_SITES) {
			fprintf(stderr, "meter: more than %u instructions\n", MAX_SITES);
			exit(1);
		}
		*id = nr_sites++;
		site = &sites[*id];
		*site = (struct site) { .pc = pc, .id = *id, .flags = flags };
	}
	pthread_mutex_unlock(&lock);
	return site;
}

const struct site *site_by_id(uint32_t id)
{
	return &sites[id];
}
