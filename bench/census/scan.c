// SPDX-License-Identifier: GPL-2.0
/*
 * scan FILE...: the instructions that probes on functions and SDT markers would
 * stand on. A line each: file, "function" or "marker", 32 hex digits, form.
 *
 * A function begins where .eh_frame_hdr says so: stripped files have that table,
 * too. It also lists the cold parts that a compiler splits off.
 */
#include <capstone/capstone.h>
#include <endian.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uprobe/uprobe.h>

#define INSN_BYTES	16

struct file {
	const char	*path;
	Elf		*elf;
	const uint8_t	*image;
	size_t		size;
	csh		disassembler;
	unsigned int	sites;
};

static const char *section_name(struct file *f, GElf_Shdr *shdr)
{
	size_t strings;
	const char *name = NULL;

	if (!elf_getshdrstrndx(f->elf, &strings))
		name = elf_strptr(f->elf, strings, shdr->sh_name);
	return name ?: "";
}

/* The section that an address or, with by_offset, a place in the file is in. */
static bool find_text(struct file *f, uint64_t where, bool by_offset, GElf_Shdr *shdr)
{
	Elf_Scn *scn = NULL;

	while ((scn = elf_nextscn(f->elf, scn))) {
		uint64_t start;

		if (!gelf_getshdr(scn, shdr) || shdr->sh_type != SHT_PROGBITS)
			continue;
		start = by_offset ? shdr->sh_offset : shdr->sh_addr;
		if (shdr->sh_flags & SHF_EXECINSTR && where >= start &&
		    where - start < shdr->sh_size)
			return true;
	}
	return false;
}

/* "mov reg, mem": registers that uprobes might emulate apart from vectors. */
static void print_form(struct file *f, const cs_insn *insn)
{
	const cs_x86 *x86 = &insn->detail->x86;
	unsigned int i;

	fputs(insn->mnemonic, stdout);
	for (i = 0; i < x86->op_count; i++) {
		const char *kind = "imm", *name;

		if (x86->operands[i].type == X86_OP_MEM) {
			kind = "mem";
		} else if (x86->operands[i].type == X86_OP_REG) {
			name = cs_reg_name(f->disassembler, x86->operands[i].reg);
			kind = strstr(name, "mm") ? "vec" : "reg";
		}
		printf("%s%s", i ? ", " : " ", kind);
	}
}

static void print_site(struct file *f, const char *kind, uint64_t offset)
{
	uint8_t bytes[INSN_BYTES] = {};
	cs_insn *insn;
	size_t i, left = f->size - offset;

	memcpy(bytes, f->image + offset, left < INSN_BYTES ? left : INSN_BYTES);
	printf("%s\t%s\t", f->path, kind);
	f->sites++;
	if (cs_disasm(f->disassembler, bytes, INSN_BYTES, 0, 1, &insn) != 1) {
		for (i = 0; i < INSN_BYTES; i++)
			printf("%02x", bytes[i]);
		printf("\tnot an instruction\n");
		return;
	}
	/* What follows the instruction says nothing of it. */
	for (i = 0; i < INSN_BYTES; i++)
		printf("%02x", i < insn->size ? bytes[i] : 0xcc);
	putchar('\t');
	print_form(f, insn);
	putchar('\n');
	cs_free(insn, 1);
}

/*
 * .eh_frame_hdr: version, three encodings, the address of .eh_frame, and, in the
 * one encoding that linkers use, a count and pairs of offsets from the section:
 * a function's start and its description.
 */
static int scan_functions(struct file *f)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr shdr, text;
	int32_t last = INT32_MIN;
	const uint8_t *p;
	uint32_t i, nr;

	do {
		scn = elf_nextscn(f->elf, scn);
		if (!scn)
			return 0;
	} while (!gelf_getshdr(scn, &shdr) ||
		 strcmp(section_name(f, &shdr), ".eh_frame_hdr"));

	p = f->image + shdr.sh_offset;
	if (shdr.sh_size < 12 || memcmp(p, "\x01\x1b\x03\x3b", 4)) {
		fprintf(stderr, "scan: %s: .eh_frame_hdr in an unknown encoding\n", f->path);
		return -1;
	}
	memcpy(&nr, p + 8, 4);
	nr = le32toh(nr);
	if (nr > (shdr.sh_size - 12) / 8) {
		fprintf(stderr, "scan: %s: .eh_frame_hdr is too short\n", f->path);
		return -1;
	}
	for (i = 0; i < nr; i++) {
		uint64_t address;
		int32_t start;

		memcpy(&start, p + 12 + 8 * i, 4);
		if (start == last)
			continue;
		last = start;
		address = shdr.sh_addr + start;
		/* Not the linker's own: .plt, .init, .fini. */
		if (find_text(f, address, false, &text) &&
		    !strncmp(section_name(f, &text), ".text", 5))
			print_site(f, "function", address - text.sh_addr + text.sh_offset);
	}
	return 0;
}

static int marker(const struct upl_marker *marker, void *arg)
{
	GElf_Shdr text;

	if (find_text(arg, marker->offset, true, &text))
		print_site(arg, "marker", marker->offset);
	return 0;
}

static int scan(struct file *f)
{
	GElf_Ehdr ehdr;
	int err;

	f->image = (const uint8_t *)elf_rawfile(f->elf, &f->size);
	if (!f->image || !gelf_getehdr(f->elf, &ehdr) || ehdr.e_machine != EM_X86_64)
		return 0;	/* a script, or for another machine */
	err = scan_functions(f);
	if (!err)
		upl_walk_markers(f->path, marker, f);
	return err;
}

int main(int argc, char **argv)
{
	struct file f = {};
	int i, err = 0;

	elf_version(EV_CURRENT);
	if (argc < 2) {
		fprintf(stderr, "usage: scan FILE...\n");
		return 1;
	}
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &f.disassembler) != CS_ERR_OK) {
		fprintf(stderr, "scan: no disassembler for x86\n");
		return 1;
	}
	cs_option(f.disassembler, CS_OPT_DETAIL, CS_OPT_ON);
	for (i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDONLY);

		if (fd < 0) {
			perror(argv[i]);
			return 1;
		}
		f.path = argv[i];
		f.elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
		if (f.elf)
			err |= scan(&f);
		elf_end(f.elf);
		close(fd);
	}
	if (!f.sites) {
		fprintf(stderr, "scan: no functions and no markers found\n");
		return 1;
	}
	return err ? 1 : 0;
}
