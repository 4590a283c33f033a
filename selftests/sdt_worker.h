/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes that map a file with probe sites and counters as they are told, so
 * that the test knows each copy of each counter there is.
 *
 * The file has a page of text, a nop and a return every SDT_SITE_SIZE bytes, and
 * a page of data with the counters.
 */
#ifndef UPROBES_SDT_WORKER_H
#define UPROBES_SDT_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SDT_WORKERS	8
#define SDT_TEXTS	2	/* places for text in each process */
#define SDT_DATAS	4	/* places for data */
#define SDT_LIBS	2	/* the library: by dlopen(), by dlmopen() */
#define SDT_SITES	4
#define SDT_SITE_SIZE	64
#define SDT_CTRS	4

#define SDT_FILE	"/tmp/sdt_worker.file"

/* Where it is in the file. The last counter is the last word of the file. */
uint64_t sdt_site(unsigned int i);
uint64_t sdt_ctr(unsigned int i);
uint64_t sdt_file_size(void);
/* Where a place for data is in the process. */
uint64_t sdt_data_at(unsigned int data);
/* The library beside this program. */
void sdt_lib_path(char *path, size_t size);

struct sdt_worker {
	pid_t		pid;	/* 0: none */
	unsigned int	nr;
	int		mem;	/* /proc/PID/mem */
};

/* What is told; each returns what the system call did, or -errno. */
enum sdt_op {
	SDT_OP_NOTHING,
	SDT_OP_MAP_TEXT,	/* text */
	SDT_OP_UNMAP_TEXT,	/* text */
	SDT_OP_MAP_DATA,	/* data, PROT_ bits, MAP_PRIVATE or MAP_SHARED */
	SDT_OP_MAP_ANON,	/* data: anonymous memory instead */
	SDT_OP_UNMAP_DATA,	/* data */
	SDT_OP_PROTECT_DATA,	/* data, PROT_ bits */
	SDT_OP_MOVE_DATA,	/* data, to data */
	SDT_OP_DISCARD_DATA,	/* data: MADV_DONTNEED */
	SDT_OP_READ,		/* data, counter */
	SDT_OP_WRITE,		/* data, counter, value */
	SDT_OP_HIT,		/* text, site */
	SDT_OP_FORK,		/* number of the new worker; returns its pid */
	SDT_OP_EXEC,
	SDT_OP_EXIT,
	SDT_OP_OPEN_LIB,	/* lib */
	SDT_OP_CLOSE_LIB,	/* lib */
	SDT_OP_LIB_COUNTER,	/* lib: the address of its counter */
	SDT_OP_HIT_LIB,		/* lib */
	SDT_OP_COUNT_UP,	/* data, counter: up and down in the background */
	SDT_OP_COUNT_END,
};

/* Make the file, start from no worker; false if it cannot be. */
bool sdt_begin(void);
/* End all workers. */
void sdt_end(void);

struct sdt_worker *sdt_worker(unsigned int nr);
struct sdt_worker *sdt_start(unsigned int nr);
struct sdt_worker *sdt_fork(struct sdt_worker *worker, unsigned int nr);
void sdt_exec(struct sdt_worker *worker);
void sdt_exit(struct sdt_worker *worker);

long sdt_tell4(struct sdt_worker *worker, enum sdt_op op, long a, long b, long c);
#define sdt_tell(worker, op, ...)	SDT_TELL_(worker, op, ##__VA_ARGS__, 0, 0, 0)
#define SDT_TELL_(worker, op, a, b, c, ...)	sdt_tell4(worker, op, a, b, c)

/* Have one run after the other, without the test between them if all have one CPU. */
bool sdt_switch(struct sdt_worker *a, struct sdt_worker *b);

/* Text readable and data writable in the first places, and in this order. */
bool sdt_map(struct sdt_worker *worker);

/* The counter as /proc/PID/mem has it; -1: not mapped. */
int sdt_peek(struct sdt_worker *worker, unsigned int data, unsigned int ctr);
int sdt_peek_at(struct sdt_worker *worker, uint64_t addr);
/* The first byte at a site there. */
int sdt_peek_text(struct sdt_worker *worker, unsigned int text, unsigned int site);

#endif /* UPROBES_SDT_WORKER_H */
