/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every test program shares. A program is one theme; a case is
 * TEST_F(uprobe, name), with one sentence above it on what it proves.
 */
#ifndef UPROBES_COMMON_H
#define UPROBES_COMMON_H

#include <kselftest_harness.h>
#include <uprobe/uprobe.h>

#include "helpers.h"

/* 30 seconds are few on a busy emulated machine whose kernel has sanitizers. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

/* First statement of a case. */
#define REQUIRE(requirements) do {					\
	const char *why_ = missing(requirements);			\
									\
	if (why_)							\
		SKIP(return, "%s", why_);				\
} while (0)

/*
 * The same for a fixture's setup: the case would run after a setup that returns.
 * 255 is how the harness leaves a skipped case.
 */
#define SKIP_SETUP(fmt, ...)	SKIP(_exit(255), fmt, ##__VA_ARGS__)
#define REQUIRE_SETUP(requirements) do {				\
	const char *why_ = missing(requirements);			\
									\
	if (why_)							\
		SKIP_SETUP("%s", why_);					\
} while (0)

/* Watches the kernel log: a fault fails the case that ran when it was told. */
FIXTURE(uprobe) {
	const char *expected;	/* in the kernel log; a case may set it */
};

FIXTURE_SETUP(uprobe)
{
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("reported late, by what ran before this case");
}

FIXTURE_TEARDOWN(uprobe)
{
	EXPECT_TRUE(restore_settings());
	EXPECT_EQ(0, kernel_log_faults(self->expected))
		TH_LOG("the kernel log has the whole report");
}

#endif /* UPROBES_COMMON_H */
