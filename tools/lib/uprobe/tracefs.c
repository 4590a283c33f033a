// SPDX-License-Identifier: GPL-2.0
/*
 * Probes defined in uprobe_events and, for UPL_FTRACE, enabled in a trace
 * instance of this process, so that nobody else's trace is disturbed.
 *
 * One attach call makes one group, upl_<pid>_<number>, which one write enables
 * or disables. Event names are unique too: uprobe_profile shows no groups.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <unistd.h>

#include "internal.h"

#define PREFIX	"upl_"

struct upl_group {
	unsigned int		number;
	unsigned int		alive;		/* events defined */
	unsigned int		leaving;	/* of those, in this removal */
	bool			disabled;	/* all of them, by one write */
	enum upl_consumer	consumer;
};

static const char *root;
static unsigned int next_group, next_event;
static unsigned int instance_users;

static int find_root(void)
{
	static const char * const places[] = {
		"/sys/kernel/tracing", "/sys/kernel/debug/tracing",
	};
	struct statfs fs;
	unsigned int i;

	for (i = 0; !root && i < UPL_ARRAY_SIZE(places); i++) {
		/* The path through debugfs mounts itself when it is looked into. */
		if (!statfs(places[i], &fs) && fs.f_type == TRACEFS_MAGIC)
			root = places[i];
	}
	if (!root)
		return upl_fail(ENOENT, "no tracefs: mount -t tracefs nodev /sys/kernel/tracing");
	return 0;
}

/* A negative errno, without a reason: the caller knows what it was for. */
static upl_attr(format(printf, 3, 4))
int write_file(int flags, const char *text, const char *fmt, ...)
{
	char name[PATH_MAX], path[PATH_MAX + 64];
	va_list ap;
	int fd, ret = 0;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s/%s", root, name);

	fd = open(path, O_WRONLY | O_CLOEXEC | flags);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* O_APPEND: truncation would remove everybody's probes. */
static int write_definition(const char *line)
{
	return write_file(O_APPEND, line, "uprobe_events");
}

static int remove_event(pid_t pid, unsigned int group, unsigned int event)
{
	char line[128];

	snprintf(line, sizeof(line), "-:" PREFIX "%d_%u/" PREFIX "%d_%u\n",
		 pid, group, pid, event);
	return write_definition(line);
}

static int instance_path(char *path, size_t size, pid_t pid)
{
	return snprintf(path, size, "%s/instances/" PREFIX "%d", root, pid);
}

/* What a killed process left behind. */
static void remove_stale(void)
{
	unsigned int group, event;
	char path[PATH_MAX], *line = NULL;
	size_t len = 0;
	FILE *file;
	int pid;

	snprintf(path, sizeof(path), "%s/uprobe_events", root);
	file = fopen(path, "re");
	if (!file)
		return;

	while (getline(&line, &len, file) > 0) {
		if (sscanf(line, "%*[pr]:" PREFIX "%d_%u/" PREFIX "%*d_%u",
			   &pid, &group, &event) != 3)
			continue;
		if (!kill(pid, 0) || errno != ESRCH)
			continue;
		instance_path(path, sizeof(path), pid);
		rmdir(path);
		remove_event(pid, group, event);
	}
	free(line);
	fclose(file);
}

static int instance_get(unsigned int users)
{
	char path[PATH_MAX];
	int err;

	if (!instance_users) {
		instance_path(path, sizeof(path), getpid());
		if (mkdir(path, 0700) && errno != EEXIST) {
			err = errno;
			return upl_fail(err, "cannot create %s: %s", path,
					strerror(err));
		}
	}
	instance_users += users;
	return 0;
}

static void instance_put(unsigned int users)
{
	char path[PATH_MAX];

	instance_users -= users;
	if (!instance_users) {
		instance_path(path, sizeof(path), getpid());
		rmdir(path);
	}
}

static int enable(const struct upl_group *group, const char *value)
{
	pid_t pid = getpid();

	return write_file(O_TRUNC, value,
			  "instances/" PREFIX "%d/events/" PREFIX "%d_%u/enable",
			  pid, pid, group->number);
}

static int disable_one(const struct upl_link *link)
{
	pid_t pid = getpid();

	return write_file(O_TRUNC, "0",
			  "instances/" PREFIX "%d/events/" PREFIX "%d_%u/" PREFIX "%d_%u/enable",
			  pid, pid, link->group->number, pid, link->event);
}

static int define_fail(int err, const struct upl_probe *probe)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return upl_fail(err, "not allowed to write %s/uprobe_events: run as root",
				root);
	case ENOENT:
		return upl_fail(err,
				"cannot define a probe at %s:%#llx: no such file, or a kernel without CONFIG_UPROBE_EVENTS=y",
				probe->path, (unsigned long long)probe->offset);
	default:
		return upl_fail(err,
				"cannot define a probe at %s:%#llx (%s): see the end of %s/error_log",
				probe->path, (unsigned long long)probe->offset,
				strerror(err), root);
	}
}

static int define_one(struct upl_group *group, const struct upl_probe *probe,
		      struct upl_link *link)
{
	char line[PATH_MAX + 256], ref_ctr[32] = "";
	pid_t pid = getpid();
	int ret;

	link->event = next_event++;
	if (probe->ref_ctr_offset)
		snprintf(ref_ctr, sizeof(ref_ctr), "(%#llx)",
			 (unsigned long long)probe->ref_ctr_offset);
	snprintf(line, sizeof(line),
		 "%c:" PREFIX "%d_%u/" PREFIX "%d_%u %s:%#llx%s\n",
		 probe->is_return ? 'r' : 'p', pid, group->number, pid,
		 link->event, probe->path, (unsigned long long)probe->offset, ref_ctr);

	ret = write_definition(line);
	if (ret)
		return define_fail(-ret, probe);
	link->group = group;
	group->alive++;
	return 0;
}

int upl_trace_define(const struct upl_probe *probes, unsigned int nr,
		     enum upl_consumer consumer, struct upl_link **links)
{
	struct upl_group *group;
	unsigned int i;
	int ret, err;

	ret = find_root();
	if (ret)
		return ret;
	if (!next_group)
		remove_stale();

	group = calloc(1, sizeof(*group));
	if (!group)
		return upl_fail(ENOMEM, "out of memory");
	group->number = next_group++;
	group->consumer = consumer;

	for (i = 0; !ret && i < nr; i++)
		ret = define_one(group, &probes[i], links[i]);
	if (!group->alive) {
		free(group);
		return ret;
	}

	/* From here on the group goes with its last link. */
	if (consumer != UPL_FTRACE)
		return ret;
	err = instance_get(group->alive);
	if (err)
		group->consumer = UPL_NONE;
	if (ret || err)
		return ret ?: err;
	ret = enable(group, "1");
	if (ret == -ENOTSUPP)
		return upl_fail(ENOTSUPP,
				"this kernel cannot probe the instruction at %s:%#llx: choose another",
				probes->path, (unsigned long long)probes->offset);
	if (ret)
		return upl_fail(-ret,
				"cannot enable a probe at %s:%#llx (%s): is it the start of an instruction?",
				probes->path, (unsigned long long)probes->offset, strerror(-ret));
	return 0;
}

int upl_trace_id(const struct upl_link *link, unsigned int *id)
{
	char path[PATH_MAX];
	pid_t pid = getpid();
	FILE *file;
	int nr;

	snprintf(path, sizeof(path),
		 "%s/events/" PREFIX "%d_%u/" PREFIX "%d_%u/id", root, pid,
		 link->group->number, pid, link->event);
	file = fopen(path, "re");
	if (!file)
		return upl_fail(errno, "cannot open %s: use a kernel with CONFIG_PERF_EVENTS=y",
				path);
	nr = fscanf(file, "%u", id);
	fclose(file);
	return nr == 1 ? 0 : upl_fail(EIO, "cannot read %s", path);
}

static void disable_leaving(struct upl_link *link)
{
	struct upl_group *group = link->group;

	if (group->consumer != UPL_FTRACE || group->disabled)
		return;
	if (group->leaving == group->alive) {
		enable(group, "0");
		group->disabled = true;
	} else {
		disable_one(link);
	}
}

int upl_trace_remove(struct upl_link **links, unsigned int nr)
{
	struct upl_group *group;
	unsigned int i;
	int err, ret = 0;

	for (i = 0; i < nr; i++) {
		if (links[i] && links[i]->group)
			links[i]->group->leaving++;
	}

	for (i = 0; i < nr; i++) {
		if (!links[i] || !links[i]->group)
			continue;
		group = links[i]->group;
		disable_leaving(links[i]);
		err = remove_event(getpid(), group->number, links[i]->event);
		if (err)
			ret = upl_fail(-err,
				       "cannot remove probe event %u of %s/uprobe_events (%s): is it used by others?",
				       links[i]->event, root, strerror(-err));
	}

	for (i = 0; i < nr; i++) {
		if (!links[i] || !links[i]->group)
			continue;
		group = links[i]->group;
		group->leaving--;
		if (group->consumer == UPL_FTRACE)
			instance_put(1);
		if (!--group->alive)
			free(group);
	}
	return ret;
}

int upl_trace_count(const struct upl_link *link, uint64_t *hits)
{
	char path[PATH_MAX], name[64], *line = NULL, *at;
	unsigned long long count = 0;
	int ret = -ENOENT;
	size_t len = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/uprobe_profile", root);
	file = fopen(path, "re");
	if (!file)
		return upl_fail(errno, "cannot open %s", path);

	snprintf(name, sizeof(name), " " PREFIX "%d_%u ", getpid(), link->event);
	while (ret && getline(&line, &len, file) > 0) {
		at = strstr(line, name);
		if (at && sscanf(at + strlen(name), "%llu", &count) == 1)
			ret = 0;
	}
	free(line);
	fclose(file);
	*hits = count;
	if (ret)
		upl_fail(ENOENT, "%s does not list the event%s", path, name);
	return ret;
}
