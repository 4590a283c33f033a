// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <linux/kcov.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kcov.h"

#define WORDS	(1 << 17)	/* the rest of a longer way is not noted */

static uint64_t *area;		/* the number, then the places */

bool kcov_open(void)
{
	int fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	area = MAP_FAILED;
	if (!ioctl(fd, KCOV_INIT_TRACE, (unsigned long)WORDS))
		area = mmap(NULL, WORDS * sizeof(*area), PROT_READ | PROT_WRITE,
			    MAP_SHARED, fd, 0);
	/* The descriptor stays: closing it is the end. */
	if (area != MAP_FAILED && !ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
		return true;
	close(fd);
	return false;
}

void kcov_begin(void)
{
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
}

uint64_t kcov_end(const uint64_t **places)
{
	*places = area + 1;
	return __atomic_load_n(&area[0], __ATOMIC_RELAXED);
}
