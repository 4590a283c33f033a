/* SPDX-License-Identifier: GPL-2.0 */
/* How long fork() takes in a process that has nothing to do with the probes. */
#ifndef BENCH_UPROBE_FORKER_H
#define BENCH_UPROBE_FORKER_H

struct ub_forker;

struct ub_fork_times {
	unsigned int	nr;
	double		mean_us;	/* NAN for no fork at all, like the others */
	double		p99_us;
	double		max_us;
};

/*
 * Start the process, which forks about every millisecond. Its times go to one
 * of nr_phases; to none before ub_forker_phase() is called. NULL: has said why.
 */
struct ub_forker *ub_forker_start(unsigned int nr_phases);
#define UB_FORKER_PAUSE	-1
void ub_forker_phase(struct ub_forker *forker, int phase);
void ub_forker_forget(struct ub_forker *forker);	/* all times so far */
void ub_forker_times(struct ub_forker *forker, int phase,
		     struct ub_fork_times *times);
/* 0, or an exit status if the process could not do its work; has said so. */
int ub_forker_check(const struct ub_forker *forker);
void ub_forker_stop(struct ub_forker *forker);

#endif /* BENCH_UPROBE_FORKER_H */
