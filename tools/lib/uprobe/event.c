// SPDX-License-Identifier: GPL-2.0
/* Perf events on the uprobe PMU and on trace events of uprobe_events. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define PMU_DIR		"/sys/bus/event_source/devices/uprobe/"
#define CPUS_ONLINE	"/sys/devices/system/cpu/online"

struct pmu {
	unsigned int	type;
	unsigned int	return_bit;
	unsigned int	ref_ctr_first;
	unsigned int	ref_ctr_last;
};

static int scan_file(const char *path, const char *fmt, unsigned int *a,
		     unsigned int *b)
{
	FILE *file = fopen(path, "re");
	int nr;

	if (!file)
		return 0;
	nr = fscanf(file, fmt, a, b);
	fclose(file);
	return nr;
}

/* Read once: it does not change, and what it takes is no cost of attaching. */
static int pmu_read(struct pmu *pmu)
{
	static struct pmu known;
	unsigned int unused;

	if (known.type) {
		*pmu = known;
		return 0;
	}
	if (scan_file(PMU_DIR "type", "%u", &pmu->type, &unused) != 1)
		return upl_fail(ENODEV,
				"no uprobe PMU: mount /sys, or use a kernel with CONFIG_UPROBE_EVENTS=y and CONFIG_PERF_EVENTS=y");
	if (scan_file(PMU_DIR "format/retprobe", "config:%u", &pmu->return_bit,
		      &unused) != 1)
		pmu->return_bit = 0;
	if (scan_file(PMU_DIR "format/ref_ctr_offset", "config:%u-%u",
		      &pmu->ref_ctr_first, &pmu->ref_ctr_last) != 2)
		pmu->ref_ctr_last = 0;
	known = *pmu;
	return 0;
}

static int probe_attr(const struct upl_probe *probe, struct perf_event_attr *attr)
{
	unsigned int bits;
	struct pmu pmu;
	int ret;

	ret = pmu_read(&pmu);
	if (ret)
		return ret;

	attr->type = pmu.type;
	attr->config1 = (uintptr_t)probe->path;
	attr->config2 = probe->offset;
	if (probe->is_return)
		attr->config |= 1ULL << pmu.return_bit;
	if (!probe->ref_ctr_offset)
		return 0;

	if (!pmu.ref_ctr_last)
		return upl_fail(EOPNOTSUPP,
				"the uprobe PMU of this kernel knows no semaphores: use Linux 4.20 or later");
	bits = pmu.ref_ctr_last - pmu.ref_ctr_first + 1;
	if (bits < 64 && probe->ref_ctr_offset >> bits)
		return upl_fail(E2BIG,
				"semaphore offset %#llx does not fit the uprobe PMU's %u bits: use the consumer ftrace",
				(unsigned long long)probe->ref_ctr_offset, bits);
	attr->config |= probe->ref_ctr_offset << pmu.ref_ctr_first;
	return 0;
}

static int event_fail(int err, const struct upl_probe *probe)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return upl_fail(err,
				"not allowed to open a probe event: run as root (CAP_SYS_ADMIN)");
	case EMFILE:
	case ENFILE:
		return upl_fail(err,
				"out of file descriptors: raise ulimit -n, or use fewer probes");
	case ENOENT:
		return upl_fail(err, "%s: no such file to probe", probe->path);
	case EINVAL:
		return upl_fail(err,
				"refused: %s:%#llx, semaphore %#llx: is it in a regular file, and has another tracer named another semaphore?",
				probe->path, (unsigned long long)probe->offset,
				(unsigned long long)probe->ref_ctr_offset);
	case ENOTSUPP:
		return upl_fail(err,
				"this kernel cannot probe the instruction at %s:%#llx: choose another",
				probe->path, (unsigned long long)probe->offset);
	default:
		return upl_fail(err, "cannot open a probe event at %s:%#llx: %s",
				probe->path, (unsigned long long)probe->offset, strerror(err));
	}
}

static int open_one(struct upl_link *link, const struct upl_probe *probe,
		    struct perf_event_attr *attr, int cpu)
{
	int *fds, fd;

	fds = realloc(link->fds, (link->nr_fds + 1) * sizeof(*fds));
	if (!fds)
		return upl_fail(ENOMEM, "out of memory");
	link->fds = fds;

	fd = syscall(SYS_perf_event_open, attr, probe->pid, cpu, -1,
		     PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return event_fail(errno, probe);
	link->fds[link->nr_fds++] = fd;
	return 0;
}

/* Every online CPU in turn. */
static int open_cpus(struct upl_link *link, const struct upl_probe *probe,
		     struct perf_event_attr *attr)
{
	unsigned int first, last;
	int nr, ret = 0;
	FILE *cpus;

	cpus = fopen(CPUS_ONLINE, "re");
	if (!cpus)
		return upl_fail(errno, "cannot open %s: mount /sys", CPUS_ONLINE);

	do {
		nr = fscanf(cpus, "%u-%u", &first, &last);
		if (nr < 1)
			break;
		if (nr == 1)
			last = first;
		for (; !ret && first <= last; first++)
			ret = open_one(link, probe, attr, first);
	} while (!ret && fgetc(cpus) == ',');
	fclose(cpus);
	return ret;
}

static int open_all(struct upl_link *link, const struct upl_probe *probe,
		    struct perf_event_attr *attr)
{
	bool is_bpf = link->consumer == UPL_BPF;

	attr->size = sizeof(*attr);
	/* A program runs for each hit that passes the filter, whatever the CPU. */
	attr->inherit = probe->pid != -1 && !is_bpf;

	if (probe->pid == -1 && probe->cpu == -1) {
		/* Ours is as good as any, and needs no word to another one. */
		if (is_bpf)
			return open_one(link, probe, attr, sched_getcpu());
		return open_cpus(link, probe, attr);
	}
	return open_one(link, probe, attr, probe->cpu);
}

int upl_event_open(struct upl_link *link, const struct upl_probe *probe)
{
	struct perf_event_attr attr = {};
	int ret;

	ret = probe_attr(probe, &attr);
	if (!ret)
		ret = open_all(link, probe, &attr);
	if (!ret && link->consumer == UPL_BPF)
		ret = upl_bpf_set(link->fds[0]);
	return ret;
}

int upl_event_open_tracepoint(struct upl_link *link,
			      const struct upl_probe *probe, unsigned int id)
{
	struct perf_event_attr attr = {
		.type		= PERF_TYPE_TRACEPOINT,
		.config		= id,
	};

	return open_all(link, probe, &attr);
}

int upl_event_count(const struct upl_link *link, uint64_t *hits)
{
	uint64_t count;
	unsigned int i;

	*hits = 0;
	for (i = 0; i < link->nr_fds; i++) {
		if (read(link->fds[i], &count, sizeof(count)) != sizeof(count))
			return upl_fail(EIO, "cannot read the count of a probe event");
		*hits += count;
	}
	return 0;
}
