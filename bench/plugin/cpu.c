// SPDX-License-Identifier: GPL-2.0
/*
 * The meter's hot path: one vCPU notes what it executes and touches, in memory
 * that only its own thread writes, without a lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu.h"
#include "insn.h"

#define ACCESS_START	(1u << 14)

struct cpu cpus[MAX_VCPUS];
uint32_t window;
static bool window_open;

static void *sparse_array(size_t n, size_t size)
{
	void *p = mmap(NULL, n * size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		perror("meter: mmap");
		exit(1);
	}
	return p;
}

void cpu_init(struct cpu *cpu)
{
	cpu->count = sparse_array(MAX_SITES, sizeof(*cpu->count));
	cpu->touched = sparse_array(MAX_SITES, sizeof(*cpu->touched));
	cpu->access_size = ACCESS_START;
	cpu->access = sparse_array(ACCESS_START, sizeof(*cpu->access));
}

/* Forget the last window; the caller has closed it. */
void cpu_reset(struct cpu *cpu)
{
	for (uint32_t i = 0; i < cpu->nr_touched; i++)
		cpu->count[cpu->touched[i]] = 0;
	cpu->nr_touched = 0;
	cpu->nr_access = 0;
	cpu->hits = 0;
	cpu->lost = 0;
	cpu->rounds = 0;
	cpu->depth = 0;
	cpu->last = NULL;
	cpu->executed = 0;
	cpu->in_kernel = false;
	cpu->ignored = 0;
}

bool cpu_enter(struct cpu *cpu)
{
	if (!__atomic_load_n(&window_open, __ATOMIC_RELAXED) || cpu->muted)
		return false;

	/* Pairs with cpus_close(): it sees busy, or we see the window closed. */
	__atomic_store_n(&cpu->busy, true, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&window_open, __ATOMIC_SEQ_CST))
		return true;
	cpu_leave(cpu);
	return false;
}

void cpu_leave(struct cpu *cpu)
{
	/* Pairs with the acquire in cpus_close(). */
	__atomic_store_n(&cpu->busy, false, __ATOMIC_RELEASE);
}

void cpus_open(void)
{
	window++;
	__atomic_store_n(&window_open, true, __ATOMIC_SEQ_CST);
}

/* When this returns, no vCPU writes its notes. True if a window was open. */
bool cpus_close(void)
{
	/* Pairs with cpu_enter(). */
	bool was_open = __atomic_exchange_n(&window_open, false, __ATOMIC_SEQ_CST);

	for (unsigned int i = 0; i < MAX_VCPUS; i++)
		while (__atomic_load_n(&cpus[i].busy, __ATOMIC_SEQ_CST))
			__builtin_ia32_pause();
	return was_open;
}

static void note_call(struct cpu *cpu, const struct site *site)
{
	bool kernel = site->flags & INSN_KERNEL;

	if (kernel != cpu->in_kernel) {
		cpu->in_kernel = kernel;
		cpu->depth = 0;
	}
	if (site->flags & INSN_CALL) {
		cpu->call[cpu->depth % 64] = site->id;
		cpu->depth++;
	} else if (site->flags & INSN_RET && cpu->depth) {
		cpu->depth--;
	}
}

void cpu_exec(struct cpu *cpu, const struct site *site)
{
	bool next_round = site == cpu->last && site->flags & INSN_REP;

	if (site->flags & INSN_IGNORED)
		cpu->ignored++;
	if (cpu->ignored) {
		cpu->ignored -= !!(site->flags & INSN_IRET);
		return;
	}
	cpu->last = site;
	if (next_round) {
		cpu->rounds += !!(site->flags & INSN_KERNEL);
		return;
	}
	cpu->executed++;
	if (!cpu->count[site->id]++)
		cpu->touched[cpu->nr_touched++] = site->id;
	note_call(cpu, site);
}

static uint32_t caller_of(const struct cpu *cpu, const struct site *site,
			  unsigned int level)
{
	unsigned int depth = cpu->depth;

	/* The call itself is on the stack already when it stores. */
	if (site->flags & INSN_CALL && depth)
		depth--;
	return level < depth && level < 64 ? cpu->call[(depth - 1 - level) % 64] : 0;
}

static uint32_t hash(uint64_t line, uint32_t site, uint32_t caller)
{
	uint64_t h = line * 0x9e3779b97f4a7c15ULL;

	h = (h ^ site) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ caller) * 0x94d049bb133111ebULL;
	return h >> 32;
}

/* The slot of (line, site, caller): found, or the free one to take. */
static struct access *slot(struct cpu *cpu, uint64_t line, uint32_t site,
			   uint32_t caller)
{
	uint32_t mask = cpu->access_size - 1;
	uint32_t i = hash(line, site, caller) & mask;
	struct access *a;

	for (;; i = (i + 1) & mask) {
		a = &cpu->access[i];
		if (a->window != window ||
		    (a->line == line && a->site == site && a->caller[0] == caller))
			return a;
	}
}

static void grow(struct cpu *cpu)
{
	struct access *old = cpu->access;
	uint32_t size = cpu->access_size;

	cpu->access_size = size * 2;
	cpu->access = sparse_array(size * 2, sizeof(*old));
	for (uint32_t i = 0; i < size; i++)
		if (old[i].window == window)
			*slot(cpu, old[i].line, old[i].site, old[i].caller[0]) = old[i];
	munmap(old, size * sizeof(*old));
}

void cpu_access(struct cpu *cpu, const struct site *site, uint64_t vaddr,
		uint64_t paddr, bool store)
{
	uint64_t line = paddr >> LINE_SHIFT;
	uint32_t caller = caller_of(cpu, site, 0);
	struct access *a;

	if (cpu->ignored)
		return;
	a = slot(cpu, line, site->id, caller);
	if (a->window != window) {
		memset(a, 0, sizeof(*a));
		a->line = line;
		a->vaddr = vaddr;
		a->site = site->id;
		for (unsigned int i = 0; i < CALLERS; i++)
			a->caller[i] = caller_of(cpu, site, i);
		a->window = window;
		cpu->nr_access++;
	}
	/* An instruction with rounds writes a line once, as others do. */
	if (site->flags & INSN_REP &&
	    (store ? a->last_write : a->last_read) == cpu->executed)
		return;
	if (store) {
		a->writes++;
		a->last_write = cpu->executed;
	} else {
		a->reads++;
		a->last_read = cpu->executed;
	}
	if (cpu->nr_access > cpu->access_size / 2)
		grow(cpu);
}
