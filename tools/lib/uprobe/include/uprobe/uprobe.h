/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Resolve, attach and hit user-space probes.
 *
 * Needs libelf (-lelf). With -DHAVE_LIBBPF_SUPPORT also libbpf (-lbpf); without
 * it the consumer "bpf" fails with -EOPNOTSUPP. Nothing here depends on perf.
 *
 * Unless it says otherwise, a function returns 0, or a negative errno and then
 * upl_reason() is one line that says what failed and what to do about it.
 */
#ifndef UPROBE_UPROBE_H
#define UPROBE_UPROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Why the last call of this thread failed; never NULL. */
const char *upl_reason(void);

/* ---- resolve.c: names and addresses to file offsets ---- */

/* One SDT note. Several notes may share provider and name. */
struct upl_marker {
	const char	*provider;
	const char	*name;
	uint64_t	offset;		/* of the instruction, in the file */
	uint64_t	ref_ctr_offset;	/* of the semaphore; 0: it has none */
};

/* File offset of a function in .symtab or, failing that, .dynsym. */
int upl_symbol_offset(const char *path, const char *symbol, uint64_t *offset);

/* File offset of a program's first instruction. */
int upl_entry_offset(const char *path, uint64_t *offset);

typedef int upl_marker_fn(const struct upl_marker *marker, void *arg);

/*
 * Call fn for each SDT note of a file; its strings live until it returns. A
 * return other than 0 ends the walk and becomes the result.
 */
int upl_walk_markers(const char *path, upl_marker_fn *fn, void *arg);

/* First note of that provider and name. The strings are the caller's. */
int upl_find_marker(const char *path, const char *provider, const char *name,
		    struct upl_marker *marker);

/* The file mapped at an address of this process and the offset there. */
int upl_addr_offset(const void *addr, char *path, size_t size,
		    uint64_t *offset);

/* ---- attach.c: probes and their consumers ---- */

enum upl_consumer {
	UPL_NONE,	/* no probe at all: the cost of the bare call */
	UPL_PERF,	/* counting event on the uprobe PMU; one consumer per fd */
	UPL_TRACEPOINT,	/* event in uprobe_events, counted by perf: one consumer */
	UPL_FTRACE,	/* event in uprobe_events, recorded in an own instance */
	UPL_BPF,	/* uprobe PMU with a program of two instructions */
	UPL_NR_CONSUMERS
};

/* "none", "perf", "tracepoint", "ftrace", "bpf" */
extern const char * const upl_consumer_names[UPL_NR_CONSUMERS];

/* The consumer of that name, or -EINVAL. */
int upl_consumer_find(const char *name);

struct upl_probe {
	const char	*path;
	uint64_t	offset;
	uint64_t	ref_ctr_offset;	/* 0: none */
	bool		is_return;
	/*
	 * A task, with the threads and children it starts later, or -1 for
	 * everything that runs. Set both: 0 would be the caller, CPU 0.
	 */
	pid_t		pid;
	/* -1: every CPU. UPL_FTRACE looks at neither pid nor cpu. */
	int		cpu;
};

struct upl_link;

int upl_attach(const struct upl_probe *probe, enum upl_consumer consumer,
	       struct upl_link **link);

/* Frees the link, whatever it returns. NULL does nothing. */
int upl_detach(struct upl_link *link);

/* All or nothing. */
int upl_attach_all(const struct upl_probe *probes, unsigned int nr,
		   enum upl_consumer consumer, struct upl_link **links);

/*
 * Detach together: descriptors go by close_range(), trace events are disabled
 * by one write each for all of them. NULL entries are skipped.
 */
int upl_detach_all(struct upl_link **links, unsigned int nr);

/*
 * Hits that the consumer has seen since it was attached. -EOPNOTSUPP if it
 * cannot count (UPL_NONE, UPL_BPF). UPL_FTRACE reads uprobe_profile, which
 * loses counts under load on kernels whose counter is not per CPU.
 */
int upl_count(struct upl_link *link, uint64_t *hits);

/*
 * Call fn, which must hit the probe once, and check that the consumer ran just
 * once. Works for every consumer; -ENOMSG if it did not run. For UPL_BPF no
 * other task may hit any probe of this process meanwhile.
 */
int upl_check_fires(struct upl_link *link, void (*fn)(void));

/* ---- target.c: functions to probe, markers, files full of probe sites ---- */

struct upl_target {
	const char	*name;		/* "nop5" */
	void		(*fn)(void);	/* call this; hits the probe once */
	const void	*insn;		/* probe here; mostly the same as fn */
	const char	*symbol;	/* of insn: "upl_insn_nop5" */
	const char	*what;		/* what it stands for */
};

/* Ends with a NULL name. "func" (whatever the compiler makes) is always there. */
extern const struct upl_target upl_targets[];

const struct upl_target *upl_target_find(const char *name);

/* Fill in path (static storage) and offset; pid and cpu become -1. */
int upl_target_probe(const struct upl_target *target, struct upl_probe *probe);

/*
 * SDT markers "uprobe_bench:<name>", laid out as <sys/sdt.h> does: test the
 * semaphore and, unless it is 0, run the marker's instruction.
 */
struct upl_sdt {
	const char	*name;		/* "hit", "hit_nop5", "hit_nop10" */
	const char	*insn;		/* "nop", "nop5", "nop10" */
	void		(*fn)(void);
	uint16_t	*semaphore;	/* the kernel writes it: __atomic_load_n() */
};

/* Ends with a NULL name; empty where the architecture has none. */
extern const struct upl_sdt upl_sdts[];

const struct upl_sdt *upl_sdt_find(const char *insn);

/* As upl_target_probe(), out of the file's notes; sets ref_ctr_offset too. */
int upl_sdt_probe(const struct upl_sdt *sdt, struct upl_probe *probe);

/*
 * An unnamed file (memfd) that holds nothing but probe sites, one every
 * UPL_SITE_SIZE bytes: a nop and a return, callable once mapped. For probes
 * by the thousand and for mappings that touch no library.
 */
#define UPL_SITE_SIZE	64

struct upl_sites {
	int		fd;
	unsigned int	nr;
	size_t		size;		/* whole pages */
	char		path[64];	/* /proc/<pid>/fd/<fd> */
};

int upl_sites_create(struct upl_sites *sites, unsigned int nr);
void upl_sites_destroy(struct upl_sites *sites);

/* Map it private and executable; MAP_FAILED as mmap() does, errno set. */
void *upl_sites_map(const struct upl_sites *sites);

/* The probe at site i, for every process. The path is that of the struct. */
void upl_sites_probe(const struct upl_sites *sites, unsigned int i,
		     struct upl_probe *probe);

#endif /* UPROBE_UPROBE_H */
