// SPDX-License-Identifier: GPL-2.0
/* Names and addresses to file offsets. */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static __thread char reason[512] = "no error";

const char *upl_reason(void)
{
	return reason;
}

int upl_fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	return -err;
}

struct image {
	int		fd;
	Elf		*elf;
	const char	*path;
};

static int image_open(struct image *img, const char *path)
{
	int err;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return upl_fail(EOPNOTSUPP, "libelf is too old: %s", elf_errmsg(-1));

	img->path = path;
	img->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (img->fd < 0) {
		err = errno;
		return upl_fail(err, "cannot open %s: %s", path, strerror(err));
	}

	img->elf = elf_begin(img->fd, ELF_C_READ_MMAP, NULL);
	if (!img->elf || elf_kind(img->elf) != ELF_K_ELF) {
		elf_end(img->elf);
		close(img->fd);
		return upl_fail(ENOEXEC, "%s is no ELF file", path);
	}
	return 0;
}

static void image_close(struct image *img)
{
	elf_end(img->elf);
	close(img->fd);
}

/* Goes by the segments, as the loader and the kernel do, not by sections. */
static int addr_to_offset(const struct image *img, GElf_Addr addr,
			  uint64_t *offset)
{
	GElf_Phdr phdr;
	size_t i, nr;

	if (elf_getphdrnum(img->elf, &nr))
		nr = 0;

	for (i = 0; i < nr; i++) {
		if (!gelf_getphdr(img->elf, i, &phdr) || phdr.p_type != PT_LOAD)
			continue;
		if (addr < phdr.p_vaddr || addr - phdr.p_vaddr >= phdr.p_filesz)
			continue;
		*offset = addr - phdr.p_vaddr + phdr.p_offset;
		return 0;
	}
	return upl_fail(ERANGE, "%s: address %#llx is in no loaded part of the file",
			img->path, (unsigned long long)addr);
}

static bool find_section(const struct image *img, uint32_t type,
			 const char *name, Elf_Scn **scn, GElf_Shdr *shdr)
{
	const char *scn_name;
	size_t strndx;

	if (elf_getshdrstrndx(img->elf, &strndx))
		return false;

	*scn = NULL;
	while ((*scn = elf_nextscn(img->elf, *scn))) {
		if (!gelf_getshdr(*scn, shdr) || shdr->sh_type != type)
			continue;
		if (!name)
			return true;
		scn_name = elf_strptr(img->elf, strndx, shdr->sh_name);
		if (scn_name && !strcmp(scn_name, name))
			return true;
	}
	return false;
}

static bool find_function(const struct image *img, uint32_t table,
			  const char *symbol, GElf_Addr *addr)
{
	const char *name;
	Elf_Data *data;
	GElf_Shdr shdr;
	Elf_Scn *scn;
	GElf_Sym sym;
	size_t i;

	if (!find_section(img, table, NULL, &scn, &shdr) || !shdr.sh_entsize)
		return false;
	data = elf_getdata(scn, NULL);

	for (i = 0; data && i < shdr.sh_size / shdr.sh_entsize; i++) {
		if (!gelf_getsym(data, i, &sym) || sym.st_shndx == SHN_UNDEF)
			continue;
		if (GELF_ST_TYPE(sym.st_info) != STT_FUNC)
			continue;
		name = elf_strptr(img->elf, shdr.sh_link, sym.st_name);
		if (!name || strcmp(name, symbol))
			continue;
		*addr = sym.st_value;
		return true;
	}
	return false;
}

int upl_symbol_offset(const char *path, const char *symbol, uint64_t *offset)
{
	struct image img;
	GElf_Addr addr;
	int ret;

	ret = image_open(&img, path);
	if (ret)
		return ret;

	if (find_function(&img, SHT_SYMTAB, symbol, &addr) ||
	    find_function(&img, SHT_DYNSYM, symbol, &addr))
		ret = addr_to_offset(&img, addr, offset);
	else
		ret = upl_fail(ENOENT, "%s has no function %s", path, symbol);

	image_close(&img);
	return ret;
}

int upl_entry_offset(const char *path, uint64_t *offset)
{
	struct image img;
	GElf_Ehdr ehdr;
	int ret;

	ret = image_open(&img, path);
	if (ret)
		return ret;

	if (gelf_getehdr(img.elf, &ehdr) && ehdr.e_entry)
		ret = addr_to_offset(&img, ehdr.e_entry, offset);
	else
		ret = upl_fail(ENOEXEC, "%s is no program: it has no entry", path);

	image_close(&img);
	return ret;
}

/* <sys/sdt.h>: owner "stapsdt", three addresses, then three strings. */
#define SDT_OWNER	"stapsdt"
#define SDT_NOTE	3

enum { SDT_PC, SDT_BASE, SDT_SEMAPHORE, SDT_NR_ADDRS };

static int parse_marker(const struct image *img, Elf_Data *desc,
			const GElf_Shdr *base, struct upl_marker *marker)
{
	const char *strings, *end = (char *)desc->d_buf + desc->d_size;
	bool is_32bit = gelf_getclass(img->elf) == ELFCLASS32;
	Elf64_Addr addr64[SDT_NR_ADDRS];
	Elf32_Addr addr32[SDT_NR_ADDRS];
	GElf_Addr addr[SDT_NR_ADDRS], shift;
	Elf_Data from = *desc, to = *desc;
	int i, ret;

	from.d_type = ELF_T_ADDR;
	from.d_size = gelf_fsize(img->elf, ELF_T_ADDR, SDT_NR_ADDRS, EV_CURRENT);
	to.d_type = ELF_T_ADDR;
	to.d_buf = is_32bit ? (void *)addr32 : (void *)addr64;
	to.d_size = from.d_size;
	if (desc->d_size <= from.d_size ||
	    !gelf_xlatetom(img->elf, &to, &from, elf_getident(img->elf, NULL)[EI_DATA]))
		return upl_fail(EBADMSG, "%s: a broken SDT note", img->path);
	for (i = 0; i < SDT_NR_ADDRS; i++)
		addr[i] = is_32bit ? addr32[i] : addr64[i];

	strings = (char *)desc->d_buf + from.d_size;
	marker->provider = strings;
	strings = memchr(strings, '\0', end - strings);
	marker->name = strings ? ++strings : NULL;
	if (!strings || !memchr(strings, '\0', end - strings))
		return upl_fail(EBADMSG, "%s: a broken SDT note", img->path);

	/* Prelink moves the sections and leaves the notes as they are. */
	shift = base && addr[SDT_BASE] ? base->sh_addr - addr[SDT_BASE] : 0;
	ret = addr_to_offset(img, addr[SDT_PC] + shift, &marker->offset);
	if (ret)
		return ret;

	marker->ref_ctr_offset = 0;
	if (!addr[SDT_SEMAPHORE])
		return 0;
	return addr_to_offset(img, addr[SDT_SEMAPHORE] + shift,
			      &marker->ref_ctr_offset);
}

int upl_walk_markers(const char *path, upl_marker_fn *fn, void *arg)
{
	size_t pos = 0, next, name, desc_pos;
	GElf_Shdr shdr, base_shdr, *base = NULL;
	struct upl_marker marker;
	Elf_Data *data, desc;
	struct image img;
	Elf_Scn *scn;
	GElf_Nhdr nhdr;
	int ret;

	ret = image_open(&img, path);
	if (ret)
		return ret;

	if (find_section(&img, SHT_PROGBITS, ".stapsdt.base", &scn, &base_shdr))
		base = &base_shdr;
	data = NULL;
	if (find_section(&img, SHT_NOTE, ".note.stapsdt", &scn, &shdr))
		data = elf_getdata(scn, NULL);

	while (data && (next = gelf_getnote(data, pos, &nhdr, &name, &desc_pos))) {
		pos = next;
		if (nhdr.n_type != SDT_NOTE || nhdr.n_namesz != sizeof(SDT_OWNER) ||
		    memcmp((char *)data->d_buf + name, SDT_OWNER, sizeof(SDT_OWNER)))
			continue;
		desc = *data;
		desc.d_buf = (char *)data->d_buf + desc_pos;
		desc.d_size = nhdr.n_descsz;
		ret = parse_marker(&img, &desc, base, &marker);
		if (!ret)
			ret = fn(&marker, arg);
		if (ret)
			break;
	}

	image_close(&img);
	return ret;
}

static int marker_matches(const struct upl_marker *marker, void *arg)
{
	struct upl_marker *wanted = arg;

	if (strcmp(marker->provider, wanted->provider) ||
	    strcmp(marker->name, wanted->name))
		return 0;
	wanted->offset = marker->offset;
	wanted->ref_ctr_offset = marker->ref_ctr_offset;
	return 1;
}

int upl_find_marker(const char *path, const char *provider, const char *name,
		    struct upl_marker *marker)
{
	int ret;

	marker->provider = provider;
	marker->name = name;
	ret = upl_walk_markers(path, marker_matches, marker);
	if (ret < 0)
		return ret;
	if (!ret)
		return upl_fail(ENOENT, "%s has no SDT marker %s:%s", path,
				provider, name);
	return 0;
}

int upl_addr_offset(const void *addr, char *path, size_t size,
		    uint64_t *offset)
{
	unsigned long start, end, wanted = (unsigned long)addr;
	int ret = -ENOENT, path_at;
	unsigned long long pgoff;
	char *line = NULL;
	size_t len = 0;
	FILE *maps;

	maps = fopen("/proc/self/maps", "re");
	if (!maps)
		return upl_fail(errno, "cannot open /proc/self/maps: mount /proc");

	while (ret == -ENOENT && getline(&line, &len, maps) > 0) {
		path_at = 0;
		if (sscanf(line, "%lx-%lx %*s %llx %*s %*s %n", &start, &end,
			   &pgoff, &path_at) < 3)
			continue;
		if (wanted < start || wanted >= end)
			continue;
		line[strcspn(line, "\n")] = '\0';
		if (line[path_at] != '/' || strlen(line + path_at) >= size)
			break;
		strcpy(path, line + path_at);
		*offset = wanted - start + pgoff;
		ret = 0;
	}
	free(line);
	fclose(maps);
	if (ret)
		upl_fail(ENOENT, "no file is mapped at %p", addr);
	return ret;
}
