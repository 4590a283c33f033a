// SPDX-License-Identifier: GPL-2.0
/* Files full of probe sites. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#ifdef __x86_64__
static const unsigned char site[] = { 0x90, 0xc3 };		/* nop; ret */
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
static const unsigned char site[] = {
	0x1f, 0x20, 0x03, 0xd5, 0xc0, 0x03, 0x5f, 0xd6,		/* nop; ret */
};
#else
static const unsigned char site[] = {};
#endif

static int fill(struct upl_sites *sites)
{
	unsigned char *text;
	unsigned int i;

	if (ftruncate(sites->fd, sites->size))
		return -errno;
	text = mmap(NULL, sites->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    sites->fd, 0);
	if (text == MAP_FAILED)
		return -errno;
	for (i = 0; i < sites->nr; i++)
		memcpy(text + (size_t)i * UPL_SITE_SIZE, site, sizeof(site));
	munmap(text, sites->size);
	return 0;
}

int upl_sites_create(struct upl_sites *sites, unsigned int nr)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int ret;

	if (!sizeof(site))
		return upl_fail(EOPNOTSUPP,
				"no probe sites for this architecture: add them to tools/lib/uprobe/sites.c");

	sites->nr = nr;
	sites->size = ((size_t)nr * UPL_SITE_SIZE + page - 1) & ~(page - 1);
	sites->fd = memfd_create("upl_sites", MFD_CLOEXEC);
	if (sites->fd < 0) {
		ret = -errno;
		return upl_fail(-ret, "cannot create a memfd: %s", strerror(-ret));
	}
	/* For the kernel it must have a path: this one ends with the process. */
	snprintf(sites->path, sizeof(sites->path), "/proc/%d/fd/%d", getpid(),
		 sites->fd);

	ret = fill(sites);
	if (ret) {
		upl_sites_destroy(sites);
		return upl_fail(-ret, "cannot write %zu bytes to a memfd: %s",
				sites->size, strerror(-ret));
	}
	return 0;
}

void upl_sites_destroy(struct upl_sites *sites)
{
	if (sites->fd >= 0)
		close(sites->fd);
	sites->fd = -1;
}

void *upl_sites_map(const struct upl_sites *sites)
{
	return mmap(NULL, sites->size, PROT_READ | PROT_EXEC, MAP_PRIVATE,
		    sites->fd, 0);
}

void upl_sites_probe(const struct upl_sites *sites, unsigned int i,
		     struct upl_probe *probe)
{
	memset(probe, 0, sizeof(*probe));
	probe->path = sites->path;
	probe->offset = (uint64_t)i * UPL_SITE_SIZE;
	probe->pid = -1;
	probe->cpu = -1;
}
