// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once around a few uprobes, with the hits counted: threads that
 * call probed functions, others that attach and detach, fork, exec, exit in the
 * middle, signals whose handlers call probed functions, ptrace, recursion that
 * returns and recursion that longjmp() leaves.
 *
 * Proves that no hit is lost or doubled. A call announces itself in "begun"
 * before and in "done" after, so that done <= hits <= begun holds even for
 * tasks that are killed, and both are equal where nobody is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "events.h"
#include "helpers.h"

#ifndef __x86_64__
#error "the probed instructions are those of x86_64"
#endif

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_DEPTH 48	/* below MAX_URETPROBE_DEPTH, signals nest as well */

/* --- what is probed: one function for each way the kernel takes --- */
int stress_word = 7;

#define FUNCTION(name, body)					\
	ASM_FUNCTION(name, body);				\
	void name(void)

FUNCTION(on_nop, "nop\n ret");
FUNCTION(on_push, "push %rbp\n pop %rbp\n ret");
FUNCTION(on_step, "imul %rdi, %rax\n ret");
FUNCTION(on_rip, "mov stress_word(%rip), %eax\n ret");
FUNCTION(on_call, "call on_call_target\n ret\n on_call_target: ret");
FUNCTION(on_return, "nop\n ret");
FUNCTION(on_step_return, "imul %rdi, %rax\n ret");

enum { RECURSE = 7 };
enum bottom { RETURN, JUMP, FORK };
static __thread enum bottom at_bottom;
static __thread jmp_buf leave_to;
static __thread pid_t forked;

/* Goes @depth frames down, then back or away, or back in two processes. */
__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))
void recurse(int depth)
{
	asm volatile("" : "+r"(depth) : : "memory");
	if (depth > 0)
		recurse(depth - 1);
	else if (at_bottom == JUMP)
		longjmp(leave_to, 1);
	else if (at_bottom == FORK)
		forked = fork();
	asm volatile("" : : : "memory");
}

struct function {
	const char *name;
	void (*fn)(void);
	bool ret;
} functions[] = {
	{ "nop", on_nop, false },
	{ "push", on_push, false },
	{ "step", on_step, false },
	{ "rip", on_rip, false },
	{ "call", on_call, false },
	{ "return", on_return, true },
	{ "step-return", on_step_return, true },
	{ "recursion", (void (*)(void))recurse, true },
};

#define NR_FUNCTIONS ARRAY_SIZE(functions)

/* --- the books, shared by all processes --- */
struct counter {
	uint64_t begun, done;
} __attribute__((aligned(64)));

struct shared {
	struct counter calls[NR_FUNCTIONS];
	volatile int stop;
	uint64_t forks, execs, kills, signals, attaches, ptraces, steps, longjmps;
	uint64_t failures;
} *shared;

static uint64_t *hits;		/* the BPF programs' array, one word a function */
static unsigned int seed;
static int seconds = 10, nr_threads = 4;

static void fail(const char *fmt, ...)
{
	va_list ap;

	__atomic_fetch_add(&shared->failures, 1, __ATOMIC_RELAXED);
	va_start(ap, fmt);
	printf("# ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
}

#define count(field) __atomic_fetch_add(&shared->field, 1, __ATOMIC_RELAXED)

static void call(int which)
{
	struct counter *c = &shared->calls[which];

	__atomic_fetch_add(&c->begun, 1, __ATOMIC_SEQ_CST);
	functions[which].fn();
	__atomic_fetch_add(&c->done, 1, __ATOMIC_SEQ_CST);
}

/* All frames return: depth + 1 hits. */
static void call_recursion(int depth)
{
	struct counter *c = &shared->calls[RECURSE];

	__atomic_fetch_add(&c->begun, depth + 1, __ATOMIC_SEQ_CST);
	recurse(depth);
	__atomic_fetch_add(&c->done, depth + 1, __ATOMIC_SEQ_CST);
}

/* No frame returns: no hit of the return probe. */
static void call_longjmp(int depth)
{
	at_bottom = JUMP;
	if (!setjmp(leave_to))
		recurse(depth);
	at_bottom = RETURN;
	count(longjmps);
}

/* Forks with returns pending: parent and child return through all frames. */
static pid_t call_fork(int depth)
{
	struct counter *c = &shared->calls[RECURSE];

	__atomic_fetch_add(&c->begun, 2 * (depth + 1), __ATOMIC_SEQ_CST);
	at_bottom = FORK;
	recurse(depth);
	at_bottom = RETURN;
	__atomic_fetch_add(&c->done, depth + 1, __ATOMIC_SEQ_CST);
	return forked;
}

static void call_any(unsigned int *rnd)
{
	int which = rand_r(rnd) % NR_FUNCTIONS;

	if (which == RECURSE)
		call_recursion(rand_r(rnd) % MAX_DEPTH);
	else
		call(which);
	if (rand_r(rnd) % 64 == 0)
		call_longjmp(rand_r(rnd) % MAX_DEPTH);
}

/* --- attaching --- */
static uint64_t file_offset(const void *address)
{
	unsigned long start, end, offset;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 &&
		    (unsigned long)address >= start && (unsigned long)address < end) {
			fclose(maps);
			return (unsigned long)address - start + offset;
		}
	}
	fprintf(stderr, "no mapping at %p\n", address);
	exit(1);
}

/* A descriptor, or -errno. */
static int attach(struct function *f, bool ret, pid_t pid, int cpu, bool inherit)
{
	struct upl_probe probe = {
		.path = "/proc/self/exe", .offset = file_offset((void *)f->fn),
		.is_return = ret, .pid = pid, .cpu = cpu,
	};

	return event_open(&probe, inherit);
}

/* --- the actors --- */
static void *caller(void *arg)
{
	unsigned int rnd = seed + (long)arg;

	while (!shared->stop)
		call_any(&rnd);
	return NULL;
}

static int extra_prog;

/* Attaches and detaches other consumers, in all kinds, where probes are and beside. */
static void *churner(void *arg)
{
	unsigned int rnd = seed + 1000 + (long)arg;
	int fds[16], used = 0, i;

	while (!shared->stop || used) {
		i = rand_r(&rnd) % ARRAY_SIZE(fds);
		if (i >= used && !shared->stop) {
			struct function *f = &functions[rand_r(&rnd) % NR_FUNCTIONS];
			int r = rand_r(&rnd);
			/* own process; own with children; a child that is gone; all */
			int fd = attach(f, r & 1, r & 2 ? -1 : 0, r & 2 ? 0 : -1, r & 4);

			if (fd < 0) {
				fail("attach to %s: %s", f->name, strerror(-fd));
				continue;
			}
			if (r & 8 && event_set_prog(fd, extra_prog))
				fail("no program: %s", strerror(errno));
			count(attaches);
			fds[used++] = fd;
		} else if (used) {
			i %= used;
			close(fds[i]);
			fds[i] = fds[--used];
		}
	}
	return NULL;
}

static void on_signal(int sig)
{
	unsigned int rnd = (unsigned long)&sig >> 4;
	int which = rand_r(&rnd) % RECURSE;

	(void)sig;
	call(which);
	count(signals);
}

static pthread_t callers[256];

static void *signaller(void *arg)
{
	unsigned int rnd = seed + 2000;

	(void)arg;
	while (!shared->stop) {
		pthread_kill(callers[rand_r(&rnd) % nr_threads], SIGUSR1);
		usleep(rand_r(&rnd) % 2000);
	}
	return NULL;
}

static bool calm, break_it;

/* Ends in one of the ways that a task can end. */
static void child(unsigned int rnd)
{
	int i, n = rand_r(&rnd) % 50;

	for (i = 0; i < n; i++)
		call_any(&rnd);
	switch (rand_r(&rnd) % 3) {
	case 0:
		count(execs);
		execl("/proc/self/exe", "stress", "--exec", NULL);
		fail("exec: %s", strerror(errno));
		break;
	case 1:
		while (!calm)	/* to be killed */
			call_any(&rnd);
	}
	_exit(0);
}

static void reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		fail("a child died of signal %d (%s)", WTERMSIG(status),
		     strsignal(WTERMSIG(status)));
	else if (WIFEXITED(status) && WEXITSTATUS(status))
		fail("a child exited with %d", WEXITSTATUS(status));
}

static void *forker(void *arg)
{
	unsigned int rnd = seed + 3000;
	pid_t pid;

	(void)arg;
	while (!shared->stop) {
		pid = rand_r(&rnd) & 1 ? fork() : call_fork(rand_r(&rnd) % MAX_DEPTH);
		if (pid == 0)
			child(rnd);
		if (pid < 0) {
			fail("fork: %s", strerror(errno));
			break;
		}
		count(forks);
		usleep(rand_r(&rnd) % 20000);
		if (!calm && kill(pid, SIGKILL) == 0)
			count(kills);
		reap(pid);
	}
	return NULL;
}

/*
 * Steps a stopped process by a few instructions, probed ones among them. The
 * kernel must tell its own steps from those of the tracer.
 */
static bool step(pid_t pid, unsigned int steps)
{
	int status;

	while (steps--) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) ||
		    waitpid(pid, &status, __WALL) < 0)
			return false;
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
			fail("a step ended with status %#x", status);
			return false;
		}
		count(steps);
	}
	return true;
}

/* Stops a process again and again, wherever it is just now, and steps it. */
static void *tracer(void *arg)
{
	unsigned int rnd = seed + 4000;
	int status, i;
	pid_t pid;

	(void)arg;
	while (!shared->stop) {
		pid = fork();
		if (pid == 0) {
			unsigned int r = rnd;

			for (;;)
				call_any(&r);
		}
		if (ptrace(PTRACE_SEIZE, pid, NULL, NULL))
			fail("PTRACE_SEIZE: %s", strerror(errno));
		for (i = 0; i < 20 && !shared->stop; i++) {
			if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
				fail("PTRACE_INTERRUPT: %s", strerror(errno));
			if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) {
				fail("the traced process is gone (status %#x)", status);
				break;
			}
			count(ptraces);
			if (!step(pid, rand_r(&rnd) % 64))
				break;
			ptrace(PTRACE_CONT, pid, NULL, NULL);
			usleep(rand_r(&rnd) % 500);
		}
		kill(pid, SIGKILL);
		reap(pid);
		count(kills);
	}
	return NULL;
}

static bool check(size_t i, bool exact)
{
	uint64_t begun = shared->calls[i].begun, done = shared->calls[i].done;
	bool good = done <= hits[i] && hits[i] <= begun;

	if (exact)
		good = hits[i] == begun && hits[i] == done;
	printf("# %s: begun %llu hits %llu done %llu\n", functions[i].name,
	       (unsigned long long)begun, (unsigned long long)hits[i],
	       (unsigned long long)done);
	return good && hits[i];
}

static void usage(void)
{
	printf("usage: stress_test [--seconds N] [--threads N] [--seed N] [--calm] [--break]\n"
	       "  --calm   kills nobody: hits must be exact\n"
	       "  --break  counts hits of the first function twice: must fail\n");
}

static bool all_acted(void)
{
	return shared->attaches && shared->signals && shared->forks && shared->execs &&
	       shared->longjmps && (calm || (shared->kills && shared->ptraces && shared->steps));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 't' },
		{ "threads", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "calm", no_argument, NULL, 'c' },
		{ "break", no_argument, NULL, 'b' },
		{ "exec", no_argument, NULL, 'x' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	bool good;
	pthread_t others[8];
	int nr_others = 0, failed = 0, opt, map;
	size_t i;

	seed = time(NULL);
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			seconds = atoi(optarg);
			break;
		case 'n':
			nr_threads = atoi(optarg);
			break;
		case 's':
			seed = atoi(optarg);
			break;
		case 'c':
			calm = true;
			break;
		case 'b':
			break_it = true;
			break;
		case 'x':
			return 0;
		case 'h':
			usage();
			return 0;
		default:
			usage();
			return 1;
		}
	}
	if (nr_threads < 1 || nr_threads > (int)ARRAY_SIZE(callers) || seconds < 1) {
		usage();
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%zu\n# seed %u, %d threads, %d s%s\n",
	       NR_FUNCTIONS + 1, seed, nr_threads, seconds, calm ? ", calm" : "");

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	map = counters_make(NR_FUNCTIONS + 1, &hits);	/* the last one is not counted */
	if (shared == MAP_FAILED || map < 0) {
		printf("Bail out! no BPF here: %s\n", strerror(-map));
		return 1;
	}
	extra_prog = counters_prog(map, NR_FUNCTIONS);
	for (i = 0; i < NR_FUNCTIONS; i++) {
		int fd = attach(&functions[i], functions[i].ret, -1, 0, false);

		if (fd < 0 || event_set_prog(fd, counters_prog(map, i))) {
			printf("Bail out! cannot attach to %s: %s\n", functions[i].name,
			       strerror(fd < 0 ? -fd : errno));
			return 1;
		}
	}

	if (break_it && event_set_prog(attach(&functions[0], false, -1, 0, false),
				       counters_prog(map, 0))) {
		printf("Bail out! cannot attach twice: %s\n", strerror(errno));
		return 1;
	}

	signal(SIGUSR1, on_signal);
	for (i = 0; i < (size_t)nr_threads; i++)
		pthread_create(&callers[i], NULL, caller, (void *)i);
	pthread_create(&others[nr_others++], NULL, churner, (void *)0);
	pthread_create(&others[nr_others++], NULL, churner, (void *)1);
	pthread_create(&others[nr_others++], NULL, signaller, NULL);
	pthread_create(&others[nr_others++], NULL, forker, NULL);
	if (!calm)
		pthread_create(&others[nr_others++], NULL, tracer, NULL);
	while (seconds-- > 0)
		sleep(1);
	/* On a busy machine that is little. */
	for (i = 0; i < 60 && !all_acted(); i++)
		sleep(1);
	shared->stop = 1;
	while (nr_others)
		pthread_join(others[--nr_others], NULL);
	for (i = 0; i < (size_t)nr_threads; i++)
		pthread_join(callers[i], NULL);

	printf("# attaches %llu forks %llu execs %llu kills %llu\n"
	       "# signals %llu ptraces %llu steps %llu longjmps %llu\n",
	       (unsigned long long)shared->attaches, (unsigned long long)shared->forks,
	       (unsigned long long)shared->execs, (unsigned long long)shared->kills,
	       (unsigned long long)shared->signals, (unsigned long long)shared->ptraces,
	       (unsigned long long)shared->steps,
	       (unsigned long long)shared->longjmps);
	for (i = 0; i < NR_FUNCTIONS; i++) {
		good = check(i, calm);
		failed += !good;
		printf("%sok %zu hits of %s\n", good ? "" : "not ", i + 1, functions[i].name);
	}
	good = !shared->failures && all_acted();
	failed += !good;
	printf("%sok %zu nothing failed, every actor acted\n", good ? "" : "not ",
	       NR_FUNCTIONS + 1);
	printf("# Totals: pass:%zu fail:%d xfail:0 xpass:0 skip:0 error:0\n",
	       NR_FUNCTIONS + 1 - failed, failed);
	return failed ? 1 : 0;
}
