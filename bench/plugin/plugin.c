// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU TCG plugin that counts, between two markers of the guest program (see
 * marker.h), instructions, atomic instructions and shared cache lines.
 *
 *   -plugin meter.so,out=FILE[,dominant=75][,rare=10][,ignore=ADDRESS]
 *
 * The result repeats when the vCPUs run in turn (-accel tcg,thread=single), and
 * is as correct when they run in parallel.
 */
#include <stdlib.h>
#include <string.h>

#define METER_PLUGIN
#include "insn.h"
#include "marker.h"
#include "profile.h"
#include "qemu-api.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = METER_API_VERSION;

static void on_exec(unsigned int vcpu, void *udata)
{
	struct cpu *cpu = &cpus[vcpu];

	if (!cpu_enter(cpu))
		return;
	cpu_exec(cpu, udata);
	cpu_leave(cpu);
}

static void on_access(unsigned int vcpu, qemu_plugin_meminfo_t info,
		      uint64_t vaddr, void *udata)
{
	struct cpu *cpu = &cpus[vcpu];
	struct qemu_plugin_hwaddr *haddr;

	if (!cpu_enter(cpu))
		return;
	haddr = qemu_plugin_get_hwaddr(info, vaddr);
	if (!haddr)
		cpu->lost++;
	else if (!qemu_plugin_hwaddr_is_io(haddr))
		cpu_access(cpu, udata, vaddr, qemu_plugin_hwaddr_phys_addr(haddr),
			   qemu_plugin_mem_is_store(info));
	cpu_leave(cpu);
}

static void on_marker(unsigned int vcpu, void *udata)
{
	uint32_t message = (uintptr_t)udata;
	struct cpu *cpu = &cpus[vcpu];

	switch (message) {
	case METER_BEGIN:
		cpus_close();
		for (unsigned int i = 0; i < options.vcpus; i++)
			cpu_reset(&cpus[i]);
		cpus_open();
		break;
	case METER_END:
		if (cpus_close())
			row_add_window();
		break;
	case METER_HIT:
		cpu->hits++;
		break;
	case METER_MUTE:
		cpu->muted = true;
		break;
	case METER_UNMUTE:
		cpu->muted = false;
		break;
	default:
		if (message >= METER_CHAR)
			row_label_char(message - METER_CHAR);
	}
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *bytes = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);
		uint64_t pc = qemu_plugin_insn_vaddr(insn);
		uint32_t marker = insn_marker(bytes, size), flags;
		struct site *site;

		if (marker) {
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker,
							       QEMU_PLUGIN_CB_NO_REGS,
							       (void *)(uintptr_t)marker);
			continue;
		}
		flags = insn_flags(pc, bytes, size);
		if (pc == options.ignore)
			flags |= INSN_IGNORED;
		/* User code is not told apart: programs come and go. */
		site = site_get(flags & INSN_KERNEL ? pc : 0, flags);
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_exec,
						       QEMU_PLUGIN_CB_NO_REGS, site);
		qemu_plugin_register_vcpu_mem_cb(insn, on_access,
						 QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, site);
	}
}

static void on_quit(qemu_plugin_id_t id, void *udata)
{
	row_finish();
	fclose(options.out);
}

static int fail(const char *why, const char *what)
{
	fprintf(stderr, "meter: %s%s%s\n", why, what ? ": " : "", what ? what : "");
	return -1;
}

static int parse_percent(const char *value, unsigned int *result)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (!*value || *end || n > 100)
		return fail("not a percentage", value);
	*result = n;
	return 0;
}

static int parse_option(char *arg)
{
	char *value = strchr(arg, '=');

	if (!value)
		return fail("option without a value", arg);
	*value++ = '\0';
	if (!strcmp(arg, "out")) {
		options.out = fopen(value, "w");
		return options.out ? 0 : fail("cannot write", value);
	}
	if (!strcmp(arg, "dominant"))
		return parse_percent(value, &options.dominant);
	if (!strcmp(arg, "rare"))
		return parse_percent(value, &options.rare);
	if (!strcmp(arg, "ignore")) {
		options.ignore = strtoull(value, NULL, 16);
		return options.ignore ? 0 : fail("not an address", value);
	}
	return fail("unknown option", arg);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info,
			       int argc, char **argv)
{
	if (info->version.min > METER_API_VERSION ||
	    info->version.cur < METER_API_VERSION)
		return fail("needs plugin interface version 1", NULL);
	if (strcmp(info->target_name, "x86_64") || !info->system_emulation)
		return fail("only x86_64 system emulation, not", info->target_name);
	if (info->system.max_vcpus > MAX_VCPUS)
		return fail("more than 64 vCPUs", NULL);

	options.dominant = 75;
	options.rare = 10;
	options.vcpus = info->system.max_vcpus;
	for (int i = 0; i < argc; i++)
		if (parse_option(argv[i]))
			return -1;
	if (!options.out)
		return fail("out=FILE is missing", NULL);

	for (unsigned int i = 0; i < options.vcpus; i++)
		cpu_init(&cpus[i]);
	fprintf(options.out, "meter\t1\t%u\t%u\t%u\n", options.vcpus,
		options.dominant, options.rare);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_quit, NULL);
	return 0;
}
