/* SPDX-License-Identifier: GPL-2.0 */
/* Perf events, trace events and programs, each one system call and no more. */
#ifndef UPROBES_EVENTS_H
#define UPROBES_EVENTS_H

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uprobe/uprobe.h>

/* The attributes of an event on the uprobe PMU. */
struct perf_event_attr event_attr(const struct upl_probe *probe);

/* A descriptor, or -errno; close() detaches. */
int event_open_attr(struct perf_event_attr *attr, pid_t pid, int cpu);
/* On the uprobe PMU; with those that the task starts from now on, or without. */
int event_open(const struct upl_probe *probe, bool inherit);
/* The number of the trace event "group/name", as attributes want it; or -errno. */
int trace_event_id(const char *name);
/* On that trace event. */
int event_open_trace(const char *name, pid_t pid, int cpu);

/* What the event has counted; ~0: it cannot be read. */
uint64_t event_count(int fd);

/* What uprobe_profile says of one probe; missed is 0 where it is not told. */
struct profile_row {
	uint64_t	hits, missed;
};

/* Of the probes of a trace event in the order they were defined; how many they are. */
unsigned int event_profile_rows(const char *name, struct profile_row *rows, unsigned int max);
/* Of an event with one probe. */
bool event_profile(const char *name, uint64_t *hits, uint64_t *missed);

/* A BPF map of so many counters, mapped: its descriptor, or -errno. */
int counters_make(unsigned int nr, uint64_t **counters);
/* A program that raises a counter of that map: its descriptor, or -errno. */
int counters_prog(int map, unsigned int which);
/* Have a program run at each hit of an event. 0 or -errno. */
int event_set_prog(int fd, int prog);

#endif /* UPROBES_EVENTS_H */
