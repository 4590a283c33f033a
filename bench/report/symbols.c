// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symbols.h"

struct symbol {
	uint64_t start, size;
	const char *name;
};

struct symbol_list {
	struct symbol *symbol;
	size_t nr, room;
};

static struct symbol_list functions, variables;
static Dwfl_Module *module;
static char source_root[PATH_MAX];

static void die(const char *what)
{
	fprintf(stderr, "symbols: %s: %s\n", what, dwfl_errmsg(-1) ?: "failed");
	exit(1);
}

static void add(struct symbol_list *list, const char *name, uint64_t start,
		uint64_t size)
{
	if (list->nr == list->room) {
		list->room = list->room ? list->room * 2 : 1024;
		list->symbol = reallocarray(list->symbol, list->room,
					    sizeof(*list->symbol));
		if (!list->symbol)
			die("memory");
	}
	list->symbol[list->nr++] = (struct symbol) { start, size, name };
}

/* By address; of those at one address the one with a size comes last. */
static int compare(const void *x, const void *y)
{
	const struct symbol *a = x, *b = y;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->size < b->size ? -1 : a->size > b->size;
}

static const struct symbol *find(const struct symbol_list *list, uint64_t addr)
{
	size_t low = 0, high = list->nr;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (list->symbol[mid].start <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low ? &list->symbol[low - 1] : NULL;
}

void symbols_open(const char *vmlinux, const char *source)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};
	Dwfl *dwfl = dwfl_begin(&callbacks);
	int n;

	if (source && !realpath(source, source_root))
		source_root[0] = '\0';
	if (!dwfl)
		die("libdwfl");
	module = dwfl_report_offline(dwfl, "kernel", vmlinux, -1);
	if (!module)
		die(vmlinux);
	dwfl_report_end(dwfl, NULL, NULL);

	n = dwfl_module_getsymtab(module);
	if (n <= 0)
		die("no symbol table");
	for (int i = 1; i < n; i++) {
		GElf_Sym sym;
		GElf_Addr addr;
		GElf_Word shndx;
		const char *name;
		int type;

		name = dwfl_module_getsym_info(module, i, &sym, &addr, &shndx,
					       NULL, NULL);
		if (!name || !*name || addr < 0xffff800000000000ULL ||
		    shndx == SHN_ABS || shndx == SHN_UNDEF)
			continue;
		type = GELF_ST_TYPE(sym.st_info);
		if (type == STT_OBJECT)
			add(&variables, name, addr, sym.st_size);
		else if (type == STT_FUNC || type == STT_NOTYPE)
			add(&functions, name, addr, sym.st_size);
	}
	qsort(functions.symbol, functions.nr, sizeof(struct symbol), compare);
	qsort(variables.symbol, variables.nr, sizeof(struct symbol), compare);
}

const char *symbol_function(uint64_t pc)
{
	const struct symbol *s = find(&functions, pc);

	/* Past the image lie modules and generated code. */
	if (!s || s == &functions.symbol[functions.nr - 1])
		return "[generated code]";
	return s->name;
}

const char *symbol_variable(uint64_t addr)
{
	const struct symbol *s = find(&variables, addr);
	char *name;

	if (!s || addr >= s->start + s->size)
		return NULL;
	if (addr == s->start)
		return s->name;
	if (asprintf(&name, "%s+0x%lx", s->name, addr - s->start) < 0)
		die("memory");
	return name;
}

/* Code that acts on behalf of its caller, by the file that it stands in. */
static bool is_primitive(const char *file)
{
	static const char * const where[] = {
		"include/", "kernel/locking/", "lib/", "mm/slub.c",
		"mm/slab_common.c", "arch/x86/lib/",
	};

	for (size_t i = 0; i < sizeof(where) / sizeof(*where); i++)
		if (strstr(file, where[i]) == file ||
		    (*where[i] == 'i' && strstr(file, "/include/")))
			return true;
	return false;
}

/* Relative to the source if it is below it, else without any folder. */
static const char *tidy(Dwarf_Die *cu, const char *file)
{
	Dwarf_Attribute attr;
	const char *dir = dwarf_formstring(dwarf_attr(cu, DW_AT_comp_dir, &attr));
	char path[PATH_MAX], real[PATH_MAX];
	size_t len = strlen(source_root);

	snprintf(path, sizeof(path), "%s%s%s", *file == '/' || !dir ? "" : dir,
		 *file == '/' || !dir ? "" : "/", file);
	if (len && realpath(path, real) && !strncmp(real, source_root, len) &&
	    real[len] == '/')
		return strdup(real + len + 1);
	return strdup(file);
}

static const char *source_text(const char *file, int number)
{
	char path[2 * PATH_MAX], *line = NULL, *text = "";
	size_t size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", source_root, file);
	f = *source_root ? fopen(path, "r") : NULL;
	if (!f)
		return "";
	while (number-- > 0 && getline(&line, &size, f) > 0)
		;
	fclose(f);
	if (line && number < 0) {
		text = line + strspn(line, " \t");
		text[strcspn(text, "\n")] = '\0';
	}
	return text;
}

static struct place make_place(Dwarf_Die *cu, const char *function,
			       const char *file, int line)
{
	struct place p = { function, tidy(cu, file), line, "" };

	return p;
}

/* The frames at @pc, innermost inline function first, until one explains. */
static bool walk_inlines(uint64_t pc, struct place *p)
{
	Dwarf_Addr bias;
	Dwarf_Die *cu = dwfl_module_addrdie(module, pc, &bias), *inner, *scopes;
	Dwarf_Line *line = cu ? dwarf_getsrc_die(cu, pc - bias) : NULL;
	Dwarf_Files *files;
	const char *file;
	int number, n;

	if (!line || dwarf_lineno(line, &number))
		return false;
	file = dwarf_linesrc(line, NULL, NULL);
	/* That of the innermost only: past an inlined one it leaves this body. */
	n = dwarf_getscopes(cu, pc - bias, &inner);
	if (n > 0) {
		n = dwarf_getscopes_die(&inner[0], &scopes);
		free(inner);
	}
	*p = make_place(cu, symbol_function(pc), file, number);
	for (int i = 0; i < n; i++) {
		int tag = dwarf_tag(&scopes[i]);
		Dwarf_Attribute attr;
		Dwarf_Word f, l;

		if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram)
			continue;
		*p = make_place(cu, dwarf_diename(&scopes[i]) ?: symbol_function(pc),
				file, number);
		if (!is_primitive(p->file) || tag == DW_TAG_subprogram)
			break;
		if (dwarf_formudata(dwarf_attr(&scopes[i], DW_AT_call_file, &attr), &f) ||
		    dwarf_formudata(dwarf_attr(&scopes[i], DW_AT_call_line, &attr), &l) ||
		    dwarf_getsrcfiles(cu, &files, NULL))
			break;
		file = dwarf_filesrc(files, f, NULL, NULL);
		number = l;
	}
	if (n > 0)
		free(scopes);
	return !is_primitive(p->file);
}

struct place symbol_place(const uint64_t *pcs, unsigned int n)
{
	struct place first = { symbol_function(pcs[0]), "", 0, "" };

	for (unsigned int i = 0; i < n && pcs[i]; i++) {
		struct place p = { 0 };

		if (walk_inlines(pcs[i], &p)) {
			p.text = source_text(p.file, p.line);
			return p;
		}
		if (!i && p.function)
			first = p;
	}
	return first;
}
