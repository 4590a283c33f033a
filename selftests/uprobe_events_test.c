// SPDX-License-Identifier: GPL-2.0
/* What uprobe_events takes and refuses, and what error_log says of it. */
#include <fcntl.h>

#include "common.h"

#define MAX_ARGS	128
#define MAX_ARG_LEN	255

static void clear_error_log(void)
{
	tracefs_write("error_log", O_TRUNC, "");
}

/*
 * "p:test_<pid>/probe <this program>:<offset of a function>", the offset in the
 * form that the kernel compares with when a probe is removed by its place.
 */
static char *start_line_at(const void *function, char *line, size_t size)
{
	char path[256];
	uint64_t offset;

	if (upl_addr_offset(function, path, sizeof(path), &offset))
		return NULL;
	return line + snprintf(line, size, "p:test_%d/probe %s:0x%016llx", getpid(),
			       path, (unsigned long long)offset);
}

static char *start_line(char *line, size_t size)
{
	return start_line_at(start_line_at, line, size);
}

static int remove_probe(void)
{
	char line[64];

	snprintf(line, sizeof(line), "-:test_%d/probe", getpid());
	return define_event(line);
}

static int define_with_args(unsigned int nr)
{
	char line[4096], *p = start_line(line, sizeof(line));
	unsigned int i;

	for (i = 0; p && i < nr; i++)
		p += sprintf(p, " a%u=%%ip", i);
	return p ? define_event(line) : -EINVAL;
}

/* An argument of a probe whose expression has len characters. */
static int define_with_long_arg(unsigned int len)
{
	char line[4096], *p = start_line(line, sizeof(line));

	return p && sprintf(p, " a=\\\"%0*u\"", len - 3, 0) > 0 ?
		define_event(line) : -EINVAL;
}

/* Enable or disable the event of start_line(). */
static int enable(const char *on)
{
	char name[64];

	snprintf(name, sizeof(name), "events/test_%d/probe/enable", getpid());
	return tracefs_write(name, 0, on);
}

/* As many arguments as there may be are taken. */
TEST_F(uprobe, most_arguments)
{
	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	EXPECT_EQ(0, define_with_args(MAX_ARGS));
	EXPECT_EQ(0, remove_probe());
}

/* One argument more is an error with a reason, not an event without it. */
TEST_F(uprobe, too_many_arguments)
{
	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	clear_error_log();
	EXPECT_EQ(-E2BIG, define_with_args(MAX_ARGS + 1));
	EXPECT_TRUE(tracefs_has("error_log", "Too many arguments"));
	EXPECT_EQ(-ENOENT, remove_probe())
		TH_LOG("the event was made all the same");
}

/* An expression of 255 characters, as long member paths need, is taken. */
TEST_F(uprobe, longest_argument)
{
	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	EXPECT_EQ(0, define_with_long_arg(MAX_ARG_LEN));
	EXPECT_EQ(0, remove_probe());
}

/* A longer one is "too long", by its error number too. */
TEST_F(uprobe, too_long_argument)
{
	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	clear_error_log();
	EXPECT_EQ(-E2BIG, define_with_long_arg(MAX_ARG_LEN + 1));
	EXPECT_TRUE(tracefs_has("error_log", "Argument expression is too long"));
}

/* A probe of an event with several is not freed under its registration. */
TEST_F(uprobe, enabled_event_keeps_its_probes)
{
	char first[512], second[512];

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	/* Two functions that are not called meanwhile. */
	ASSERT_NE(NULL, start_line(first, sizeof(first)));
	ASSERT_NE(NULL, start_line_at(define_with_args, second, sizeof(second)));
	ASSERT_EQ(0, define_event(first));
	ASSERT_EQ(0, define_event(second));
	EXPECT_EQ(0, enable("1"));
	second[0] = '-';
	EXPECT_EQ(-EBUSY, define_event(second));
	EXPECT_EQ(0, enable("0"));
	EXPECT_EQ(0, define_event(second));
	EXPECT_EQ(0, remove_probe());
}

TEST_HARNESS_MAIN
