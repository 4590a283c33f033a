// SPDX-License-Identifier: GPL-2.0
/* The least program that can be attached to a probe: return 0. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#ifdef HAVE_LIBBPF_SUPPORT
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>

static int prog_fd = -1;

static int load_program(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd;

	if (prog_fd >= 0)
		return 0;

	fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "upl_return_0", "GPL", insns,
			   UPL_ARRAY_SIZE(insns), NULL);
	if (fd == -EPERM || fd == -EACCES)
		return upl_fail(-fd,
				"not allowed to load a BPF program: run as root (CAP_BPF, CAP_PERFMON)");
	if (fd < 0)
		return upl_fail(-fd,
				"cannot load a BPF program (%s): use a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_EVENTS=y",
				strerror(-fd));
	prog_fd = fd;
	return 0;
}

int upl_bpf_set(int event_fd)
{
	int ret, err;

	ret = load_program();
	if (ret)
		return ret;
	if (ioctl(event_fd, PERF_EVENT_IOC_SET_BPF, prog_fd)) {
		err = errno;
		return upl_fail(err,
				"cannot attach a BPF program to a probe (%s): use a kernel with CONFIG_BPF_EVENTS=y",
				strerror(err));
	}
	return 0;
}

static int program_runs(uint64_t *runs)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	int err;

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &len)) {
		err = errno;
		return upl_fail(err, "cannot read the run count of a BPF program: %s",
				strerror(err));
	}
	*runs = info.run_cnt;
	return 0;
}

int upl_bpf_check_fires(void (*fn)(void))
{
	uint64_t before, after;
	int stats_fd, ret;

	/* Counting runs costs time: only while this descriptor is open. */
	stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (stats_fd < 0)
		return upl_fail(-stats_fd,
				"cannot enable BPF run counts (%s): run as root on Linux 5.8 or later",
				strerror(-stats_fd));

	ret = program_runs(&before);
	if (!ret) {
		fn();
		ret = program_runs(&after);
	}
	close(stats_fd);
	if (ret)
		return ret;
	if (after - before != 1)
		return upl_fail(ENOMSG, "the BPF program ran %llu times for one hit",
				(unsigned long long)(after - before));
	return 0;
}
#else
static int no_libbpf(void)
{
	return upl_fail(EOPNOTSUPP,
			"built without libbpf: install libbpf-dev and rebuild, or use another consumer");
}

int upl_bpf_set(int event_fd)
{
	(void)event_fd;
	return no_libbpf();
}

int upl_bpf_check_fires(void (*fn)(void))
{
	(void)fn;
	return no_libbpf();
}
#endif
