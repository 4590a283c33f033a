// SPDX-License-Identifier: GPL-2.0
/*
 * The watch over the kernel log, tested: the case `fault` must fail, the others
 * must pass. meta/guest runs it, in a guest, since it writes a fault there.
 */
#include <fcntl.h>

#include "common.h"

static void say(const char *text)
{
	int fd = open("/dev/kmsg", O_WRONLY);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		perror("/dev/kmsg");
	close(fd);
}

/* Chatter of the kernel is no fault. */
TEST_F(uprobe, chatter)
{
	say("<6>meta: nothing to see\n");
}

/* A warning fails the case that ran when it was printed. */
TEST_F(uprobe, fault)
{
	say("<4>WARNING: meta: printed on purpose\n");
}

/* And not the one after it. */
TEST_F(uprobe, after_fault)
{
}

/* A case may provoke what it announces. */
TEST_F(uprobe, expected_fault)
{
	self->expected = "on purpose";
	say("<4>WARNING: meta: printed on purpose\n");
}

TEST_HARNESS_MAIN
