// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "events.h"
#include "helpers.h"

#define PMU	"/sys/bus/event_source/devices/uprobe/"
#define REF_CTR_SHIFT	32	/* where the PMU's config has the counter's offset */

/* ---- perf events ---- */

static int pmu_type, retprobe_bit;

static int number_in(const char *file, const char *format)
{
	FILE *f = fopen(file, "re");
	int value;

	if (!f)
		return -1;
	if (fscanf(f, format, &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

/* Before main(), so that attaching is nothing but attaching. */
__attribute__((constructor)) static void read_pmu(void)
{
	pmu_type = number_in(PMU "type", "%d");
	retprobe_bit = number_in(PMU "format/retprobe", "config:%d");
}

struct perf_event_attr event_attr(const struct upl_probe *probe)
{
	return (struct perf_event_attr) {
		.type = pmu_type,
		.config = probe->ref_ctr_offset << REF_CTR_SHIFT |
			  (probe->is_return ? 1ULL << retprobe_bit : 0),
		.uprobe_path = (uintptr_t)probe->path,
		.probe_offset = probe->offset,
	};
}

int event_open_attr(struct perf_event_attr *attr, pid_t pid, int cpu)
{
	int fd;

	attr->size = sizeof(*attr);
	fd = syscall(SYS_perf_event_open, attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int event_open(const struct upl_probe *probe, bool inherit)
{
	struct perf_event_attr attr = event_attr(probe);

	attr.inherit = inherit;
	return event_open_attr(&attr, probe->pid, probe->cpu);
}

int trace_event_id(const char *name)
{
	char path[128], id[16] = "";
	int fd, ret = -EIO;

	snprintf(path, sizeof(path), "events/%s/id", name);
	fd = tracefs_open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	if (read(fd, id, sizeof(id) - 1) > 0)
		ret = atoi(id);
	close(fd);
	return ret;
}

int event_open_trace(const char *name, pid_t pid, int cpu)
{
	int id = trace_event_id(name);
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .config = id };

	return id < 0 ? id : event_open_attr(&attr, pid, cpu);
}

uint64_t event_count(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : ~0ULL;
}

/* ---- trace events ---- */

unsigned int event_profile_rows(const char *name, struct profile_row *rows, unsigned int max)
{
	int fd = tracefs_open("uprobe_profile", O_RDONLY), nr;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char line[1024], word[128], *at;
	unsigned long long numbers[2];
	unsigned int i = 0;

	snprintf(word, sizeof(word), " %s ", name);
	while (file && fgets(line, sizeof(line), file)) {
		at = strstr(line, word);
		if (!at)
			continue;
		nr = sscanf(at + strlen(word), "%llu %llu", &numbers[0], &numbers[1]);
		if (nr < 1)
			continue;
		if (i < max)
			rows[i] = (struct profile_row){ numbers[0], nr < 2 ? 0 : numbers[1] };
		i++;
	}
	if (file)
		fclose(file);
	return i;
}

bool event_profile(const char *name, uint64_t *hits, uint64_t *missed)
{
	struct profile_row row = {};
	bool found = event_profile_rows(name, &row, 1);

	*hits = row.hits;
	*missed = row.missed;
	return found;
}

/* ---- programs ---- */

static int bpf(int cmd, union bpf_attr *attr)
{
	int fd = syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return fd < 0 ? -errno : fd;
}

int counters_make(unsigned int nr, uint64_t **counters)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(uint32_t),
		.value_size = sizeof(uint64_t),
		.max_entries = nr,
		.map_flags = BPF_F_MMAPABLE,
	};
	int map = bpf(BPF_MAP_CREATE, &attr);

	if (map < 0)
		return map;
	*counters = mmap(NULL, nr * sizeof(uint64_t), PROT_READ, MAP_SHARED, map, 0);
	if (*counters != MAP_FAILED)
		return map;
	close(map);
	return -ENOMEM;
}

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })

/* counters[which]++, atomically; asks for no event to perf. */
int counters_prog(int map, unsigned int which)
{
	static char log[4096];
	struct bpf_insn insns[] = {
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, which),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
		INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 1),
		INSN(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.insns = (uintptr_t)insns,
		.insn_cnt = sizeof(insns) / sizeof(insns[0]),
		.license = (uintptr_t)"GPL",
		.log_buf = (uintptr_t)log,
		.log_size = sizeof(log),
		.log_level = 1,
	};
	int prog = bpf(BPF_PROG_LOAD, &attr);

	if (prog < 0)
		fprintf(stderr, "# BPF program: %s\n# %s", strerror(-prog), log);
	return prog;
}

int event_set_prog(int fd, int prog)
{
	return ioctl(fd, PERF_EVENT_IOC_SET_BPF, prog) ? -errno : 0;
}
