// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/* What may happen to a file while it is probed, on several file systems. x86-64. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common.h"
#include "text.h"

FIXTURE_VARIANT(uprobe) {
	const char	*fs;
	/* In an empty folder: mounts, and makes the folder `files`. */
	const char	*mount;
};

FIXTURE_VARIANT_ADD(uprobe, tmpfs) {
	"tmpfs", "mkdir files && mount -t tmpfs none files"
};

FIXTURE_VARIANT_ADD(uprobe, overlay) {
	"overlay", "mount -t tmpfs none . && cd . && mkdir low up work files && "
	"cp /tmp/text low && mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none files"
};

FIXTURE_VARIANT_ADD(uprobe, ext4) {
	"ext4", "mkdir files && dd if=/dev/zero of=image bs=1M count=8 2>/dev/null && "
	"mke2fs -F image >/dev/null 2>&1 && mount -t ext4 -o loop image files"
};

static char dir[64], path[96], other[96];

/* NULL, or why the file system is not to be had. The mounts end with the case. */
static const char *enter(const char *fs, const char *commands)
{
	static char why[64];
	char line[512];
	FILE *known;
	bool found = false;

	known = fopen("/proc/filesystems", "re");
	while (known && !found && fgets(line, sizeof(line), known))
		found = strchr(line, '\t') && !strncmp(strchr(line, '\t') + 1, fs, strlen(fs));
	if (known)
		fclose(known);
	if (!found) {
		snprintf(why, sizeof(why), "no file system %s", fs);
		return why;
	}
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return "no mount namespaces";
	/* What the case leaves there ends with it as well. */
	if (mount("none", "/tmp", "tmpfs", 0, NULL))
		return "no tmpfs";
	strcpy(dir, "/tmp/files_test.XXXXXX");
	if (!mkdtemp(dir) || chdir(dir) || text_write("/tmp/text"))
		return "no room in /tmp";
	snprintf(line, sizeof(line), "cd %s && { %s; }", dir, commands);
	if (system(line)) {
		snprintf(why, sizeof(why), "cannot mount %s", fs);
		return why;
	}
	snprintf(path, sizeof(path), "%s/files/text", dir);
	snprintf(other, sizeof(other), "%s/files/other", dir);
	if (access(path, R_OK) && text_write(path))
		return "cannot write the file";
	return NULL;
}

/* Everything that pinned the file system is gone, soon. */
static bool leave(void)
{
	char line[128];
	int i;

	snprintf(line, sizeof(line), "%s/files", dir);
	for (i = 0; i < 100; i++) {
		if (!umount(line))
			return true;
		usleep(50000);
	}
	return false;
}

#define ENTER() do {							\
	const char *why_;						\
									\
	REQUIRE(NEED_ROOT | NEED_PMU | NEED_X86_64);			\
	why_ = enter(variant->fs, variant->mount);			\
	if (why_)							\
		SKIP(return, "%s", why_);				\
} while (0)

/* Hits in mappings made before and after the probe, then the file system goes. */
TEST_F(uprobe, counted_and_let_go)
{
	char *before, *after;
	int event, ret;

	ENTER();
	before = text_map(path);
	ASSERT_NE(NULL, before);
	event = text_attach(path, text_offset(STEP), false);
	ASSERT_LE(0, event);
	ret = text_attach(path, text_offset(PUSH), true);
	ASSERT_LE(0, ret);
	after = text_map(path);
	ASSERT_NE(NULL, after);
	text_call(before, STEP, NULL);
	text_call(after, STEP, NULL);
	text_call(before, PUSH, NULL);
	text_call(after, PUSH, NULL);
	EXPECT_EQ(2, text_hits(event));
	EXPECT_EQ(2, text_hits(ret));
	munmap(before, TEXT_SIZE);
	munmap(after, TEXT_SIZE);
	close(event);
	close(ret);
	EXPECT_TRUE(leave());
}

/* A file cut under the probe: SIGBUS as without one; written anew, it is probed again. */
TEST_F(uprobe, truncated)
{
	int event, status;
	char *text;
	pid_t pid;

	ENTER();
	text = text_map(path);
	ASSERT_NE(NULL, text);
	/* As overlayfs does at the first write: from here on it is one file. */
	ASSERT_EQ(0, text_write(path));
	text = text_map(path);
	event = text_attach(path, text_offset(STEP), false);
	ASSERT_LE(0, event);
	text_call(text, STEP, NULL);
	EXPECT_EQ(0, truncate(path, 0));
	pid = fork();
	if (!pid) {
		text_call(text, STEP, NULL);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
		TH_LOG("status %#x", status);
	EXPECT_EQ(1, text_hits(event));
	EXPECT_EQ(0, close(event));

	ASSERT_EQ(0, text_write(path));
	event = text_attach(path, text_offset(STEP), false);
	ASSERT_LE(0, event);
	text = text_map(path);
	text_call(text, STEP, NULL);
	EXPECT_EQ(1, text_hits(event));
	close(event);
	EXPECT_TRUE(text_restored(text, STEP));
}

/* A file overwritten under the probe: the new text runs, and no breakpoint gets into it. */
TEST_F(uprobe, overwritten)
{
	static const char ret = 0xc3;
	int event, fd, status;
	char *text, byte = 0;
	pid_t pid;

	ENTER();
	ASSERT_EQ(0, text_write(path));
	text = text_map(path);
	event = text_attach(path, text_offset(VALUE), false);
	ASSERT_LE(0, event);
	EXPECT_EQ(TEXT_VALUE, text_call(text, VALUE, NULL));

	fd = open(path, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pwrite(fd, &ret, 1, text_offset(VALUE)));
	ASSERT_EQ(1, pread(fd, &byte, 1, text_offset(VALUE)));
	EXPECT_EQ(ret, byte);
	pid = fork();
	if (!pid) {
		/* Which of both it does is not said; that it goes on is. */
		text_call(text, VALUE, NULL);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, close(event));
	ASSERT_EQ(1, pread(fd, &byte, 1, text_offset(VALUE)));
	EXPECT_EQ(ret, byte);

	/* A probe made now, in a mapping made now, is one of the new text. */
	event = text_attach(path, text_offset(VALUE), false);
	ASSERT_LE(0, event);
	text = text_map(path);
	text_call(text, VALUE, NULL);
	EXPECT_EQ(1, text_hits(event));
	close(event);
}

/* Another file in its place: the old one stays probed, the new one is not. */
TEST_F(uprobe, replaced)
{
	int event, fresh;
	char *old, *new;

	ENTER();
	old = text_map(path);
	event = text_attach(path, text_offset(STEP), false);
	ASSERT_LE(0, event);
	ASSERT_EQ(0, text_write(other));
	ASSERT_EQ(0, rename(other, path));
	new = text_map(path);
	ASSERT_NE(NULL, new);
	text_call(new, STEP, NULL);
	EXPECT_EQ(0, text_hits(event));
	text_call(old, STEP, NULL);
	EXPECT_EQ(1, text_hits(event));

	fresh = text_attach(path, text_offset(STEP), false);
	ASSERT_LE(0, fresh);
	text_call(new, STEP, NULL);
	text_call(old, STEP, NULL);
	EXPECT_EQ(1, text_hits(fresh));
	EXPECT_EQ(2, text_hits(event));
	close(event);
	close(fresh);
	EXPECT_TRUE(text_restored(old, STEP));
	EXPECT_TRUE(text_restored(new, STEP));
}

/* A file without a name is probed until the event goes, and then goes itself. */
TEST_F(uprobe, deleted)
{
	char *text;
	int event;

	ENTER();
	text = text_map(path);
	event = text_attach(path, text_offset(STEP), false);
	ASSERT_LE(0, event);
	ASSERT_EQ(0, unlink(path));
	text_call(text, STEP, NULL);
	EXPECT_EQ(1, text_hits(event));
	munmap(text, TEXT_SIZE);
	EXPECT_EQ(-1, text_attach(path, text_offset(STEP), false));
	EXPECT_EQ(ENOENT, errno);
	close(event);
	EXPECT_TRUE(leave());
}

/* Written through a shared mapping, which the probe must not write to. */
TEST_F(uprobe, shared_mapping)
{
	char *shared, *text;
	int event, fd;

	ENTER();
	fd = open(path, O_RDWR);
	ASSERT_LE(0, fd);
	shared = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, shared);
	text = text_map(path);
	event = text_attach(path, text_offset(STEP), false);
	ASSERT_LE(0, event);
	text_call(text, STEP, NULL);
	EXPECT_EQ(1, text_hits(event));
	EXPECT_EQ(0x66, shared[text_offset(STEP)]);
	shared[TEXT_SIZE - 1] = 1;
	text_call(text, STEP, NULL);
	EXPECT_EQ(2, text_hits(event));
	close(event);
	EXPECT_TRUE(text_restored(text, STEP));
}

TEST_HARNESS_MAIN
