/* SPDX-License-Identifier: GPL-2.0 */
/* What one vCPU did in the window.  Only that vCPU's thread writes it. */
#ifndef METER_CPU_H
#define METER_CPU_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_VCPUS	64
#define MAX_SITES	(1u << 22)
#define LINE_SHIFT	6
#define CALLERS		4

/* One instruction of the guest: address and flags, found by a dense number. */
struct site {
	uint64_t pc;
	uint32_t id;
	uint32_t flags;			/* enum insn_flag */
};

/* Accesses of one instruction, called from one place, to one cache line. */
struct access {
	uint64_t line;			/* physical address >> LINE_SHIFT */
	uint64_t vaddr;			/* of the first access */
	uint32_t site;
	uint32_t caller[CALLERS];	/* call sites, innermost first; 0: none */
	uint32_t reads;
	uint32_t writes;
	uint32_t last_read, last_write;	/* cpu->executed at that time */
	uint32_t window;		/* slot is free unless this is current */
};

struct cpu {
	/*
	 * Handshake with the vCPU that ends the window: this side sets busy,
	 * then looks at window_open; the other clears window_open, then waits
	 * for !busy.  Both sequentially consistent; see cpu_enter().
	 */
	bool busy;
	bool muted;
	bool in_kernel;
	unsigned int ignored;		/* depth of interrupts not to count */
	unsigned int depth;		/* of calls, since the kernel was entered */
	uint32_t call[64];

	const struct site *last;	/* instruction executed */
	uint32_t executed;		/* instructions, rounds not counted */

	uint64_t hits;
	uint64_t rounds;		/* of rep prefixes in the kernel */
	uint64_t lost;			/* accesses without a physical address */

	uint32_t *count;		/* executions by site */
	uint32_t *touched;		/* sites with a count */
	uint32_t nr_touched;

	struct access *access;		/* open addressing, power of two */
	uint32_t access_size;
	uint32_t nr_access;
} __attribute__((aligned(64)));

extern struct cpu cpus[MAX_VCPUS];
extern uint32_t window;			/* number of the open or last window */

void cpu_init(struct cpu *cpu);
void cpu_reset(struct cpu *cpu);
bool cpu_enter(struct cpu *cpu);
void cpu_leave(struct cpu *cpu);
void cpu_exec(struct cpu *cpu, const struct site *site);
void cpu_access(struct cpu *cpu, const struct site *site, uint64_t vaddr,
		uint64_t paddr, bool store);
void cpus_open(void);
bool cpus_close(void);

#endif
