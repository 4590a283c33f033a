// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
/*
 * Perf events that come to a trace event and leave it, one after the other:
 * each probes whom it names, from its opening to its closing.
 */
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "common.h"
#include "events.h"

#define BREAKPOINT	0xcc
#define ENOTSUPP_	524		/* the kernel's own, not in errno.h */

static struct upl_sites sites;
static unsigned char *text;		/* the sites, mapped */

/* What exec starts: hit a probe in this program and exit. */
static __attribute__((constructor)) void executed(void)
{
	if (!getenv("UPROBES_HIT_AND_EXIT"))
		return;
	upl_target_find("nop")->fn();
	_exit(0);
}

static const char *name(const char *format)
{
	static char buf[128];

	snprintf(buf, sizeof(buf), format, getpid());
	return buf;
}

static int define(unsigned int site)
{
	char line[256];

	snprintf(line, sizeof(line), "p:perf_%d/probe %s:%u", getpid(), sites.path,
		 site * UPL_SITE_SIZE);
	return define_event(line);
}

/* An event on the trace event: its descriptor, or -errno. */
static int event(pid_t pid, bool on_exec)
{
	int id = trace_event_id(name("perf_%d/probe"));
	struct perf_event_attr attr = {
		.type		= PERF_TYPE_TRACEPOINT,
		.config		= id,
		.disabled	= on_exec,
		.enable_on_exec	= on_exec,
	};

	return id < 0 ? id : event_open_attr(&attr, pid, pid < 0 ? 0 : -1);
}

static void hit(unsigned int site)
{
	((void (*)(void))(text + site * UPL_SITE_SIZE))();
}

/* A process with the sites mapped; it hits one at each command. */
struct process {
	pid_t	pid;
	int	command, reply;
};

static bool start(struct process *p)
{
	int to[2], from[2];
	char c;

	if (pipe(to) || pipe(from))
		return false;
	p->pid = fork();
	if (!p->pid) {
		close(to[1]);
		while (read(to[0], &c, 1) == 1) {
			c = text[0];
			hit(0);
			if (write(from[1], &c, 1) != 1)
				break;
		}
		_exit(0);
	}
	p->command = to[1];
	p->reply = from[0];
	return p->pid > 0 && !close(to[0]) && !close(from[1]);
}

/* Let it hit the probe; the byte that stood there before. */
static int probed_byte(struct process *p)
{
	unsigned char c;

	return write(p->command, "", 1) == 1 && read(p->reply, &c, 1) == 1 ? c : -1;
}

static void stop(struct process *p)
{
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	close(p->command);
	close(p->reply);
}

FIXTURE(events) {
	int	original;
};

FIXTURE_SETUP(events)
{
	EXPECT_EQ(0, kernel_log_faults(NULL));
	ASSERT_EQ(0, upl_sites_create(&sites, 2));
	text = upl_sites_map(&sites);
	ASSERT_NE(MAP_FAILED, (void *)text);
	self->original = text[0];
}

FIXTURE_TEARDOWN(events)
{
	define_event(name("-:perf_%d/probe"));
	munmap(text, sites.size);
	upl_sites_destroy(&sites);
	EXPECT_EQ(0, kernel_log_faults(NULL));
}

/* The first event of a trace event and the second probe just their processes. */
TEST_F(events, each_probes_its_process)
{
	struct process a, b;
	int fd_a, fd_b;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	ASSERT_EQ(0, define(0));
	ASSERT_TRUE(start(&a));
	ASSERT_TRUE(start(&b));
	fd_a = event(a.pid, false);
	ASSERT_LE(0, fd_a);
	EXPECT_EQ(BREAKPOINT, probed_byte(&a));
	EXPECT_EQ(self->original, probed_byte(&b));
	fd_b = event(b.pid, false);
	ASSERT_LE(0, fd_b);
	EXPECT_EQ(BREAKPOINT, probed_byte(&a));
	EXPECT_EQ(BREAKPOINT, probed_byte(&b));
	EXPECT_EQ(2, event_count(fd_a));
	EXPECT_EQ(1, event_count(fd_b));
	close(fd_a);
	EXPECT_EQ(self->original, probed_byte(&a));
	EXPECT_EQ(BREAKPOINT, probed_byte(&b));
	EXPECT_EQ(2, event_count(fd_b));
	close(fd_b);
	EXPECT_EQ(self->original, probed_byte(&b));
	stop(&a);
	stop(&b);
}

/* An event for all that joins one for a process, and outlives it. */
TEST_F(events, system_wide_joins)
{
	struct process a;
	int fd_a, fd_all;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	ASSERT_EQ(0, define(0));
	ASSERT_TRUE(start(&a));
	fd_a = event(a.pid, false);
	ASSERT_LE(0, fd_a);
	EXPECT_EQ(self->original, text[0]);
	fd_all = event(-1, false);
	ASSERT_LE(0, fd_all);
	EXPECT_EQ(BREAKPOINT, text[0]);
	close(fd_a);
	EXPECT_EQ(BREAKPOINT, probed_byte(&a));
	close(fd_all);
	EXPECT_EQ(self->original, probed_byte(&a));
	EXPECT_EQ(self->original, text[0]);
	stop(&a);
}

/* Another consumer, which wants another process, takes the probe from nobody. */
TEST_F(events, beside_another_process)
{
	struct upl_probe probe;
	struct upl_link *link;
	struct process a;
	uint64_t hits;
	int fd_a, i;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_PMU);
	ASSERT_EQ(0, define(0));
	ASSERT_TRUE(start(&a));
	fd_a = event(a.pid, false);
	ASSERT_LE(0, fd_a);
	upl_sites_probe(&sites, 0, &probe);
	probe.pid = getpid();
	ASSERT_EQ(0, upl_attach(&probe, UPL_PERF, &link)) TH_LOG("%s", upl_reason());
	for (i = 0; i < 3; i++) {
		hit(0);
		EXPECT_EQ(BREAKPOINT, probed_byte(&a));
	}
	EXPECT_EQ(BREAKPOINT, text[0]);
	EXPECT_EQ(0, upl_count(link, &hits));
	EXPECT_EQ(3, hits);
	EXPECT_EQ(3, event_count(fd_a));
	EXPECT_EQ(0, upl_detach(link));
	EXPECT_EQ(self->original, text[0]);
	close(fd_a);
	EXPECT_EQ(self->original, probed_byte(&a));
	stop(&a);
}

/* A thread that says who it is and hits when it is told. */
static pid_t thread_id;
static int tell_thread[2], hear_thread[2];

static void *hit_in_thread(void *unused)
{
	char c = 0;

	thread_id = gettid();
	if (write(hear_thread[1], &c, 1) == 1 && read(tell_thread[0], &c, 1) == 1)
		hit(0);
	return unused;
}

/* An event of one thread stays when another one of the process hits its probe. */
TEST_F(events, one_thread_of_several)
{
	pthread_t thread;
	char c;
	int fd;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	ASSERT_EQ(0, define(0));
	ASSERT_EQ(0, pipe(tell_thread));
	ASSERT_EQ(0, pipe(hear_thread));
	ASSERT_EQ(0, pthread_create(&thread, NULL, hit_in_thread, NULL));
	ASSERT_EQ(1, read(hear_thread[0], &c, 1));
	fd = event(thread_id, false);
	ASSERT_LE(0, fd);
	hit(0);
	EXPECT_EQ(BREAKPOINT, text[0]);
	EXPECT_EQ(0, event_count(fd)) TH_LOG("the other thread counts");
	ASSERT_EQ(1, write(tell_thread[1], &c, 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(1, event_count(fd));
	close(fd);
	EXPECT_EQ(self->original, text[0]);
}

/* An event that exec enables counts what the new program hits, nothing before. */
TEST_F(events, enabled_by_exec)
{
	struct upl_probe probe;
	int go[2], fd, status;
	char line[512], c;
	pid_t pid;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	ASSERT_EQ(0, upl_target_probe(upl_target_find("nop"), &probe));
	snprintf(line, sizeof(line), "p:perf_%d/probe %s:%llu", getpid(), probe.path,
		 (unsigned long long)probe.offset);
	ASSERT_EQ(0, define_event(line));
	ASSERT_EQ(0, pipe(go));
	setenv("UPROBES_HIT_AND_EXIT", "1", 1);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		upl_target_find("nop")->fn();
		execl("/proc/self/exe", "perf_events_test", NULL);
		_exit(1);
	}
	fd = event(pid, true);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, event_count(fd));
	close(fd);
}

/* What a child inherits counts, whether it shares the trace event or not. */
TEST_F(events, inherited)
{
	const enum upl_consumer consumers[] = { UPL_PERF, UPL_TRACEPOINT };
	struct upl_probe probe;
	struct upl_link *link;
	uint64_t hits;
	pid_t pid;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_PMU);
	for (int i = 0; i < 2; i++) {
		upl_sites_probe(&sites, 0, &probe);
		probe.pid = getpid();
		ASSERT_EQ(0, upl_attach(&probe, consumers[i], &link)) TH_LOG("%s", upl_reason());
		hit(0);
		pid = fork();
		if (!pid) {
			hit(0);
			_exit(0);
		}
		EXPECT_EQ(pid, waitpid(pid, NULL, 0));
		hit(0);
		EXPECT_EQ(0, upl_count(link, &hits));
		EXPECT_EQ(3, hits) TH_LOG("consumer %s", upl_consumer_names[consumers[i]]);
		EXPECT_EQ(0, upl_detach(link));
		EXPECT_EQ(self->original, text[0]);
	}
}

/* A perf event is refused where ftrace records, and the other way round. */
TEST_F(events, not_beside_ftrace)
{
	char enable[128];
	int fd;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	ASSERT_EQ(0, define(0));
	strcpy(enable, name("events/perf_%d/probe/enable"));
	ASSERT_EQ(0, tracefs_write(enable, 0, "1"));
	EXPECT_EQ(-EINTR, event(-1, false));
	EXPECT_EQ(BREAKPOINT, text[0])
		TH_LOG("the refused event has taken the probe with it");
	EXPECT_EQ(0, tracefs_write(enable, 0, "0"));
	EXPECT_EQ(self->original, text[0]);
	fd = event(-1, false);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINTR, tracefs_write(enable, 0, "1"));
	EXPECT_EQ(BREAKPOINT, text[0]);
	close(fd);
	EXPECT_EQ(self->original, text[0]);
}

/* Where one of an event's probes cannot be, the others are not left behind. */
TEST_F(events, failure_is_undone)
{
	const unsigned char trap = BREAKPOINT;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	ASSERT_EQ(1, pwrite(sites.fd, &trap, 1, UPL_SITE_SIZE));
	ASSERT_EQ(0, define(0));
	ASSERT_EQ(0, define(1));
	EXPECT_EQ(-ENOTSUPP_, event(-1, false));
	EXPECT_EQ(self->original, text[0]);
	/* Nor is the trace event spoilt. */
	EXPECT_EQ(-ENOTSUPP_, event(getpid(), false));
	EXPECT_EQ(self->original, text[0]);
}

/* An event that is enabled later, among many that are on, counts from then. */
TEST_F(events, enabled_among_others)
{
	struct upl_probe probe;
	struct upl_link *links[32];
	int fd;

	REQUIRE(NEED_ROOT | NEED_TRACEFS | NEED_PMU);
	for (int i = 0; i < 32; i++) {
		upl_sites_probe(&sites, 1, &probe);
		probe.pid = getpid();
		ASSERT_EQ(0, upl_attach(&probe, UPL_PERF, &links[i]));
	}
	ASSERT_EQ(0, define(0));
	fd = event(getpid(), false);
	ASSERT_LE(0, fd);
	hit(0);
	EXPECT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	hit(0);
	EXPECT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	hit(0);
	hit(1);
	EXPECT_EQ(2, event_count(fd));
	close(fd);
	for (int i = 0; i < 32; i++) {
		uint64_t hits = 0;

		EXPECT_EQ(0, upl_count(links[i], &hits));
		EXPECT_EQ(1, hits);
		EXPECT_EQ(0, upl_detach(links[i]));
	}
}

TEST_HARNESS_MAIN
