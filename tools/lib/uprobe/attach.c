// SPDX-License-Identifier: GPL-2.0
/* Links: a probe and its consumer. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

/* glibc has a function for it since 2.34 */
#ifndef __NR_close_range
#define __NR_close_range	436
#endif

const char * const upl_consumer_names[UPL_NR_CONSUMERS] = {
	[UPL_NONE]		= "none",
	[UPL_PERF]		= "perf",
	[UPL_TRACEPOINT]	= "tracepoint",
	[UPL_FTRACE]		= "ftrace",
	[UPL_BPF]		= "bpf",
};

int upl_consumer_find(const char *name)
{
	int i;

	for (i = 0; i < UPL_NR_CONSUMERS; i++) {
		if (!strcmp(name, upl_consumer_names[i]))
			return i;
	}
	return upl_fail(EINVAL, "unknown consumer '%s': use none, perf, tracepoint, ftrace or bpf",
			name);
}

static bool has_trace_event(enum upl_consumer consumer)
{
	return consumer == UPL_TRACEPOINT || consumer == UPL_FTRACE;
}

static int open_events(struct upl_link *link, const struct upl_probe *probe)
{
	unsigned int id;
	int ret;

	if (link->consumer == UPL_PERF || link->consumer == UPL_BPF)
		return upl_event_open(link, probe);
	if (link->consumer != UPL_TRACEPOINT)
		return 0;
	ret = upl_trace_id(link, &id);
	return ret ?: upl_event_open_tracepoint(link, probe, id);
}

int upl_attach_all(const struct upl_probe *probes, unsigned int nr,
		   enum upl_consumer consumer, struct upl_link **links)
{
	char why[256];
	unsigned int i;
	int ret = 0;

	for (i = 0; i < nr; i++) {
		links[i] = calloc(1, sizeof(*links[i]));
		if (!links[i])
			ret = upl_fail(ENOMEM, "out of memory");
		else
			links[i]->consumer = consumer;
	}

	if (!ret && has_trace_event(consumer))
		ret = upl_trace_define(probes, nr, consumer, links);
	for (i = 0; !ret && i < nr; i++)
		ret = open_events(links[i], &probes[i]);
	if (!ret)
		return 0;

	/* What is said of the clean-up must not hide why it is done. */
	strncpy(why, upl_reason(), sizeof(why) - 1);
	why[sizeof(why) - 1] = '\0';
	upl_detach_all(links, nr);
	memset(links, 0, nr * sizeof(*links));
	return upl_fail(-ret, "%s", why);
}

int upl_attach(const struct upl_probe *probe, enum upl_consumer consumer,
	       struct upl_link **link)
{
	return upl_attach_all(probe, 1, consumer, link);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* One system call for each run of neighbours, so that the kernel may batch. */
static void close_together(int *fds, unsigned int nr)
{
	unsigned int first, last;

	qsort(fds, nr, sizeof(*fds), by_value);
	for (first = 0; first < nr; first = last) {
		for (last = first + 1; last < nr; last++) {
			if (fds[last] != fds[last - 1] + 1)
				break;
		}
		if (!syscall(__NR_close_range, fds[first], fds[last - 1], 0))
			continue;
		/* Linux before 5.9 */
		for (; first < last; first++)
			close(fds[first]);
	}
}

static void close_events(struct upl_link **links, unsigned int nr)
{
	unsigned int i, j, total = 0;
	int *fds;

	for (i = 0; i < nr; i++)
		total += links[i] ? links[i]->nr_fds : 0;
	if (!total)
		return;

	fds = malloc(total * sizeof(*fds));
	total = 0;
	for (i = 0; i < nr; i++) {
		for (j = 0; links[i] && j < links[i]->nr_fds; j++) {
			if (fds)
				fds[total++] = links[i]->fds[j];
			else
				close(links[i]->fds[j]);
		}
	}
	close_together(fds, total);
	free(fds);
}

int upl_detach_all(struct upl_link **links, unsigned int nr)
{
	unsigned int i;
	int ret;

	close_events(links, nr);
	ret = upl_trace_remove(links, nr);
	for (i = 0; i < nr; i++) {
		if (links[i])
			free(links[i]->fds);
		free(links[i]);
	}
	return ret;
}

int upl_detach(struct upl_link *link)
{
	return upl_detach_all(&link, 1);
}

int upl_count(struct upl_link *link, uint64_t *hits)
{
	if (link->consumer == UPL_PERF || link->consumer == UPL_TRACEPOINT)
		return upl_event_count(link, hits);
	if (link->consumer == UPL_FTRACE)
		return upl_trace_count(link, hits);
	return upl_fail(EOPNOTSUPP, "the consumer %s does not count",
			upl_consumer_names[link->consumer]);
}

int upl_check_fires(struct upl_link *link, void (*fn)(void))
{
	uint64_t before, after;
	int ret;

	if (link->consumer == UPL_NONE) {
		fn();
		return 0;
	}
	if (link->consumer == UPL_BPF)
		return upl_bpf_check_fires(fn);

	ret = upl_count(link, &before);
	if (ret)
		return ret;
	fn();
	ret = upl_count(link, &after);
	if (ret)
		return ret;
	if (after - before != 1)
		return upl_fail(ENOMSG, "the consumer %s counted %llu hits for one",
				upl_consumer_names[link->consumer],
				(unsigned long long)(after - before));
	return 0;
}
