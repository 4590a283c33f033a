// SPDX-License-Identifier: GPL-2.0
/*
 * SDT markers with semaphores. The notes are written here, not by
 * <sys/sdt.h>: each marker needs a nop of another length.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

#ifdef __LP64__
#define SDT_ADDR	".8byte"
#else
#define SDT_ADDR	".4byte"
#endif

asm(".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n"
	".weak _.stapsdt.base\n"
	".hidden _.stapsdt.base\n"
	"_.stapsdt.base: .space 1\n"
	".size _.stapsdt.base, 1\n"
	".popsection");

/*
 * The marker's instruction is at 990. The note has its address, that of the
 * section .stapsdt.base as linked and that of the semaphore, then provider,
 * name and arguments. Each semaphore has a cache line of its own, so that the
 * tracers of one marker do not slow down the users of another. It must be in
 * a section that the file has: the kernel finds it by its offset.
 */
#define SDT(marker, insn)						\
	uint16_t upl_sdt_##marker##_semaphore				\
		upl_attr(section(".probes"), aligned(64));		\
	upl_fn upl_sdt_##marker;					\
	upl_attr(noinline, noclone, aligned(64))			\
	void upl_sdt_##marker(void)					\
	{								\
		if (!__atomic_load_n(&upl_sdt_##marker##_semaphore,	\
				     __ATOMIC_RELAXED))			\
			return;						\
		asm volatile("990: " insn "\n"				\
			".pushsection .note.stapsdt, \"\", \"note\"\n"	\
			".balign 4\n"					\
			".4byte 992f - 991f, 994f - 993f, 3\n"		\
			"991: .asciz \"stapsdt\"\n"			\
			"992: .balign 4\n"				\
			"993: " SDT_ADDR " 990b\n"			\
			SDT_ADDR " _.stapsdt.base\n"			\
			SDT_ADDR " upl_sdt_" #marker "_semaphore\n"	\
			".asciz \"uprobe_bench\"\n"			\
			".asciz \"" #marker "\"\n"			\
			".asciz \"\"\n"				\
			"994: .balign 4\n"				\
			".popsection" ::: "memory");			\
	}

SDT(hit, "nop")
#ifdef __x86_64__
SDT(hit_nop5, ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00")
SDT(hit_nop10, ".byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0")
#endif

#define ENTRY(marker, insn_) {						\
	.name = #marker, .insn = insn_, .fn = upl_sdt_##marker,		\
	.semaphore = &upl_sdt_##marker##_semaphore }

const struct upl_sdt upl_sdts[] = {
	ENTRY(hit, "nop"),
#ifdef __x86_64__
	ENTRY(hit_nop5, "nop5"),
	ENTRY(hit_nop10, "nop10"),
#endif
	{}
};

const struct upl_sdt *upl_sdt_find(const char *insn)
{
	const struct upl_sdt *sdt;

	for (sdt = upl_sdts; sdt->name; sdt++) {
		if (!strcmp(sdt->insn, insn))
			return sdt;
	}
	return NULL;
}

int upl_sdt_probe(const struct upl_sdt *sdt, struct upl_probe *probe)
{
	struct upl_marker marker;
	uint64_t unused;
	int ret;

	memset(probe, 0, sizeof(*probe));
	probe->pid = -1;
	probe->cpu = -1;
	probe->path = upl_own_file((const void *)sdt->fn, &unused);
	if (!probe->path)
		return -ENOENT;

	ret = upl_find_marker(probe->path, "uprobe_bench", sdt->name, &marker);
	if (ret)
		return ret;
	probe->offset = marker.offset;
	probe->ref_ctr_offset = marker.ref_ctr_offset;
	return 0;
}
