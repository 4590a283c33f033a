// SPDX-License-Identifier: GPL-2.0
/* A library with one marker; its semaphore as <sys/sdt.h> wants it. */
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

__extension__ unsigned short lib_hit_semaphore __attribute__((section(".probes")));

unsigned short *sdt_lib_counter(void)
{
	return &lib_hit_semaphore;
}

void sdt_lib_hit(void)
{
	STAP_PROBE(lib, hit);
}
