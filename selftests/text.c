// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "events.h"
#include "text.h"

static const char code[NR_FUNCTIONS][TEXT_STEP] = {
	[NOP]	= "\x90\xc3",
	[PUSH]	= "\x55\x5d\xc3",
	[STEP]	= "\x66\x0f\xef\xc0\xc3",
	[CALL]	= "\x55\xff\xd7\x5d\xc3",
	[LOAD]	= "\xf3\x0f\x6f\x07\xc3",	/* movdqu (%rdi),%xmm0; ret */
	[VALUE]	= "\xb8\x04\x03\x02\x01\xc3",
};

int text_write(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	char page[TEXT_SIZE] = "";
	int ret;

	if (fd < 0)
		return -errno;
	memcpy(page, code, sizeof(code));
	ret = write(fd, page, sizeof(page)) == sizeof(page) ? 0 : -EIO;
	close(fd);
	return ret;
}

char *text_map(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text;

	if (fd < 0)
		return NULL;
	text = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	close(fd);
	return text == MAP_FAILED ? NULL : text;
}

long text_call(const char *text, enum function function, const void *argument)
{
	return ((int (*)(const void *))(text + text_offset(function)))(argument);
}

uint64_t text_offset(enum function function)
{
	return function * TEXT_STEP;
}

int text_attach(const char *path, uint64_t offset, bool is_return)
{
	struct upl_probe probe = {
		.path = path, .offset = offset, .is_return = is_return, .pid = 0, .cpu = -1,
	};
	int fd = event_open(&probe, true);

	if (fd >= 0)
		return fd;
	errno = -fd;
	return -1;
}

uint64_t text_hits(int event)
{
	return event_count(event);
}

bool text_restored(const char *text, enum function function)
{
	int i;

	for (i = 0; i < 200; i++) {
		if (!memcmp(text + text_offset(function), code[function], TEXT_STEP))
			return true;
		usleep(10000);
	}
	return false;
}
