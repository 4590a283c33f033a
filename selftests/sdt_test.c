// SPDX-License-Identifier: GPL-2.0
/*
 * SDT semaphores: each copy of a counter is raised by one for each probe that
 * names it and wants the process, and nothing else ever happens to it.
 */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "common.h"
#include "events.h"
#include "sdt_worker.h"

#define RW	(PROT_READ | PROT_WRITE)
#define NOP	0x90
#define CTR_MAX	32767

FIXTURE(sdt) {
	struct sdt_worker *w;	/* has mapped text and data */
};

FIXTURE_SETUP(sdt)
{
	REQUIRE_SETUP(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_BPF | NEED_SMP | NEED_X86_64);
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("reported late, by what ran before this case");
	ASSERT_TRUE(sdt_begin());
	self->w = sdt_start(0);
	ASSERT_NE(NULL, self->w);
	ASSERT_TRUE(sdt_map(self->w));
}

FIXTURE_TEARDOWN(sdt)
{
	sdt_end();
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("the kernel log has the whole report");
}

/* What the program reads, and what /proc/PID/mem has. */
#define EXPECT_CTR(value, worker, data, ctr) do {			\
	EXPECT_EQ(value, sdt_tell(worker, SDT_OP_READ, data, ctr));	\
	EXPECT_EQ(value, sdt_peek(worker, data, ctr));			\
} while (0)

#define EXPECT_DONE(worker, ...) EXPECT_EQ(0, sdt_tell(worker, __VA_ARGS__))

static int attach_event(uint64_t offset, uint64_t ctr, pid_t pid, bool children)
{
	struct upl_probe probe = {
		.path = SDT_FILE, .offset = offset, .ref_ctr_offset = ctr,
		.pid = pid, .cpu = pid == -1 ? 0 : -1,
	};

	return event_open(&probe, children);
}

/* An event at that offset with that counter; pid -1: every process. */
static int attach_at(uint64_t offset, uint64_t ctr, pid_t pid)
{
	return attach_event(offset, ctr, pid, false);
}

static int attach(unsigned int site, unsigned int ctr)
{
	return attach_at(sdt_site(site), sdt_ctr(ctr), -1);
}

static int attach_to(struct sdt_worker *w, unsigned int site, unsigned int ctr)
{
	return attach_at(sdt_site(site), sdt_ctr(ctr), w->pid);
}

/* Trace event sdt_test/NAME at that offset, with that counter. */
static int define_at(const char *name, uint64_t offset, uint64_t ctr)
{
	char line[256];

	snprintf(line, sizeof(line), "p:sdt_test/%s " SDT_FILE ":0x%llx(0x%llx)", name,
		 (unsigned long long)offset, (unsigned long long)ctr);
	return define_event(line);
}

static int undefine(const char *name)
{
	char line[64];

	snprintf(line, sizeof(line), "-:sdt_test/%s", name);
	return define_event(line);
}

static int enable(const char *name, const char *on)
{
	char path[64];

	snprintf(path, sizeof(path), "events/sdt_test/%s/enable", name);
	return tracefs_write(path, 0, on);
}

/* ---- whose counter it is ---- */

/* Two consumers of one address have a counter each, a third one has none. */
TEST_F(sdt, counter_of_the_consumer)
{
	int a = attach(0, 0), b, none;

	ASSERT_LE(0, a);
	b = attach(0, 1);
	ASSERT_LE(0, b) TH_LOG("another counter at that address");
	none = attach_at(sdt_site(0), 0, -1);
	ASSERT_LE(0, none) TH_LOG("no counter at that address");
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_CTR(1, self->w, 0, 1);
	EXPECT_CTR(0, self->w, 0, 2);
	close(a);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_CTR(1, self->w, 0, 1);
	close(b);
	EXPECT_CTR(0, self->w, 0, 1);
	EXPECT_NE(NOP, sdt_peek_text(self->w, 0, 0));
	close(none);
	EXPECT_EQ(NOP, sdt_peek_text(self->w, 0, 0));
}

/* One probe with many consumers raises its counter by one, until the last. */
TEST_F(sdt, once_for_many_consumers)
{
	int a = attach(0, 0), b = attach(0, 0), c = attach_to(self->w, 0, 0);

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_LE(0, c);
	EXPECT_CTR(1, self->w, 0, 0);
	close(a);
	EXPECT_CTR(1, self->w, 0, 0);
	close(c);
	EXPECT_CTR(1, self->w, 0, 0);
	close(b);
	EXPECT_CTR(0, self->w, 0, 0);
}

/* A marker inlined at several places: each probe raises the one counter. */
TEST_F(sdt, several_probes_one_counter)
{
	int a = attach(0, 2), b = attach(1, 2), c = attach(2, 2);

	EXPECT_CTR(3, self->w, 0, 2);
	close(b);
	EXPECT_CTR(2, self->w, 0, 2);
	close(a);
	close(c);
	EXPECT_CTR(0, self->w, 0, 2);
}

/* Trace events at one address may name different counters, as shown; each counts. */
TEST_F(sdt, trace_events_with_own_counters)
{
	char shown[128];

	ASSERT_EQ(0, define_at("one", sdt_site(0), sdt_ctr(0)));
	ASSERT_EQ(0, define_at("two", sdt_site(0), sdt_ctr(1)));
	ASSERT_EQ(0, define_at("none", sdt_site(0), 0));
	snprintf(shown, sizeof(shown), SDT_FILE ":0x%016llx(0x%llx)",
		 (unsigned long long)sdt_site(0), (unsigned long long)sdt_ctr(1));
	EXPECT_TRUE(tracefs_has("uprobe_events", shown));
	EXPECT_TRUE(tracefs_has("dynamic_events", shown));
	EXPECT_EQ(0, enable("one", "1"));
	EXPECT_EQ(0, enable("two", "1"));
	EXPECT_EQ(0, enable("none", "1"));
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_CTR(1, self->w, 0, 1);
	EXPECT_DONE(self->w, SDT_OP_HIT, 0, 0);
	snprintf(shown, sizeof(shown), SDT_FILE " %-44s %15u", "two", 1);
	EXPECT_TRUE(tracefs_has("uprobe_profile", shown));
	EXPECT_EQ(0, enable("one", "0"));
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_CTR(1, self->w, 0, 1);
	EXPECT_EQ(0, enable("none", "0"));
	EXPECT_EQ(0, enable("two", "0"));
	EXPECT_CTR(0, self->w, 0, 1);
	EXPECT_EQ(0, undefine("one"));
	EXPECT_EQ(0, undefine("two"));
	EXPECT_EQ(0, undefine("none"));
}

/* The link of a BPF program tells which counter its event raises. */
TEST_F(sdt, bpf_query_tells_the_counter)
{
	struct {
		uint32_t pid, fd, flags, buf_len;
		uint64_t buf;
		uint32_t prog_id, fd_type;
		uint64_t probe_offset, probe_addr;
	} query = { .pid = getpid() };
	struct upl_probe probe = {
		.path = SDT_FILE, .offset = sdt_site(1), .ref_ctr_offset = sdt_ctr(2),
		.pid = self->w->pid, .cpu = -1,
	};
	char path[64], to[64];
	struct upl_link *link;
	int fd;

	ASSERT_EQ(0, upl_attach(&probe, UPL_BPF, &link)) TH_LOG("%s", upl_reason());
	EXPECT_CTR(1, self->w, 0, 2);
	for (fd = 0; fd < 64 && !query.prog_id; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		memset(to, 0, sizeof(to));
		if (readlink(path, to, sizeof(to) - 1) < 0 || !strstr(to, "[perf_event]"))
			continue;
		query.fd = fd;
		EXPECT_EQ(0, syscall(SYS_bpf, BPF_TASK_FD_QUERY, &query, sizeof(query)));
	}
	EXPECT_NE(0, query.prog_id);
	EXPECT_EQ(sdt_site(1), query.probe_offset);
	EXPECT_EQ(sdt_ctr(2), query.probe_addr);
	EXPECT_EQ(0, upl_detach(link));
	EXPECT_CTR(0, self->w, 0, 2);
}

/* ---- which copies are raised ---- */

/* A file mapped twice has two copies of the counter, each raised once. */
TEST_F(sdt, each_copy_for_itself)
{
	int fd;

	EXPECT_DONE(self->w, SDT_OP_MAP_TEXT, 1);
	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 1, RW, MAP_PRIVATE);
	fd = attach(0, 0);
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_CTR(1, self->w, 1, 0);
	EXPECT_DONE(self->w, SDT_OP_UNMAP_DATA, 0);
	close(fd);
	EXPECT_CTR(0, self->w, 1, 0);
}

/* dlopen() and dlmopen() of one library: two copies. */
TEST_F(sdt, library_in_two_namespaces)
{
	struct upl_marker marker;
	struct upl_probe probe = { .pid = self->w->pid, .cpu = -1 };
	struct upl_link *link;
	char path[600];
	long at[2];
	int i;

	sdt_lib_path(path, sizeof(path));
	ASSERT_EQ(0, upl_find_marker(path, "lib", "hit", &marker))
		TH_LOG("%s", upl_reason());
	probe.path = path;
	probe.offset = marker.offset;
	probe.ref_ctr_offset = marker.ref_ctr_offset;
	ASSERT_EQ(0, sdt_tell(self->w, SDT_OP_OPEN_LIB, 0));
	ASSERT_EQ(0, upl_attach(&probe, UPL_PERF, &link)) TH_LOG("%s", upl_reason());
	/* One before, one after the probe. */
	ASSERT_EQ(0, sdt_tell(self->w, SDT_OP_OPEN_LIB, 1));
	for (i = 0; i < 2; i++) {
		at[i] = sdt_tell(self->w, SDT_OP_LIB_COUNTER, i);
		EXPECT_EQ(1, sdt_peek_at(self->w, at[i])) TH_LOG("copy %d", i);
		EXPECT_DONE(self->w, SDT_OP_HIT_LIB, i);
	}
	EXPECT_EQ(0, upl_detach(link));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, sdt_peek_at(self->w, at[i])) TH_LOG("copy %d", i);
}

/* Data mapped after the probe was placed is raised when it appears. */
TEST_F(sdt, late_data)
{
	int fd;

	EXPECT_DONE(self->w, SDT_OP_UNMAP_DATA, 0);
	fd = attach(0, 0);
	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 1, RW, MAP_PRIVATE);
	EXPECT_CTR(1, self->w, 1, 0);
	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 0, RW, MAP_PRIVATE);
	EXPECT_CTR(1, self->w, 0, 0);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_CTR(0, self->w, 1, 0);
}

/* The same in a child forked between the probe and the mapping. */
TEST_F(sdt, late_data_in_a_child)
{
	struct sdt_worker *child;
	int fd;

	EXPECT_DONE(self->w, SDT_OP_UNMAP_DATA, 0);
	fd = attach(0, 0);
	child = sdt_fork(self->w, 1);
	ASSERT_NE(NULL, child);
	EXPECT_DONE(child, SDT_OP_MAP_DATA, 0, RW, MAP_PRIVATE);
	EXPECT_CTR(1, child, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 0, RW, MAP_PRIVATE);
	EXPECT_CTR(1, self->w, 0, 0);
	close(fd);
	EXPECT_CTR(0, child, 0, 0);
	EXPECT_CTR(0, self->w, 0, 0);
}

/* Data that becomes writable is data that appears. */
TEST_F(sdt, data_made_writable)
{
	int fd;

	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 0, PROT_READ, MAP_PRIVATE);
	fd = attach(0, 0);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_PROTECT_DATA, 0, RW);
	EXPECT_CTR(1, self->w, 0, 0);
	/* No second time. */
	EXPECT_DONE(self->w, SDT_OP_PROTECT_DATA, 0, PROT_READ);
	EXPECT_DONE(self->w, SDT_OP_PROTECT_DATA, 0, RW);
	EXPECT_CTR(1, self->w, 0, 0);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
}

/* The order of text and data does not matter. */
TEST_F(sdt, text_after_data)
{
	int fd;

	EXPECT_DONE(self->w, SDT_OP_UNMAP_TEXT, 0);
	fd = attach(0, 0);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_MAP_TEXT, 1);
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_UNMAP_TEXT, 1);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
}

/* A mapping that is not the process's own copy is not touched; nor is the file. */
TEST_F(sdt, only_own_copies)
{
	struct sdt_worker *reader = sdt_start(1);
	uint16_t in_file = 1;
	int fd, file;

	ASSERT_NE(NULL, reader);
	/* No text there: somebody who reads the file, or edits it. */
	EXPECT_DONE(reader, SDT_OP_MAP_DATA, 0, RW, MAP_PRIVATE);
	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 1, RW, MAP_SHARED);
	fd = attach(0, 0);
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_CTR(0, self->w, 1, 0);
	EXPECT_CTR(0, reader, 0, 0);
	file = open(SDT_FILE, O_RDONLY);
	EXPECT_EQ(2, pread(file, &in_file, 2, sdt_ctr(0)));
	close(file);
	EXPECT_EQ(0, in_file);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_CTR(0, reader, 0, 0);
}

/* ---- filters ---- */

/* A filter decides for its own consumer's counter alone. */
TEST_F(sdt, filter_of_the_consumer)
{
	struct sdt_worker *other = sdt_start(1);
	int mine, all;

	ASSERT_NE(NULL, other);
	ASSERT_TRUE(sdt_map(other));
	mine = attach_to(self->w, 0, 0);
	all = attach(0, 1);
	ASSERT_LE(0, mine);
	ASSERT_LE(0, all);
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_CTR(1, self->w, 0, 1);
	EXPECT_CTR(0, other, 0, 0);
	EXPECT_CTR(1, other, 0, 1);
	/* Late, too. */
	EXPECT_DONE(other, SDT_OP_MAP_DATA, 1, RW, MAP_PRIVATE);
	EXPECT_CTR(0, other, 1, 0);
	EXPECT_CTR(1, other, 1, 1);
	close(mine);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_CTR(1, self->w, 0, 1);
	close(all);
	EXPECT_CTR(0, self->w, 0, 1);
	EXPECT_CTR(0, other, 0, 1);
}

/* One event, several filters: only what no filter accepts any more is lowered. */
TEST_F(sdt, filters_of_one_event)
{
	struct sdt_worker *other = sdt_start(1);
	int mine, others;

	ASSERT_NE(NULL, other);
	ASSERT_TRUE(sdt_map(other));
	ASSERT_EQ(0, define_at("shared", sdt_site(0), sdt_ctr(0)));
	mine = event_open_trace("sdt_test/shared", self->w->pid, -1);
	ASSERT_LE(0, mine);
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_CTR(0, other, 0, 0);
	others = event_open_trace("sdt_test/shared", other->pid, -1);
	ASSERT_LE(0, others);
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_CTR(1, other, 0, 0);
	close(mine);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_CTR(1, other, 0, 0);
	close(others);
	EXPECT_CTR(0, other, 0, 0);
	EXPECT_EQ(0, undefine("shared"));
}

/* A child that the tracer did not ask for starts with a lowered counter. */
TEST_F(sdt, child_of_a_filtered_process)
{
	struct sdt_worker *child;
	int mine, all;

	mine = attach_to(self->w, 0, 0);
	all = attach(1, 2);
	child = sdt_fork(self->w, 1);
	ASSERT_NE(NULL, child);
	EXPECT_CTR(0, child, 0, 0);
	EXPECT_CTR(1, child, 0, 2);
	EXPECT_CTR(1, self->w, 0, 0);
	/* The hit that finds that nobody wants it takes nothing away twice. */
	EXPECT_DONE(child, SDT_OP_HIT, 0, 0);
	EXPECT_CTR(0, child, 0, 0);
	EXPECT_EQ(NOP, sdt_peek_text(child, 0, 0));
	close(mine);
	EXPECT_CTR(0, child, 0, 0);
	EXPECT_CTR(0, self->w, 0, 0);
	close(all);
	EXPECT_CTR(0, child, 0, 2);
}

/* Children that inherit the event: the end of one does not end that of another. */
TEST_F(sdt, child_of_several)
{
	struct sdt_worker *a, *b;
	cpu_set_t one, all;
	int fd, i, times;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	ASSERT_EQ(0, sched_setaffinity(self->w->pid, sizeof(one), &one));
	fd = attach_event(sdt_site(0), sdt_ctr(0), self->w->pid, true);
	ASSERT_LE(0, fd);
	/* The scheduler swaps the events of tasks that have the same ones. */
	for (times = 1; times < 7; times++) {
		a = sdt_fork(self->w, 1);
		b = sdt_fork(self->w, 2);
		ASSERT_NE(NULL, a);
		ASSERT_NE(NULL, b);
		for (i = 0; i < times; i++)
			EXPECT_TRUE(sdt_switch(a, b));
		sdt_exit(a);
		EXPECT_CTR(1, b, 0, 0);
		EXPECT_CTR(1, self->w, 0, 0);
		EXPECT_NE(NOP, sdt_peek_text(b, 0, 0));
		sdt_exit(b);
	}
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_EQ(0, sched_setaffinity(0, sizeof(all), &all));
}

/* ---- records ---- */

/* Fork copies what was raised, and all copies are lowered. */
TEST_F(sdt, fork_copies)
{
	struct sdt_worker *child;
	int fd = attach(0, 0);

	child = sdt_fork(self->w, 1);
	ASSERT_NE(NULL, child);
	EXPECT_CTR(1, child, 0, 0);
	sdt_exit(self->w);
	EXPECT_CTR(1, child, 0, 0);
	close(fd);
	EXPECT_CTR(0, child, 0, 0);
}

/* Exec drops the records, and what the new program maps is raised. */
TEST_F(sdt, exec_drops)
{
	int fd = attach(0, 0);

	sdt_exec(self->w);
	ASSERT_TRUE(sdt_map(self->w));
	EXPECT_CTR(1, self->w, 0, 0);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
}

/* So does munmap: other memory at that address stays as it is. */
TEST_F(sdt, munmap_drops)
{
	int fd = attach(0, 0);

	EXPECT_DONE(self->w, SDT_OP_UNMAP_DATA, 0);
	EXPECT_DONE(self->w, SDT_OP_MAP_ANON, 0);
	EXPECT_DONE(self->w, SDT_OP_WRITE, 0, 0, 5);
	/* Mapped over, without munmap(). */
	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 1, RW, MAP_PRIVATE);
	EXPECT_CTR(1, self->w, 1, 0);
	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 1, RW, MAP_PRIVATE);
	EXPECT_CTR(1, self->w, 1, 0);
	close(fd);
	EXPECT_CTR(5, self->w, 0, 0);
	EXPECT_CTR(0, self->w, 1, 0);
}

/* A counter that moved is lowered where it is. */
TEST_F(sdt, mremap_moves)
{
	int fd = attach(0, 0);

	EXPECT_DONE(self->w, SDT_OP_MOVE_DATA, 0, 2);
	EXPECT_CTR(1, self->w, 2, 0);
	EXPECT_DONE(self->w, SDT_OP_MAP_DATA, 0, RW, MAP_PRIVATE);
	EXPECT_CTR(1, self->w, 0, 0);
	/* Over a copy that has records of its own. */
	EXPECT_DONE(self->w, SDT_OP_MOVE_DATA, 2, 0);
	EXPECT_CTR(1, self->w, 0, 0);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
}

/* ---- a program that does as it likes ---- */

/* A zeroed counter keeps no breakpoint, and the next tracer has its due. */
TEST_F(sdt, zeroed)
{
	int fd = attach(0, 0);

	EXPECT_DONE(self->w, SDT_OP_WRITE, 0, 0, 0);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_EQ(NOP, sdt_peek_text(self->w, 0, 0));
	fd = attach(0, 1);
	ASSERT_LE(0, fd);
	EXPECT_CTR(1, self->w, 0, 1);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 1);
}

/* Never below zero, whatever was there before. */
TEST_F(sdt, never_below_zero)
{
	int a = attach(0, 0), b = attach(1, 0);

	EXPECT_CTR(2, self->w, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_WRITE, 0, 0, 1);
	close(a);
	EXPECT_CTR(0, self->w, 0, 0);
	close(b);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_WRITE, 0, 0, -5);
	a = attach(0, 0);
	EXPECT_LE(0, a);
	EXPECT_CTR(-5, self->w, 0, 0);
	close(a);
	EXPECT_CTR(-5, self->w, 0, 0);
	EXPECT_EQ(NOP, sdt_peek_text(self->w, 0, 0));
}

/* Never past 32,767: not raised, and so not lowered either. */
TEST_F(sdt, never_past_the_end)
{
	int fd;

	EXPECT_DONE(self->w, SDT_OP_WRITE, 0, 0, CTR_MAX);
	fd = attach(0, 0);
	EXPECT_LE(0, fd);
	EXPECT_CTR(CTR_MAX, self->w, 0, 0);
	EXPECT_NE(NOP, sdt_peek_text(self->w, 0, 0));
	close(fd);
	EXPECT_CTR(CTR_MAX, self->w, 0, 0);
	EXPECT_EQ(NOP, sdt_peek_text(self->w, 0, 0));
}

/* A counter made read-only, or inaccessible, is lowered all the same. */
TEST_F(sdt, protected_at_detach)
{
	int fd = attach(0, 0);

	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_PROTECT_DATA, 0, PROT_READ);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_EQ(NOP, sdt_peek_text(self->w, 0, 0));

	EXPECT_DONE(self->w, SDT_OP_PROTECT_DATA, 0, RW);
	fd = attach(0, 0);
	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_PROTECT_DATA, 0, PROT_NONE);
	close(fd);
	EXPECT_EQ(0, sdt_peek(self->w, 0, 0));
	EXPECT_DONE(self->w, SDT_OP_PROTECT_DATA, 0, RW);
	EXPECT_CTR(0, self->w, 0, 0);
}

/* A discarded copy is the program's loss alone. */
TEST_F(sdt, discarded)
{
	int fd = attach(0, 0);

	EXPECT_CTR(1, self->w, 0, 0);
	EXPECT_DONE(self->w, SDT_OP_DISCARD_DATA, 0);
	EXPECT_CTR(0, self->w, 0, 0);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
	EXPECT_EQ(NOP, sdt_peek_text(self->w, 0, 0));
	fd = attach(0, 0);
	EXPECT_CTR(1, self->w, 0, 0);
	close(fd);
	EXPECT_CTR(0, self->w, 0, 0);
}

/* No change of the program's is lost in one of the kernel's, nor the reverse. */
TEST_F_TIMEOUT(sdt, atomic_update, 120)
{
	time_t end = time(NULL) + 15;
	int i, fd;

	EXPECT_DONE(self->w, SDT_OP_WRITE, 0, 0, 1000);
	EXPECT_DONE(self->w, SDT_OP_WRITE, 0, 1, 1000);
	/* In that word, and in its neighbour. */
	ASSERT_EQ(0, sdt_tell(self->w, SDT_OP_COUNT_UP, 0, 0));
	for (i = 0; i < 500 && time(NULL) < end; i++) {
		fd = attach(0, i & 1);
		ASSERT_LE(0, fd);
		close(fd);
	}
	EXPECT_DONE(self->w, SDT_OP_COUNT_END);
	EXPECT_CTR(1000, self->w, 0, 0);
	EXPECT_CTR(1000, self->w, 0, 1);
}

/* What went wrong with a counter is told once. */
TEST_F(sdt, error_told_once)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), fd, told = 0;
	char line[8192];
	ssize_t len;

	/* What others caused may have used up the ten that are told in 5 s. */
	sleep(6);
	ASSERT_LE(0, log);
	lseek(log, 0, SEEK_END);
	fd = attach(0, 0);
	EXPECT_DONE(self->w, SDT_OP_WRITE, 0, 0, 0);
	close(fd);
	while ((len = read(log, line, sizeof(line) - 1)) > 0) {
		line[len] = '\0';
		told += !!strstr(line, "ref_ctr decrement failed");
	}
	close(log);
	EXPECT_EQ(1, told);
}

/* ---- what cannot be a counter ---- */

static const struct {
	const char	*name, *text;
	uint64_t	ctr;
} bad[] = {
	{ "odd", "odd", 0x1001 },
	{ "behind", "end of the file", 0x2000 },
	{ "far_behind", "end of the file", 0x7fffff00 },
	{ "insn", "probed instruction", 0x40 },
};

/* It is refused when it is defined, and error_log points at it. */
TEST_F(sdt, bad_offset_in_tracefs)
{
	unsigned int i;
	char place[256];

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		TH_LOG("%s", bad[i].name);
		tracefs_write("error_log", O_TRUNC, "");
		EXPECT_EQ(-EINVAL, define_at(bad[i].name, sdt_site(1), bad[i].ctr));
		EXPECT_TRUE(tracefs_has("error_log", bad[i].text));
		/* The caret stands below the first digit. */
		snprintf(place, sizeof(place), "%*s^\n",
			 (int)(strlen("  Command: p:sdt_test/") + strlen(bad[i].name) +
			       strlen(" " SDT_FILE ":0x40(")), "");
		EXPECT_TRUE(tracefs_has("error_log", place));
		EXPECT_EQ(-ENOENT, undefine(bad[i].name));
	}
	/* The last word of the file is good. */
	EXPECT_EQ(0, define_at("last", sdt_site(1), sdt_file_size() - 2));
	EXPECT_EQ(0, undefine("last"));
}

/* So it is when it is opened. */
TEST_F(sdt, bad_offset_in_perf)
{
	unsigned int i;
	int fd;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT_EQ(-EINVAL, attach_at(sdt_site(1), bad[i].ctr, -1));
	fd = attach(1, SDT_CTRS - 1);
	ASSERT_LE(0, fd);
	EXPECT_CTR(1, self->w, 0, SDT_CTRS - 1);
	close(fd);
	EXPECT_CTR(0, self->w, 0, SDT_CTRS - 1);
}

TEST_HARNESS_MAIN
