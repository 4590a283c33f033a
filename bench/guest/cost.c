// SPDX-License-Identifier: GPL-2.0
/* Operations that run no probe, and what they pay for the existence of some. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uprobe/uprobe.h>

#include "../plugin/marker.h"
#include "ops.h"

#define PAGE	4096
#define BEGIN	METER_MARK(METER_UNMUTE)
#define DONE	do { METER_MARK(METER_HIT); METER_MARK(METER_MUTE); } while (0)

static struct upl_sites sites;		/* the file that is probed */
static struct upl_link **probes;	/* its probes, nobody hits them */
static unsigned int nr_probes;
static int consumer;
static int self;			/* a file to map: this program */

static void fail(const char *what)
{
	perror(what);
	_exit(1);
}

static void *map(int fd)
{
	int flags = MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0);
	void *p = mmap(NULL, PAGE, PROT_READ | (fd < 0 ? PROT_WRITE : PROT_EXEC),
		       flags, fd, 0);

	if (p == MAP_FAILED)
		fail("mmap");
	return p;
}

static void touch(void *p)
{
	(void)*(volatile char *)p;
}

static void do_mmap(int fd)
{
	void *p;

	BEGIN;
	p = map(fd);
	DONE;
	munmap(p, PAGE);
}

static void do_munmap(int fd)
{
	void *p = map(fd);

	touch(p);
	BEGIN;
	munmap(p, PAGE);
	DONE;
}

/* What a mapping costs over its life, none of its pages touched. */
static void op_mmap_munmap(unsigned int worker, void *data)
{
	BEGIN;
	munmap(map(self), PAGE);
	DONE;
}

/* The same of a page with a breakpoint: for it there must be a probe. */
static void op_mmap_probed(unsigned int worker, void *data)
{
	BEGIN;
	munmap(map(sites.fd), PAGE);
	DONE;
}

static void op_mmap_anon(unsigned int w, void *d) { do_mmap(-1); }
static void op_mmap_file(unsigned int w, void *d) { do_mmap(self); }
static void op_munmap_anon(unsigned int w, void *d) { do_munmap(-1); }
static void op_munmap_file(unsigned int w, void *d) { do_munmap(self); }

static void op_fault(unsigned int worker, void *data)
{
	volatile char *p = map(-1);

	BEGIN;
	*p = 1;
	DONE;
	munmap((void *)p, PAGE);
}

static void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		fail("child");
}

/* The parent's share; the child is pinned to the same vCPU and runs muted. */
static void op_fork(unsigned int worker, void *data)
{
	pid_t pid;

	BEGIN;
	pid = fork();
	if (!pid)
		_exit(0);
	DONE;
	if (pid < 0)
		fail("fork");
	reap(pid);
}

/* From the child's exit to the parent's return from wait. */
static void op_exit(unsigned int worker, void *data)
{
	pid_t pid = fork();

	if (!pid) {
		BEGIN;
		_exit(0);
	}
	if (pid < 0)
		fail("fork");
	reap(pid);
	DONE;
}

/* From execve() to main() of the new program. */
static void op_exec(unsigned int worker, void *data)
{
	static char * const argv[] = { "load", "--exec-end", NULL };
	pid_t pid = fork();

	if (!pid) {
		BEGIN;
		execv("/proc/self/exe", argv);
		_exit(1);
	}
	if (pid < 0)
		fail("fork");
	reap(pid);
	METER_MARK(METER_HIT);
}

static void on_signal(int signal)
{
}

/* kill(), handler, sigreturn() */
static void op_signal(unsigned int worker, void *data)
{
	signal(SIGUSR1, on_signal);
	BEGIN;
	raise(SIGUSR1);
	DONE;
}

/* A debugger lets a thread run into a breakpoint, and is told. */
static void op_breakpoint(unsigned int worker, void *data)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		__asm__ volatile("int3; int3");
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		fail("ptrace");
	BEGIN;
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &status, 0);
	DONE;
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		fail("breakpoint");
	ptrace(PTRACE_CONT, pid, 0, 0);
	reap(pid);
}

static struct upl_link *attach(void)
{
	struct upl_link *link;
	struct upl_probe probe;

	/* Of the sites, the first is probed already: the page is a copy. */
	upl_sites_probe(&sites, 1, &probe);
	if (upl_attach(&probe, consumer, &link)) {
		fprintf(stderr, "load: %s\n", upl_reason());
		_exit(1);
	}
	return link;
}

static void op_attach(unsigned int worker, void *data)
{
	struct upl_link *link;

	BEGIN;
	link = attach();
	DONE;
	upl_detach(link);
}

static void op_detach(unsigned int worker, void *data)
{
	struct upl_link *link = attach();

	BEGIN;
	upl_detach(link);
	DONE;
}

/* Operations so long that few windows do. */
#define LONG_WINDOWS	12

static const struct {
	const char *name;
	void (*op)(unsigned int worker, void *data);
	bool is_long;
} ops[] = {
	{ "mmap-anon", op_mmap_anon, false },
	{ "mmap-file", op_mmap_file, false },
	{ "munmap-anon", op_munmap_anon, false },
	{ "munmap-file", op_munmap_file, false },
	{ "mmap-munmap", op_mmap_munmap, false },
	{ "mmap-probed", op_mmap_probed, false },
	{ "fault", op_fault, false },
	{ "fork", op_fork, true },
	{ "exec", op_exec, true },
	{ "exit", op_exit, true },
	{ "signal", op_signal, false },
	{ "breakpoint", op_breakpoint, false },
	{ "attach", op_attach, true },
	{ "detach", op_detach, true },
};

/*
 * "perf:256": so many probes of that consumer in a file that nobody maps, but
 * who attaches. Without a number it is one.
 */
static int attach_probes(const char *text, bool mapped)
{
	const char *number = strchr(text, ':');
	char *name = strndup(text, strcspn(text, ":"));
	struct upl_probe *probe;
	int ret = -1;

	consumer = upl_consumer_find(name);
	free(name);
	if (consumer <= UPL_NONE)
		return consumer;
	nr_probes = number ? atoi(number + 1) : 1;
	probe = calloc(nr_probes, sizeof(*probe));
	probes = calloc(nr_probes, sizeof(*probes));
	if (!probe || !probes || upl_sites_create(&sites, nr_probes + 1))
		goto out;
	if (mapped)
		touch(upl_sites_map(&sites));
	for (unsigned int i = 0; i < nr_probes; i++) {
		upl_sites_probe(&sites, i, &probe[i]);
		probe[i].cpu = 0;	/* one event each will do */
	}
	ret = upl_attach_all(probe, nr_probes, consumer, probes);
out:
	free(probe);
	return ret;
}

int cost_prepare(const struct row *row, struct team *team)
{
	size_t i;

	for (i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		if (!strcmp(ops[i].name, row->what))
			break;
	if (i == sizeof(ops) / sizeof(*ops)) {
		fprintf(stderr, "load: unknown operation '%s'\n", row->what);
		return -1;
	}
	team->op = ops[i].op;
	team->rounds = 1;
	if (ops[i].is_long)
		team->windows = LONG_WINDOWS;
	self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (self < 0) {
		perror("/proc/self/exe");
		return -1;
	}
	if (attach_probes(row->consumer, ops[i].op == op_attach || ops[i].op == op_detach)) {
		fprintf(stderr, "load: %s\n", upl_reason());
		return -1;
	}
	return 0;
}

int cost_finish(void)
{
	int ret = 0;

	if (nr_probes) {
		ret = upl_detach_all(probes, nr_probes);
		upl_sites_destroy(&sites);
		free(probes);
	}
	close(self);
	if (ret)
		fprintf(stderr, "load: %s\n", upl_reason());
	return ret;
}
