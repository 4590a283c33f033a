// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/*
 * An operation on probes whose first allocation or copy fails, then one whose
 * second one fails, and so on, until it ends before the Nth came. However it
 * ends, nothing is lost and nothing stays behind. x86-64, fault injection.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common.h"
#include "events.h"
#include "text.h"

#define MAX_FAULTS	2000	/* no operation has as many sites */
#define MAX_ROUNDS	10

static char path[64];

/* ---- one attempt, in a process of its own ---- */

struct attempt {
	char	*text;		/* of the file, mapped */
	int	event;		/* perf event, -1: none */
	int	prog;
	int	failed;		/* errno of the operation */
	pid_t	child;
	char	name[32];
};

static void note(struct attempt *a, bool good)
{
	a->failed = good ? 0 : errno;
}

static bool child_succeeds(struct attempt *a)
{
	int status;

	return waitpid(a->child, &status, 0) == a->child && !status;
}

/* What all cases, each a process, have in common. */
static struct shared {
	/* of the attempt that runs */
	bool		injected;
	int		failed;
	char		why[128];	/* empty: all holds */
	double		undone;		/* when the child saw it, see now() */
	/* Where faults were, by the traces in the kernel log. */
	unsigned int	nr_sites, nr_faults;
	char		sites[2048][48];
} *shared;

/* ---- operations ---- */

/* prepare and finish return NULL or what does not hold; run is what may fail. */
struct operation {
	/*
	 * A function that some fault must have been below, "" for any; NULL: the
	 * operation need not allocate or copy at all.
	 */
	const char	*covers;
	const char	*(*prepare)(struct attempt *a);
	void		(*run)(struct attempt *a);
	const char	*(*finish)(struct attempt *a);
};

FIXTURE_VARIANT(uprobe) {
	struct operation op;
};

#define OPERATION(name, ...) FIXTURE_VARIANT_ADD(uprobe, name) { { __VA_ARGS__ } }

static const char *map_file(struct attempt *a)
{
	a->text = text_map(path);
	return a->text ? NULL : "cannot map the file";
}

static const char *attach_to(struct attempt *a, enum function which, bool is_return)
{
	if (map_file(a))
		return "cannot map the file";
	a->event = text_attach(path, text_offset(which), is_return);
	return a->event < 0 ? "cannot attach" : NULL;
}

static const char *attach_nop(struct attempt *a) { return attach_to(a, NOP, false); }
static const char *attach_push(struct attempt *a) { return attach_to(a, PUSH, false); }
static const char *attach_step(struct attempt *a) { return attach_to(a, STEP, false); }
static const char *attach_return(struct attempt *a) { return attach_to(a, NOP, true); }
static const char *attach_step_return(struct attempt *a) { return attach_to(a, STEP, true); }
static const char *attach_call_return(struct attempt *a) { return attach_to(a, CALL, true); }

/* register, unregister */
static void open_event(struct attempt *a)
{
	a->event = text_attach(path, text_offset(STEP), false);
	note(a, a->event >= 0);
}

static void open_return_event(struct attempt *a)
{
	a->event = text_attach(path, text_offset(STEP), true);
	note(a, a->event >= 0);
}

static const char *opened_or_not(struct attempt *a)
{
	if (a->event < 0)
		return text_restored(a->text, STEP) ? NULL : "refused, and a breakpoint is there";
	text_call(a->text, STEP, NULL);
	if (text_hits(a->event) != 1)
		return "attached, and the hit is not counted once";
	close(a->event);
	return text_restored(a->text, STEP) ? NULL : "a breakpoint stays behind";
}

static void close_event(struct attempt *a)
{
	note(a, !close(a->event));
}

static const char *closed(struct attempt *a)
{
	return text_restored(a->text, STEP) ? NULL : "a breakpoint stays behind";
}

/*
 * A parent and its child share the page with the breakpoint: for the removal, one of
 * them needs a page of its own.
 */
static int to_child[2];

static const char *share_with_child(struct attempt *a, bool (*undone)(struct attempt *a))
{
	char c = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, to_child))
		return "cannot make a socket pair";
	a->child = fork();
	if (a->child < 0)
		return "cannot fork";
	if (!a->child) {
		/* The event goes when the parent closes it. */
		close(a->event);
		close(to_child[0]);
		if (write(to_child[1], &c, 1) != 1 || read(to_child[1], &c, 1) != 1)
			_exit(1);
		c = undone(a);
		shared->undone = now();
		_exit(!c);
	}
	close(to_child[1]);
	return read(to_child[0], &c, 1) == 1 ? NULL : "the child has died";
}

/* Let the child look, for as long as it takes but no longer than two seconds. */
static bool look_in_child(void)
{
	char c = 0;

	return write(to_child[0], &c, 1) == 1;
}

static bool restored(struct attempt *a)
{
	return text_restored(a->text, NOP);
}

static const char *attach_and_share(struct attempt *a)
{
	return attach_nop(a) ?: share_with_child(a, restored);
}

static const char *both_restored(struct attempt *a)
{
	if (!look_in_child() || !child_succeeds(a))
		return "a breakpoint stays behind in the child";
	return restored(a) ? NULL : "a breakpoint stays behind";
}

/* BPF on a perf event */
static int prog_load(void)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.insns = (unsigned long)insns, .insn_cnt = 2,
		.license = (unsigned long)"GPL",
	};

	return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static const char *attach_and_load(struct attempt *a)
{
	a->prog = prog_load();
	if (a->prog < 0)
		return "cannot load a BPF program";
	return attach_step(a);
}

static void set_prog(struct attempt *a)
{
	note(a, !ioctl(a->event, PERF_EVENT_IOC_SET_BPF, a->prog));
}

static const char *attach_prog(struct attempt *a)
{
	const char *why = attach_and_load(a);

	if (why)
		return why;
	set_prog(a);
	return a->failed ? "cannot attach the program" : NULL;
}

/* Trace events */
/* Open beforehand: opening has sites of its own, which are not ours. */
static int trace_file = -1;

static void trace_write_open(struct attempt *a, const char *text)
{
	note(a, write(trace_file, text, strlen(text)) >= 0);
}

static void event_line(struct attempt *a, char *line, size_t size)
{
	snprintf(line, size,
		 "p:%s/event %s:0x%x r=%%sp m=+0(%%sp):u64 s=+0(%%ip):string b=%%ax:b4@2/32 c=$comm",
		 a->name, path, (int)text_offset(STEP));
}

static bool event_exists(struct attempt *a)
{
	char file[96];
	int fd;

	snprintf(file, sizeof(file), "events/%s/event/id", a->name);
	fd = tracefs_open(file, O_RDONLY);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void remove_line(struct attempt *a, char *line, size_t size)
{
	snprintf(line, size, "-:%s/event", a->name);
}

static const char *open_definitions(struct attempt *a)
{
	snprintf(a->name, sizeof(a->name), "fault%d", getpid());
	if (map_file(a))
		return "cannot map the file";
	trace_file = tracefs_open("uprobe_events", O_WRONLY | O_APPEND);
	return trace_file < 0 ? "cannot open uprobe_events" : NULL;
}

static void define(struct attempt *a)
{
	char line[256];

	event_line(a, line, sizeof(line));
	trace_write_open(a, line);
}

static const char *undefine_it(struct attempt *a)
{
	char line[64];

	remove_line(a, line, sizeof(line));
	return define_event(line) ? "cannot remove the event" : NULL;
}

static const char *defined_or_not(struct attempt *a)
{
	if (a->failed)
		return event_exists(a) ? "refused, and there all the same" : NULL;
	return undefine_it(a);
}

static const char *define_first(struct attempt *a)
{
	const char *why = open_definitions(a);

	if (why)
		return why;
	define(a);
	return a->failed ? "cannot define an event" : NULL;
}

static void undefine(struct attempt *a)
{
	char line[64];

	remove_line(a, line, sizeof(line));
	trace_write_open(a, line);
}

static const char *undefined_or_not(struct attempt *a)
{
	if (a->failed)
		return undefine_it(a);
	return event_exists(a) ? "removed, and still there" : NULL;
}

static const char *open_enable(struct attempt *a)
{
	char file[96];
	const char *why = define_first(a);

	if (why)
		return why;
	close(trace_file);
	snprintf(file, sizeof(file), "events/%s/event/enable", a->name);
	trace_file = tracefs_open(file, O_RDWR);
	return trace_file < 0 ? "cannot open enable" : NULL;
}

static void enable(struct attempt *a)
{
	trace_write_open(a, "1");
}

static void disable(struct attempt *a)
{
	trace_write_open(a, "0");
}

static const char *disabled_at_last(struct attempt *a)
{
	text_call(a->text, STEP, NULL);
	disable(a);
	if (a->failed)
		return "cannot be disabled";
	close(trace_file);
	if (!text_restored(a->text, STEP))
		return "a breakpoint stays behind";
	return undefine_it(a);
}

static const char *disabled_or_not(struct attempt *a)
{
	if (!a->failed && !text_restored(a->text, STEP))
		return "disabled, and a breakpoint stays behind";
	return disabled_at_last(a);
}

static const char *enabled_or_not(struct attempt *a)
{
	if (a->failed) {
		enable(a);
		if (a->failed)
			return "cannot be enabled any more";
	}
	return disabled_at_last(a);
}

static const char *enable_first(struct attempt *a)
{
	const char *why = open_enable(a);

	if (why)
		return why;
	enable(a);
	return a->failed ? "cannot enable" : NULL;
}

/* Mappings */
static const char *attach_without_mapping(struct attempt *a)
{
	a->event = text_attach(path, text_offset(NOP), false);
	return a->event < 0 ? "cannot attach" : NULL;
}

static int mapped_fd;

static const char *attach_and_open(struct attempt *a)
{
	mapped_fd = open(path, O_RDONLY | O_CLOEXEC);
	return mapped_fd < 0 ? "cannot open the file" : attach_without_mapping(a);
}

static void map_probed(struct attempt *a)
{
	a->text = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, mapped_fd, 0);
	note(a, a->text != MAP_FAILED);
}

static const char *mapped_or_not(struct attempt *a)
{
	if (a->failed && map_file(a))
		return "cannot be mapped any more";
	text_call(a->text, NOP, NULL);
	/* For want of memory the breakpoint may be missing, not more. */
	if (text_hits(a->event) > 1)
		return "one hit is counted twice";
	close(a->event);
	return text_restored(a->text, NOP) ? NULL : "a breakpoint stays behind";
}

static void unmap_probed(struct attempt *a)
{
	note(a, !munmap(a->text, TEXT_SIZE));
}

static const char *unmapped_or_not(struct attempt *a)
{
	if (a->failed) {
		text_call(a->text, NOP, NULL);
		if (text_hits(a->event) != 1)
			return "not unmapped, and the probe is lost";
	}
	return NULL;
}

static void move_probed(struct attempt *a)
{
	char *to = mremap(a->text, TEXT_SIZE, TEXT_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			  (char *)0x700000000000);

	note(a, to != MAP_FAILED);
	if (to != MAP_FAILED)
		a->text = to;
}

static void protect_probed(struct attempt *a)
{
	note(a, !mprotect(a->text, TEXT_SIZE, PROT_READ));
	mprotect(a->text, TEXT_SIZE, PROT_READ | PROT_EXEC);
}

static const char *still_probed(struct attempt *a)
{
	/* The fault may have been in the call that was to undo the first. */
	mprotect(a->text, TEXT_SIZE, PROT_READ | PROT_EXEC);
	text_call(a->text, NOP, NULL);
	if (text_hits(a->event) != 1)
		return "the probe is lost, or counts twice";
	close(a->event);
	return text_restored(a->text, NOP) ? NULL : "a breakpoint stays behind";
}

/* fork() */
static void fork_child(struct attempt *a)
{
	a->child = fork();
	note(a, a->child >= 0);
	if (a->child)
		return;
	/* The fault was for the parent: the child has none. */
	text_call(a->text, NOP, NULL);
	_exit(!a->text);
}

static const char *child_ended_well(struct attempt *a)
{
	if (!a->failed && !child_succeeds(a))
		return "the child of fork() died";
	text_call(a->text, NOP, NULL);
	if (text_hits(a->event) != (a->failed ? 1 : 2))
		return "hits of parent and child are not counted";
	return NULL;
}

/* With a return pending, which the child inherits. */
static struct attempt *forking;

static void fork_in_call(void)
{
	forking->child = fork();
	forking->failed = forking->child < 0 ? errno : 0;
}

static void fork_in_function(struct attempt *a)
{
	forking = a;
	text_call(a->text, CALL, fork_in_call);
	if (!a->failed && !a->child)
		_exit(0);
}

static const char *child_returned(struct attempt *a)
{
	int status;

	if (!a->failed && waitpid(a->child, &status, 0) != a->child)
		return "the child of fork() is gone";
	/*
	 * It gets no memory for the pending returns too late for fork() to fail:
	 * it returns to where they would be handled, and nobody is there.
	 */
	if (!a->failed && status &&
	    !(shared->injected && WIFSIGNALED(status) &&
	      (WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGSEGV)))
		return "the child of fork() died on its return";
	/* The parent's return, and the child's unless its memory failed. */
	return text_hits(a->event) <= 2 ? NULL : "more returns than calls";
}

/* Hits */
static void hit_nop(struct attempt *a) { text_call(a->text, NOP, NULL); }
static void hit_push(struct attempt *a) { text_call(a->text, PUSH, NULL); }
static void hit_step(struct attempt *a) { text_call(a->text, STEP, NULL); }

static const char *counted_once(struct attempt *a)
{
	return text_hits(a->event) == 1 ? NULL : "a hit is not counted once";
}

/* Without memory for a slot the instruction starts anew, and is hit anew. */
static const char *counted(struct attempt *a)
{
	return text_hits(a->event) >= 1 ? NULL : "a hit is not counted";
}

/* A return whose frame found no memory is not seen: once or not at all. */
static const char *counted_at_most_once(struct attempt *a)
{
	return text_hits(a->event) <= 1 ? NULL : "one return is counted twice";
}

/*
 * Reference counters: the file is mapped writable as well. How much of it fails
 * where is the kernel's business; the counter is what those who are attached make
 * it, and nothing when they have left.
 */
#define COUNTER	0xf00

static volatile int16_t *counter;

static const char *map_data(struct attempt *a)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	close(fd);
	note(a, data != MAP_FAILED);
	if (data == MAP_FAILED)
		return "cannot map the data";
	counter = (int16_t *)(data + COUNTER);
	return NULL;
}

/* What cannot be lowered for want of memory is lowered a little later. */
static bool counter_becomes(int value)
{
	int i;

	for (i = 0; i < 200 && *counter != value; i++)
		usleep(10000);
	return *counter == value;
}

static int open_counter(struct attempt *a, enum function which, bool children)
{
	struct upl_probe probe = {
		.path = path, .offset = text_offset(which), .ref_ctr_offset = COUNTER, .cpu = -1,
	};
	int event = event_open(&probe, children);

	a->failed = event < 0 ? -event : 0;
	return event;
}

static const char *map_both(struct attempt *a)
{
	return map_file(a) ?: map_data(a);
}

static const char *attach_counter(struct attempt *a, bool children)
{
	const char *why = map_both(a);

	if (why)
		return why;
	a->event = open_counter(a, STEP, children);
	if (a->failed)
		return "cannot attach with a counter";
	return *counter == 1 ? NULL : "attached, and the counter is not 1";
}

static void open_counted(struct attempt *a)
{
	a->event = open_counter(a, STEP, true);
}

static const char *attach_counted(struct attempt *a)
{
	return attach_counter(a, true);
}

/*
 * For want of memory it may be missing, which keeps no other process from being
 * traced and which the kernel log tells, but never is it more.
 */
static const char *wrong_counter(struct attempt *a, int others)
{
	if (*counter == others + !a->failed || (shared->injected && *counter == others))
		return NULL;
	return a->failed ? "refused, and the counter is raised" :
	       "attached, and the counter is not raised once";
}

static const char *counted_or_not(struct attempt *a)
{
	const char *why = wrong_counter(a, 0) ?: opened_or_not(a);

	if (why)
		return why;
	return counter_becomes(0) ? NULL : "the counter is not lowered";
}

static const char *closed_counted(struct attempt *a)
{
	const char *why = closed(a);

	if (why)
		return why;
	return counter_becomes(0) ? NULL : "the counter is not lowered";
}

static bool lowered(struct attempt *a)
{
	return counter_becomes(0);
}

/* Another probe with the same counter comes, or goes. */
static int other_event;

static void open_other(struct attempt *a)
{
	other_event = open_counter(a, PUSH, true);
}

static const char *attach_two(struct attempt *a)
{
	const char *why = attach_counted(a);

	if (why)
		return why;
	open_other(a);
	if (a->failed)
		return "cannot attach a second probe";
	return *counter == 2 ? NULL : "two probes, and the counter is not 2";
}

static void close_other(struct attempt *a)
{
	note(a, !close(other_event));
}

/* The first is counted and goes; its share of the counter with it. */
static const char *first_remains(struct attempt *a)
{
	text_call(a->text, STEP, NULL);
	if (text_hits(a->event) != 1)
		return "the other probe's hit is not counted once";
	close(a->event);
	return closed_counted(a);
}

static const char *shared_or_not(struct attempt *a)
{
	const char *why = wrong_counter(a, 1);

	if (why)
		return why;
	if (!a->failed) {
		close(other_event);
		if (*counter != 1)
			return "one of two has left, and the counter is not 1";
	}
	return first_remains(a);
}

static const char *shared_no_more(struct attempt *a)
{
	if (!counter_becomes(1))
		return "one of two has left, and the counter is not 1";
	return text_restored(a->text, PUSH) ? first_remains(a) : "a breakpoint stays behind";
}

/* The data is mapped behind the attachment. */
static const char *attach_without_data(struct attempt *a)
{
	if (map_file(a))
		return "cannot map the file";
	open_counted(a);
	return a->failed ? "cannot attach with a counter" : NULL;
}

static void map_counted(struct attempt *a)
{
	map_data(a);
}

static const char *raised_or_not(struct attempt *a)
{
	if (a->failed && map_data(a))
		return "the data cannot be mapped any more";
	/* For want of memory it may be missing, not more. */
	if (*counter != 1 && !(shared->injected && !*counter))
		return "mapped, and the counter is not 1";
	close(a->event);
	return closed_counted(a);
}

/* A child has the counter of its parent, until the event goes. */
static void fork_counted(struct attempt *a)
{
	a->child = fork();
	note(a, a->child >= 0);
	if (a->child)
		return;
	/* The event goes when the parent closes it. */
	close(a->event);
	_exit(!counter_becomes(0));
}

static const char *both_lowered(struct attempt *a)
{
	if (*counter != 1)
		return "fork() has changed the parent's counter";
	close(a->event);
	if (!a->failed && !child_succeeds(a))
		return "the child's counter is not lowered";
	return closed_counted(a);
}

/* A child that the tracer did not ask for has lowered counters. */
static const char *attach_counted_alone(struct attempt *a)
{
	return attach_counter(a, false);
}

static void fork_not_counted(struct attempt *a)
{
	a->child = fork();
	note(a, a->child >= 0);
	if (!a->failed && !a->child)
		_exit(!!*counter);
}

static const char *lowered_in_child(struct attempt *a)
{
	if (*counter != 1)
		return "fork() has changed the parent's counter";
	if (!a->failed && !child_succeeds(a))
		return "the child's counter is raised";
	close(a->event);
	return closed_counted(a);
}

OPERATION(register, "uprobe", map_file, open_event, opened_or_not);
OPERATION(register_return, "uprobe", map_file, open_return_event, opened_or_not);
OPERATION(unregister, "uprobe", attach_step, close_event, closed);
OPERATION(unregister_shared, "__get_user_pages", attach_and_share, close_event, both_restored);
OPERATION(attach_bpf, "perf_event_attach_bpf_prog", attach_and_load, set_prog, opened_or_not);
OPERATION(detach_bpf, "", attach_prog, close_event, closed);
OPERATION(define, "trace_uprobe", open_definitions, define, defined_or_not);
OPERATION(undefine, "", define_first, undefine, undefined_or_not);
OPERATION(enable, "uprobe", open_enable, enable, enabled_or_not);
OPERATION(disable, "", enable_first, disable, disabled_or_not);
OPERATION(mmap, "uprobe_mmap", attach_and_open, map_probed, mapped_or_not);
OPERATION(munmap, NULL, attach_nop, unmap_probed, unmapped_or_not);
OPERATION(mremap, "", attach_nop, move_probed, still_probed);
OPERATION(mprotect, NULL, attach_nop, protect_probed, still_probed);
OPERATION(fork, "", attach_nop, fork_child, child_ended_well);
OPERATION(fork_return, "uprobe", attach_call_return, fork_in_function, child_returned);
OPERATION(hit_nop, NULL, attach_nop, hit_nop, counted_once);
OPERATION(hit_push, "uprobe", attach_push, hit_push, counted_once);
OPERATION(hit_step, "uprobe", attach_step, hit_step, counted);
OPERATION(return, "uprobe", attach_return, hit_nop, counted_at_most_once);
OPERATION(step_return, "uprobe", attach_step_return, hit_step, counted_at_most_once);
OPERATION(register_counter, "uprobe", map_both, open_counted, counted_or_not);
OPERATION(unregister_counter, NULL, attach_counted, close_event, closed_counted);
OPERATION(register_shared_counter, "uprobe", attach_counted, open_other, shared_or_not);
OPERATION(unregister_shared_counter, NULL, attach_two, close_other, shared_no_more);
OPERATION(mmap_counter, NULL, attach_without_data, map_counted, raised_or_not);
OPERATION(fork_counter, NULL, attach_counted, fork_counted, both_lowered);
OPERATION(fork_uncounted, "ref_ctr", attach_counted_alone, fork_not_counted, lowered_in_child);

/* ---- faults ---- */

/* Of all allocations, those that may wait as well. */
static bool faults_ready(void)
{
	return set_fault("ignore-gfp-wait", "N") && set_fault("verbose", "2") &&
	       write_setting("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N") &&
	       write_setting("/sys/kernel/debug/fail_page_alloc/min-order", "0") &&
	       !access("/sys/kernel/debug/fail_usercopy", R_OK) &&
	       !access("/proc/thread-self/fail-nth", W_OK);
}

static int arm(int nth)
{
	char text[16];
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	snprintf(text, sizeof(text), "%d", nth);
	return write(fd, text, strlen(text)) > 0 ? fd : -1;
}

/* Has the fault come? */
static bool disarm(int fd)
{
	char text[16] = "";
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	/* The Nth site may be this one, or that of the write. */
	while (write(fd, "0", 1) < 0)
		;
	close(fd);
	return len > 0 && !atoi(text);
}

static int kernel_log = -1;

/*
 * The kernel kills a task whose rseq area, the C library's, it cannot write for
 * want of memory: run without one.
 */
__attribute__((constructor)) static void share(int argc, char **argv)
{
	if (!getenv("GLIBC_TUNABLES")) {
		setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
		execv("/proc/self/exe", argv);
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static bool is_allocator(const char *function)
{
	static const char * const names[] = {
		"dump_stack", "should_fail", "__should_fail", "fail_dump", "slab",
		"___slab", "__slab", "kmem_cache_alloc", "__kmem_cache", "kmalloc",
		"__kmalloc", "krealloc", "kvmalloc", "kstrdup", "kmemdup", "kstrndup",
		"memdup", "__alloc_pages", "alloc_pages", "__folio_alloc",
		"vma_alloc_folio", "__get_free", "get_zeroed", "prepare_alloc",
		"_copy_", "copy_", "allocate_slab", "new_slab", "get_partial",
		"strndup_user", "strncpy_from_user", "__vmalloc", "pcpu_",
		"__alloc_percpu", "show_stack", "mempool", "kasan", "__stack_depot",
		"stack_depot", "__kasan", "create_object", "kmemleak",
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strncmp(function, names[i], strlen(names[i])))
			return true;
	}
	return false;
}

static void add_site(const char *frame)
{
	unsigned int i;

	for (i = 0; i < shared->nr_sites; i++) {
		if (!strcmp(shared->sites[i], frame))
			return;
	}
	if (i < sizeof(shared->sites) / sizeof(shared->sites[0]))
		snprintf(shared->sites[shared->nr_sites++], sizeof(shared->sites[0]),
			 "%s", frame);
}

/* Read the traces since the last call: is one below a function named so? */
static bool read_traces(const char *covers)
{
	enum { NONE, ALLOCATOR, CALLERS } where = NONE;
	char record[8192], *text, *end;
	bool covered = false;
	ssize_t len;

	for (;;) {
		len = read(kernel_log, record, sizeof(record) - 1);
		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			return covered;
		record[len] = '\0';
		text = strchr(record, ';');
		if (!text)
			continue;
		text++;
		text[strcspn(text, "\n")] = '\0';
		text += strspn(text, " ");
		if (strstr(text, "forcing a failure"))
			where = ALLOCATOR;
		end = strstr(text, "+0x");
		if (where == NONE || !end || *text == '?' || !strncmp(text, "RIP", 3))
			continue;
		if (where == ALLOCATOR && !is_allocator(text)) {
			text[strcspn(text, "/")] = '\0';
			add_site(text);
			where = CALLERS;
		}
		if (strstr(text, covers))
			covered = true;
	}
}

/* ---- a case for each operation ---- */

static void attempt(const struct operation *op, int nth)
{
	struct attempt a = { .event = -1, .prog = -1 };
	const char *why = op->prepare(&a);
	int fd;

	a.failed = 0;
	if (!why) {
		fd = arm(nth);
		op->run(&a);
		shared->injected = disarm(fd);
		shared->failed = a.failed;
		if (a.failed && !shared->injected)
			why = "failed without a fault";
		else
			why = op->finish(&a);
	}
	snprintf(shared->why, sizeof(shared->why), "%s", why ? why : "");
	_exit(0);
}

/* In a process of its own: a wait status. */
static int try(const struct operation *op, int nth)
{
	int status = -1;
	pid_t pid;

	shared->injected = false;
	shared->failed = 0;
	strcpy(shared->why, "died before its end");
	pid = fork();
	if (!pid)
		attempt(op, nth);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

/* Whatever fails, once, the operation fails as a whole or works as a whole. */
TEST_F_TIMEOUT(uprobe, survives_each_fault, 1200)
{
	unsigned int nth, round = 1, faults = 0, failed = 0, sites = shared->nr_sites;
	const struct operation *op = &variant->op;
	bool covered = !op->covers;
	int status;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_BPF | NEED_X86_64);
	if (!faults_ready())
		SKIP(return, "no fault injection");
	/* What the kernel says of breakpoints that it cannot set or remove. */
	self->expected = "uprobe: ";
	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(kernel_log, 0, SEEK_END);
	/* Traces are read from the log; a serial console takes most of the time. */
	EXPECT_TRUE(write_setting("/proc/sys/kernel/printk", "4"));
	snprintf(path, sizeof(path), "/tmp/fault_test.%d", getpid());
	ASSERT_EQ(0, text_write(path));
	/* Else enabling an event starts recording of names, which is not ours. */
	EXPECT_TRUE(write_setting("/sys/kernel/tracing/options/record-cmd", "0"));

	for (nth = 1; nth < MAX_FAULTS; nth++) {
		status = try(op, nth);
		EXPECT_EQ(0, status) TH_LOG("fault %u: wait status %#x", nth, status);
		EXPECT_STREQ("", shared->why) TH_LOG("fault %u, errno %d", nth, shared->failed);
		if (read_traces(op->covers ?: ""))
			covered = true;
		/* Each time: the log holds the traces of some faults only. */
		EXPECT_EQ(0, kernel_log_faults(self->expected))
			TH_LOG("fault %u", nth);
		if (status)
			break;
		if (!shared->injected) {
			/*
			 * fork() allocates more or less as stacks and pages are at
			 * hand: the Nth fault of one attempt and the next one of
			 * another can leave out the site that counts.
			 */
			if (covered || round == MAX_ROUNDS)
				break;
			round++;
			nth = 0;
			continue;
		}
		faults++;
		if (!shared->failed)
			continue;
		failed++;

		/* The next one works. */
		status = try(op, 0);
		EXPECT_EQ(0, status);
		EXPECT_STREQ("", shared->why) TH_LOG("without a fault, after fault %u", nth);
		EXPECT_EQ(0, shared->failed);
	}
	EXPECT_LT(nth, MAX_FAULTS);
	EXPECT_TRUE(covered) TH_LOG("no fault below %s", op->covers);
	shared->nr_faults += faults;
	TH_LOG("%u faults in %u rounds, one at a time: failed %u, went on %u; %u new sites",
	       faults, round, failed, faults - failed, shared->nr_sites - sites);
	unlink(path);
}

/* ---- all faults at once ---- */

FIXTURE(starved) {
	struct attempt attempt;
};

FIXTURE_SETUP(starved)
{
	self->attempt.event = -1;
	REQUIRE_SETUP(NEED_ROOT | NEED_PMU | NEED_X86_64);
	EXPECT_EQ(0, kernel_log_faults(NULL));
	snprintf(path, sizeof(path), "/tmp/fault_test.%d", getpid());
	ASSERT_EQ(0, text_write(path));
}

FIXTURE_TEARDOWN(starved)
{
	EXPECT_TRUE(restore_settings());
	EXPECT_EQ(0, kernel_log_faults("uprobe: "));
	unlink(path);
}

/*
 * Close the event, while no allocation of this task works; a child looks from then
 * on. Returns how many seconds later it saw all undone, -1 if it did not.
 */
static double close_starved(struct attempt *a)
{
	static const char file[] = "/proc/thread-self/make-it-fail";
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	bool good = look_in_child() && set_fault("verbose", "0") &&
		    set_fault("task-filter", "Y") && set_fault("times", "-1") &&
		    set_fault("probability", "100") && write(fd, "1", 1) == 1;
	double begin = now();

	close_event(a);
	good = write(fd, "0", 1) == 1 && good;
	close(fd);
	return child_succeeds(a) && good && !a->failed ? shared->undone - begin : -1;
}

/* Half of the time after which it is tried again at the earliest. */
#define LATER	0.05

/*
 * Who gets no memory at all removes nothing that must be copied: it is done later,
 * in processes that do not come by as well.
 */
TEST_F(starved, removed_later)
{
	struct attempt *a = &self->attempt;
	const char *why;
	double took;

	if (!faults_ready())
		SKIP(return, "no fault injection");
	why = attach_and_share(a);
	ASSERT_EQ(NULL, why) TH_LOG("%s", why);
	took = close_starved(a);
	EXPECT_LE(0, took) TH_LOG("a breakpoint stays behind in the child");
	EXPECT_LE(LATER, took) TH_LOG("removed at once: this proves nothing");
	EXPECT_TRUE(restored(a));
}

/* A process of its own that has the probe and its counter until it is killed. */
static pid_t hold_counted(void)
{
	struct attempt a = { .event = -1 };
	int ready[2];
	char c = 0;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		open_counter(&a, STEP, false);
		if (!a.failed && write(ready[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		pid = -1;
	close(ready[0]);
	return pid;
}

/* So is a counter lowered that must be copied, which others go on counting with. */
TEST_F(starved, lowered_later)
{
	struct attempt *a = &self->attempt;
	const char *why;
	double took;
	pid_t other;

	if (!faults_ready())
		SKIP(return, "no fault injection");
	other = hold_counted();
	ASSERT_LT(0, other);
	why = attach_counted(a) ?: share_with_child(a, lowered);
	ASSERT_EQ(NULL, why) TH_LOG("%s", why);
	took = close_starved(a);
	EXPECT_LE(0, took) TH_LOG("the child's counter is not lowered");
	EXPECT_LE(LATER, took) TH_LOG("lowered at once: this proves nothing");
	EXPECT_TRUE(lowered(a));
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

/* ---- and after all of them ---- */

FIXTURE(afterwards) {
};

FIXTURE_SETUP(afterwards)
{
}

FIXTURE_TEARDOWN(afterwards)
{
	EXPECT_EQ(0, kernel_log_faults(NULL));
}

/* No memory was left unreferenced by an error path. */
TEST_F_TIMEOUT(afterwards, nothing_leaks, 300)
{
	static const char file[] = "/sys/kernel/debug/kmemleak";
	char report[4096];
	ssize_t len;
	int fd, i;

	REQUIRE(NEED_ROOT);
	if (!shared->nr_faults)
		SKIP(return, "no fault injection");
	for (i = 0; i < (int)shared->nr_sites; i++)
		printf("# site %s\n", shared->sites[i]);
	TH_LOG("%u faults at %u sites", shared->nr_faults, shared->nr_sites);
	if (access(file, W_OK))
		SKIP(return, "no kmemleak");
	/* What callbacks free, and objects younger than five seconds. */
	sleep(6);
	for (i = 0; i < 2; i++)
		ASSERT_TRUE(write_file(file, "scan"));
	fd = open(file, O_RDONLY | O_CLOEXEC);
	while ((len = read(fd, report, sizeof(report) - 1)) > 0) {
		report[len] = '\0';
		EXPECT_EQ(NULL, strstr(report, "unreferenced object"))
			TH_LOG("%s", report);
	}
	close(fd);
}

TEST_HARNESS_MAIN
