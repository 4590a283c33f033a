/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UPROBE_INTERNAL_H
#define UPROBE_INTERNAL_H

#include <uprobe/uprobe.h>

/* Outside of a kernel tree, <linux/compiler.h> is not there. */
#define upl_attr(...)		__attribute__((__VA_ARGS__))
#define UPL_ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

/* The kernel returns it to user space as it is; <errno.h> does not know it. */
#ifndef ENOTSUPP
#define ENOTSUPP	524
#endif

/* Set upl_reason() and return -err. errno texts are the caller's business. */
int upl_fail(int err, const char *fmt, ...) upl_attr(format(printf, 2, 3));

/* The file of this process that addr is in (static storage), or NULL. */
const char *upl_own_file(const void *addr, uint64_t *offset);

typedef void upl_fn(void);

struct upl_group;

struct upl_link {
	enum upl_consumer	consumer;
	int			*fds;
	unsigned int		nr_fds;
	/* UPL_TRACEPOINT, UPL_FTRACE: the trace event */
	struct upl_group	*group;
	unsigned int		event;
};

/* ---- event.c: perf events, with or without a program ---- */

int upl_event_open(struct upl_link *link, const struct upl_probe *probe);
int upl_event_open_tracepoint(struct upl_link *link,
			      const struct upl_probe *probe, unsigned int id);
int upl_event_count(const struct upl_link *link, uint64_t *hits);

/* ---- bpf.c: one program for all links of the process ---- */

int upl_bpf_set(int event_fd);
int upl_bpf_check_fires(void (*fn)(void));

/* ---- tracefs.c: events in uprobe_events ---- */

/* Define one event per probe; for UPL_FTRACE, also enable them. */
int upl_trace_define(const struct upl_probe *probes, unsigned int nr,
		     enum upl_consumer consumer, struct upl_link **links);
int upl_trace_id(const struct upl_link *link, unsigned int *id);
/* Disable and remove; descriptors of the events must be closed already. */
int upl_trace_remove(struct upl_link **links, unsigned int nr);
int upl_trace_count(const struct upl_link *link, uint64_t *hits);

#endif /* UPROBE_INTERNAL_H */
