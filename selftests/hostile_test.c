// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/*
 * Probed tasks that do what is rare or malicious: none is killed that would live
 * without probes, none learns or gets what it may not, no hit is counted twice.
 * x86-64.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "common.h"
#include "text.h"

#define ROUNDS	1000

static char path[64], *text;

/* The file, mapped; the name is the case's own. */
static const char *make_text(void)
{
	const char *why = missing(NEED_ROOT | NEED_PMU | NEED_X86_64);

	if (why)
		return why;
	snprintf(path, sizeof(path), "/tmp/hostile.%d", getpid());
	if (text_write(path))
		return "no room in /tmp";
	text = text_map(path);
	return text ? NULL : "cannot map a file in /tmp";
}

#define MAKE_TEXT() do {						\
	const char *why_ = make_text();					\
									\
	if (why_)							\
		SKIP(return, "%s", why_);				\
} while (0)

static int attach(enum function which)
{
	return text_attach(path, text_offset(which), false);
}

static int attach_return(enum function which)
{
	return text_attach(path, text_offset(which), true);
}

/* fn in a child: its wait status. */
static int in_child(void (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		fn();
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

static void call_all(void)
{
	text_call(text, NOP, NULL);
	text_call(text, PUSH, NULL);
	text_call(text, STEP, NULL);
}

/* ---- places ---- */

/* A file of two pages and the function at the given place in it; its mapping. */
static char *place(uint64_t offset, const char *code, size_t size)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char *map = NULL;

	if (fd >= 0 && !ftruncate(fd, 0) && !ftruncate(fd, 2 * TEXT_SIZE) &&
	    pwrite(fd, code, size, offset) == (ssize_t)size)
		map = mmap(NULL, 2 * TEXT_SIZE, PROT_READ | PROT_EXEC,
			   MAP_PRIVATE, fd, 0);
	close(fd);
	return map == MAP_FAILED ? NULL : map;
}

/* Instructions that end a page or lie across two, stepped or not. */
TEST_F(uprobe, page_ends)
{
	static const struct {
		const char	*code;
		size_t		size, insn;
	} functions[] = {
		{ "\x90\xc3", 2, 1 },
		{ "\x55\x5d\xc3", 3, 1 },
		{ "\x66\x0f\xef\xc0\xc3", 5, 4 },
		{ "\x0f\x1f\x44\x00\x00\xc3", 6, 5 },
		{ "\xb8\x04\x03\x02\x01\xc3", 6, 5 },
	};
	unsigned int i, cut, tried = 0;
	uint64_t offset;
	char *map;
	int event;

	MAKE_TEXT();
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		/* so many bytes of it on the first page */
		for (cut = 1; cut <= functions[i].insn; cut++) {
			offset = TEXT_SIZE - cut;
			map = place(offset, functions[i].code, functions[i].size);
			ASSERT_NE(NULL, map);
			event = text_attach(path, offset, false);
			ASSERT_LE(0, event) TH_LOG("function %u, %u bytes: %s", i, cut,
						   strerror(errno));
			((void (*)(void))(map + offset))();
			EXPECT_EQ(1, text_hits(event)) TH_LOG("function %u, %u bytes", i, cut);
			close(event);
			((void (*)(void))(map + offset))();
			munmap(map, 2 * TEXT_SIZE);
			tried++;
		}
	}
	TH_LOG("%u places", tried);
	unlink(path);
}

/* No probe where no instruction is. */
TEST_F(uprobe, refused_places)
{
	MAKE_TEXT();
	ASSERT_NE(NULL, place(0, "\x90\xc3", 2));
	EXPECT_EQ(-1, text_attach(path, 2 * TEXT_SIZE, false));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, text_attach(path, ~0ULL, false));
	EXPECT_EQ(-1, text_attach(path, 1ULL << 63, false));
	EXPECT_EQ(-1, text_attach(path, LLONG_MAX, false));
	EXPECT_EQ(-1, text_attach("/", 0, false));
	EXPECT_EQ(-1, text_attach("/dev/null", 0, false));
	EXPECT_EQ(-1, text_attach("/proc/self/status", 0, false));
	/* A breakpoint of the program's own: is one already. */
	ASSERT_NE(NULL, place(0, "\xcc\xc3", 2));
	EXPECT_EQ(-1, text_attach(path, 0, false)) TH_LOG("int3 probed");
	unlink(path);
}

static volatile sig_atomic_t trapped;

static void on_own_trap(int signal)
{
	trapped = 1;
}

static void (*own_breakpoint)(void);

static void call_own_breakpoint(void)
{
	signal(SIGTRAP, on_own_trap);
	alarm(20);	/* it might never come back */
	own_breakpoint();
	_exit(!trapped);
}

/*
 * The int3 of a file that nobody maps is not seen until somebody does: it remains
 * the program's own, also in one that has other probes.
 */
TEST_F(uprobe, own_breakpoint)
{
	static const char code[] = "\x90\xc3\xcc\xc3";
	int nop, trap;
	char *map;

	MAKE_TEXT();
	map = place(0, code, sizeof(code));
	ASSERT_NE(NULL, map);
	munmap(map, 2 * TEXT_SIZE);
	munmap(text, TEXT_SIZE);
	nop = text_attach(path, 0, false);
	ASSERT_LE(0, nop);
	trap = text_attach(path, 2, false);
	ASSERT_LE(0, trap);
	text = text_map(path);
	ASSERT_NE(NULL, text);
	text_call(text, NOP, NULL);
	EXPECT_EQ(1, text_hits(nop));
	own_breakpoint = (void (*)(void))(text + 2);
	EXPECT_EQ(0, in_child(call_own_breakpoint)) TH_LOG("no SIGTRAP");
	EXPECT_EQ(0, text_hits(trap));
	close(trap);
	EXPECT_EQ(0, in_child(call_own_breakpoint));
	close(nop);
	unlink(path);
}

/* A probe inside an instruction spoils it while it is there, and no longer. */
TEST_F(uprobe, inside_an_instruction)
{
	int inside, start;

	MAKE_TEXT();
	inside = text_attach(path, text_offset(VALUE) + 2, false);
	ASSERT_LE(0, inside);
	EXPECT_EQ((TEXT_VALUE & ~0xff00) | 0xcc00, text_call(text, VALUE, NULL));
	/* One at the start executes what the file says. */
	start = attach(VALUE);
	ASSERT_LE(0, start);
	text_call(text, VALUE, NULL);
	EXPECT_EQ(1, text_hits(start));
	EXPECT_EQ(0, text_hits(inside));
	close(inside);
	EXPECT_EQ(TEXT_VALUE, text_call(text, VALUE, NULL));
	close(start);
	EXPECT_TRUE(text_restored(text, VALUE));
	unlink(path);
}

/* Text in a huge page: one page of it is split off, the rest does as before. */
TEST_F(uprobe, huge_pages)
{
	const size_t huge = 2 << 20;
	char dir[] = "/tmp/huge.XXXXXX", line[256];
	unsigned long kb = 0, n;
	char *area, *map;
	FILE *smaps;
	int event, fd;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_X86_64);
	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	ASSERT_NE(NULL, mkdtemp(dir));
	if (mount("none", dir, "tmpfs", 0, "huge=always"))
		SKIP(return, "no huge pages in tmpfs");
	snprintf(path, sizeof(path), "%s/text", dir);
	ASSERT_EQ(0, text_write(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, fallocate(fd, 0, 0, huge));
	area = mmap(NULL, 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, area);
	area = (char *)(((uintptr_t)area + huge - 1) & ~(huge - 1));
	map = mmap(area, huge, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0);
	ASSERT_EQ(area, map);
	text_call(map, STEP, NULL);

	smaps = fopen("/proc/self/smaps", "re");
	ASSERT_NE(NULL, smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "ShmemPmdMapped: %lu kB", &n) == 1 ||
		    sscanf(line, "FilePmdMapped: %lu kB", &n) == 1)
			kb += n;
	}
	fclose(smaps);
	if (!kb)
		SKIP(return, "no huge mapping to be had");

	event = attach(STEP);
	ASSERT_LE(0, event);
	text_call(map, STEP, NULL);
	text_call(map, NOP, NULL);
	EXPECT_EQ(1, text_hits(event));
	EXPECT_EQ(TEXT_VALUE, text_call(map, VALUE, NULL));
	close(event);
	EXPECT_TRUE(text_restored(map, STEP));
	munmap(map, huge);
	close(fd);
	EXPECT_EQ(0, umount(dir));
}

/* ---- memory ---- */

/* A program that writes to its text, or drops it, harms nobody but its probe. */
TEST_F(uprobe, own_text_written)
{
	int event;

	MAKE_TEXT();
	event = attach(NOP);
	ASSERT_LE(0, event);
	call_all();
	EXPECT_EQ(1, text_hits(event));
	ASSERT_EQ(0, mprotect(text, TEXT_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC));
	*(volatile char *)(text + text_offset(NOP)) = 0x90;
	call_all();
	EXPECT_EQ(1, text_hits(event));
	ASSERT_EQ(0, madvise(text, TEXT_SIZE, MADV_DONTNEED));
	call_all();
	close(event);
	call_all();
	EXPECT_TRUE(text_restored(text, NOP));

	/* And the next one is probed. */
	ASSERT_EQ(0, mprotect(text, TEXT_SIZE, PROT_READ | PROT_EXEC));
	event = attach(NOP);
	ASSERT_LE(0, event);
	call_all();
	EXPECT_EQ(1, text_hits(event));
	close(event);
	unlink(path);
}

/* The program's own breakpoints stay its own. */
static volatile int traps;
static void on_trap(int sig, siginfo_t *info, void *context)
{
	traps++;
}

TEST_F(uprobe, own_breakpoints)
{
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	int event, i;

	MAKE_TEXT();
	sigaction(SIGTRAP, &action, NULL);
	event = attach(STEP);
	ASSERT_LE(0, event);
	for (i = 0; i < 100; i++) {
		asm volatile("int3");
		text_call(text, STEP, NULL);
	}
	EXPECT_EQ(100, traps);
	EXPECT_EQ(100, text_hits(event));
	close(event);
	for (i = 0; i < 100; i++)
		asm volatile("int3");
	EXPECT_EQ(200, traps);
	unlink(path);
}

/* ---- faults and signals in a step ---- */

static sigjmp_buf back;
static volatile uintptr_t fault_ip;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	fault_ip = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	siglongjmp(back, 1);
}

/* A fault of the stepped instruction is one of the probed instruction. */
TEST_F(uprobe, fault_in_a_step)
{
	struct sigaction action = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };
	static char word[16];
	int event, i;

	MAKE_TEXT();
	sigaction(SIGSEGV, &action, NULL);
	event = attach(LOAD);
	ASSERT_LE(0, event);
	for (i = 0; i < 100; i++) {
		fault_ip = 0;
		if (!sigsetjmp(back, 1))
			text_call(text, LOAD, (void *)16);
		EXPECT_EQ((uintptr_t)text + text_offset(LOAD), fault_ip);
		text_call(text, LOAD, word);
	}
	close(event);
	EXPECT_TRUE(text_restored(text, LOAD));
	unlink(path);
}

static void fault_and_die(void)
{
	text_call(text, LOAD, (void *)16);
}

/* And kills as without a probe, by that signal. */
TEST_F(uprobe, deadly_fault_in_a_step)
{
	struct rlimit no_core = {};
	int event, status;

	MAKE_TEXT();
	setrlimit(RLIMIT_CORE, &no_core);
	event = attach(LOAD);
	ASSERT_LE(0, event);
	status = in_child(fault_and_die);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
		TH_LOG("status %#x", status);
	close(event);
	unlink(path);
}

static volatile unsigned long ticks;

static const struct itimerval often = { { 0, 300 }, { 0, 300 } }, never;

static void on_tick(int sig)
{
	/* On a slow machine the next one is due before this one is done. */
	if (++ticks == 300)
		setitimer(ITIMER_REAL, &never, NULL);
	/* Another step while one was interrupted. */
	text_call(text, STEP, NULL);
}

/* Signals all the time, with handlers that hit the same probe: each hit counts once. */
TEST_F(uprobe, signals_in_steps)
{
	struct sigaction action = { .sa_handler = on_tick };
	unsigned long hits = 0;
	int event, ret;

	MAKE_TEXT();
	sigaction(SIGALRM, &action, NULL);
	event = attach(STEP);
	ASSERT_LE(0, event);
	ret = attach_return(STEP);
	ASSERT_LE(0, ret);
	setitimer(ITIMER_REAL, &often, NULL);
	for (; hits < 20000 && ticks < 300; hits++)
		text_call(text, STEP, NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_EQ(hits + ticks, text_hits(event));
	EXPECT_EQ(hits + ticks, text_hits(ret));
	EXPECT_NE(0, ticks);
	close(event);
	close(ret);
	unlink(path);
}

/* ---- clones ---- */

/* A child that borrows the memory until it ends: its frames are not the parent's. */
static void vfork_inside(void)
{
	int status;
	pid_t pid = vfork();

	if (!pid) {
		text_call(text, STEP, NULL);
		text_call(text, NOP, NULL);
		_exit(7);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7)
		abort();
}

TEST_F(uprobe, vfork)
{
	int event, ret, outer, i;

	MAKE_TEXT();
	event = attach(STEP);
	ret = attach_return(NOP);
	outer = attach_return(CALL);
	ASSERT_LE(0, event);
	ASSERT_LE(0, ret);
	ASSERT_LE(0, outer);
	for (i = 0; i < 20; i++) {
		text_call(text, CALL, vfork_inside);
		text_call(text, NOP, NULL);
	}
	EXPECT_EQ(20, text_hits(event));
	EXPECT_EQ(40, text_hits(ret));
	EXPECT_EQ(20, text_hits(outer));
	unlink(path);
}

static int clone_body(void *arg)
{
	int i;

	for (i = 0; i < ROUNDS; i++)
		call_all();
	return 0;
}

/* Processes, not threads, that share their memory, and so the page to step in. */
TEST_F(uprobe, clone_vm)
{
	static char stack[4][65536] __attribute__((aligned(16)));
	int event, ret, status, i;
	pid_t pid[4];

	MAKE_TEXT();
	event = attach(STEP);
	ret = attach_return(PUSH);
	ASSERT_LE(0, event);
	ASSERT_LE(0, ret);
	for (i = 0; i < 4; i++) {
		pid[i] = clone(clone_body, stack[i] + sizeof(stack[i]),
			       CLONE_VM | SIGCHLD, NULL);
		ASSERT_LT(0, pid[i]);
	}
	clone_body(NULL);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(5 * ROUNDS, text_hits(event));
	EXPECT_EQ(5 * ROUNDS, text_hits(ret));
	unlink(path);
}

static void *call_for_ever(void *arg)
{
	for (;;)
		call_all();
	return NULL;
}

static void *exec_soon(void *arg)
{
	usleep(20000);
	execl("/bin/true", "true", NULL);
	_exit(1);
}

static void exec_among_threads(void)
{
	pthread_t thread;
	int i;

	for (i = 0; i < 4; i++)
		pthread_create(&thread, NULL, i ? call_for_ever : exec_soon, NULL);
	call_for_ever(NULL);
}

/* exec() by a thread while the others, the first one too, hit probes. */
TEST_F(uprobe, exec_from_a_thread)
{
	int event, ret, i;

	MAKE_TEXT();
	event = attach(STEP);
	ret = attach_return(NOP);
	ASSERT_LE(0, event);
	ASSERT_LE(0, ret);
	for (i = 0; i < 5; i++)
		EXPECT_EQ(0, in_child(exec_among_threads));
	EXPECT_NE(0, text_hits(event));
	unlink(path);
}

/* ---- inherited events ---- */

static void drop_privileges(void)
{
	if (setgid(65534) || setuid(65534))
		_exit(2);
}

static void fork_unprivileged(void)
{
	drop_privileges();
	if (in_child(call_all))
		_exit(1);
}

/* A traced program that is not root forks as it does untraced. */
TEST_F(uprobe, inherit_without_privileges)
{
	int event;

	MAKE_TEXT();
	event = attach(STEP);
	ASSERT_LE(0, event);
	EXPECT_EQ(0, in_child(fork_unprivileged));
	EXPECT_EQ(1, text_hits(event));
	close(event);
	unlink(path);
}

/* So does one whose file has another name by now, or none. */
TEST_F(uprobe, inherit_without_file)
{
	int event, i;

	MAKE_TEXT();
	event = attach(STEP);
	ASSERT_LE(0, event);
	ASSERT_EQ(0, unlink(path));
	for (i = 0; i < 10; i++)
		EXPECT_EQ(0, in_child(call_all));
	EXPECT_EQ(10, text_hits(event));
	close(event);
	EXPECT_TRUE(text_restored(text, STEP));
}

static pthread_barrier_t all_there;

static void *call_once(void *arg)
{
	text_call(text, STEP, NULL);
	pthread_barrier_wait(&all_there);
	return NULL;
}

/* Threads that start and end in any order, the event closed between. */
TEST_F(uprobe, inherit_in_threads)
{
	pthread_t threads[32];
	int event, second, i;

	MAKE_TEXT();
	event = attach(STEP);
	ASSERT_LE(0, event);
	pthread_barrier_init(&all_there, NULL, 33);
	for (i = 0; i < 32; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, call_once, NULL));
	second = attach(STEP);
	ASSERT_LE(0, second);
	for (i = 0; i < 50 && text_hits(event) < 32; i++)
		usleep(100000);
	EXPECT_EQ(32, text_hits(event));
	close(event);
	text_call(text, STEP, NULL);
	EXPECT_EQ(1, text_hits(second));
	pthread_barrier_wait(&all_there);
	for (i = 0; i < 32; i++)
		pthread_join(threads[i], NULL);
	text_call(text, STEP, NULL);
	EXPECT_EQ(2, text_hits(second));
	close(second);
	EXPECT_TRUE(text_restored(text, STEP));
	unlink(path);
}

/* ---- seccomp ---- */

static void call_in_strict_mode(void)
{
	int i;

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		_exit(1);
	for (i = 0; i < 100; i++)
		call_all();
	syscall(SYS_exit, 0);
}

static void call_in_filter(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { 4, filter };
	int i;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(1);
	for (i = 0; i < 100; i++)
		call_all();
}

/* No hit, return or step makes a system call that the task did not make. */
TEST_F(uprobe, seccomp)
{
	int event, push, ret, step;

	MAKE_TEXT();
	event = attach(STEP);
	push = attach(PUSH);
	ret = attach_return(NOP);
	step = attach_return(STEP);
	ASSERT_LE(0, step);
	EXPECT_EQ(0, in_child(call_in_strict_mode));
	EXPECT_EQ(0, in_child(call_in_filter));
	EXPECT_EQ(200, text_hits(event));
	EXPECT_EQ(200, text_hits(push));
	EXPECT_EQ(200, text_hits(ret));
	EXPECT_EQ(200, text_hits(step));
	unlink(path);
}

/* ---- ptrace ---- */

/* Single-steps a child through a function; where it stopped last in the text. */
static int step_through(enum function which, unsigned int *stops, bool *strange)
{
	uintptr_t start = (uintptr_t)text + text_offset(which);
	struct user_regs_struct regs;
	bool inside = false, left = false;
	int status = -1, i;
	pid_t pid = fork();

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(text_call(text, which, NULL) == TEXT_VALUE);
	}
	*stops = 0;
	*strange = false;
	waitpid(pid, &status, 0);
	for (i = 0; i < 20000 && WIFSTOPPED(status); i++) {
		if (ptrace(PTRACE_GETREGS, pid, NULL, &regs))
			break;
		if (regs.rip >= start && regs.rip < start + TEXT_STEP) {
			inside = true;
			++*stops;
		} else if (inside && !left) {
			/* Back in the caller: in this program, not in another page. */
			left = true;
			*strange = regs.rip < (uintptr_t)text_call ||
				   regs.rip > (uintptr_t)text_call + TEXT_SIZE;
		}
		if (ptrace(left ? PTRACE_CONT : PTRACE_SINGLESTEP, pid, NULL, NULL))
			break;
		if (waitpid(pid, &status, 0) != pid)
			break;
	}
	if (WIFSTOPPED(status)) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	return status;
}

/* A debugger that steps over a probed instruction sees the program's own addresses. */
TEST_F(uprobe, ptrace_steps)
{
	static const enum function functions[] = { NOP, PUSH, STEP, VALUE };
	unsigned int i, stops, unprobed;
	bool strange;
	int event, status;

	MAKE_TEXT();
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		status = step_through(functions[i], &unprobed, &strange);
		EXPECT_FALSE(strange);
		event = attach(functions[i]);
		ASSERT_LE(0, event);
		EXPECT_EQ(status, step_through(functions[i], &stops, &strange));
		EXPECT_EQ(1, text_hits(event));
		EXPECT_FALSE(strange) TH_LOG("function %u", functions[i]);
		TH_LOG("function %u: %u stops, unprobed %u", functions[i], stops, unprobed);
		close(event);
	}
	unlink(path);
}

/* A debugger's own breakpoint over a probe, set and taken away. */
TEST_F(uprobe, ptrace_pokes)
{
	struct user_regs_struct regs;
	int event, status;
	long word;
	pid_t pid;
	void *at;

	MAKE_TEXT();
	at = text + text_offset(STEP);
	event = attach(STEP);
	ASSERT_LE(0, event);
	pid = fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		text_call(text, STEP, NULL);
		text_call(text, STEP, NULL);
		_exit(3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	word = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
	EXPECT_EQ(0, ptrace(PTRACE_POKETEXT, pid, at, (void *)((word & ~0xffL) | 0xcc)));
	EXPECT_EQ(0, ptrace(PTRACE_POKETEXT, pid, at, (void *)word));
	EXPECT_EQ(0, ptrace(PTRACE_CONT, pid, NULL, NULL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFSTOPPED(status)) {
		ptrace(PTRACE_GETREGS, pid, NULL, &regs);
		TH_LOG("stopped by signal %d at %#llx", WSTOPSIG(status), regs.rip);
	}
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	EXPECT_EQ(2, text_hits(event));
	close(event);
	unlink(path);
}

/* ---- 32 bits ---- */

/* The same in a 32-bit program: hits, steps and returns by its own rules. */
TEST_F(uprobe, compat)
{
	static const char * const symbols[] = { "on_nop", "on_push", "on_step", "on_load" };
	char program[256], *slash;
	int events[4], returns[4], status = -1, i;
	uint64_t offset;
	pid_t pid;

	REQUIRE(NEED_ROOT | NEED_PMU | NEED_X86_64);
	ASSERT_LT(0, readlink("/proc/self/exe", program, sizeof(program) - 16));
	slash = strrchr(program, '/');
	strcpy(slash + 1, "compat_32");
	if (access(program, X_OK))
		SKIP(return, "no 32-bit program");
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, upl_symbol_offset(program, symbols[i], &offset))
			TH_LOG("%s", upl_reason());
		events[i] = text_attach(program, offset, false);
		returns[i] = text_attach(program, offset, true);
		ASSERT_LE(0, events[i]);
		ASSERT_LE(0, returns[i]);
	}
	pid = fork();
	if (!pid) {
		execl(program, program, NULL);
		_exit(errno == ENOEXEC ? 99 : 98);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
		SKIP(return, "no 32-bit programs");
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42)
		TH_LOG("status %#x", status);
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(1000, text_hits(events[i])) TH_LOG("%s", symbols[i]);
		EXPECT_EQ(1000, text_hits(returns[i])) TH_LOG("%s returns", symbols[i]);
	}
}

/* ---- privileges ---- */

static void try_without_privileges(void)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_KPROBE, .insns = (unsigned long)insns,
		.insn_cnt = 2, .license = (unsigned long)"GPL",
	};
	int fd;

	drop_privileges();
	if (attach(STEP) >= 0 || (errno != EACCES && errno != EPERM))
		_exit(3);
	if (attach_return(STEP) >= 0)
		_exit(4);
	fd = tracefs_open("uprobe_events", O_WRONLY);
	if (fd >= 0 || (errno != EACCES && errno != EPERM))
		_exit(5);
	fd = tracefs_open("uprobe_profile", O_RDONLY);
	if (fd >= 0)
		_exit(6);
	if (syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)) >= 0)
		_exit(7);
	/* Root of a user namespace of its own is root of no probes. */
	if (unshare(CLONE_NEWUSER))
		return;
	if (attach(STEP) >= 0)
		_exit(8);
	fd = tracefs_open("uprobe_events", O_WRONLY);
	if (fd >= 0)
		_exit(9);
}

/* Nobody but root gets a probe, however open perf is. */
TEST_F(uprobe, unprivileged)
{
	static const char file[] = "/proc/sys/kernel/perf_event_paranoid";
	static const char * const levels[] = { "2", "1", "0", "-1" };
	char old[16] = "";
	int fd, i;

	MAKE_TEXT();
	fd = open(file, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_LT(0, read(fd, old, sizeof(old) - 1));
	for (i = 0; i < 4; i++) {
		ASSERT_LT(0, pwrite(fd, levels[i], strlen(levels[i]), 0));
		EXPECT_EQ(0, in_child(try_without_privileges))
			TH_LOG("perf_event_paranoid=%s", levels[i]);
	}
	ASSERT_LT(0, pwrite(fd, old, strlen(old), 0));
	close(fd);
	unlink(path);
}

/* A program that tampers with the page that it is single-stepped in. */
TEST_F(uprobe, step_page)
{
	uintptr_t start, end;
	int event;

	MAKE_TEXT();
	event = attach(STEP);
	ASSERT_LE(0, event);
	text_call(text, STEP, NULL);
	ASSERT_TRUE(find_xol_area(&start, &end));
	/* Whatever the kernel answers, the task goes on, and so do its steps. */
	mprotect((void *)start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC);
	madvise((void *)start, end - start, MADV_DONTNEED);
	text_call(text, STEP, NULL);
	mremap((void *)start, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED,
	       (void *)0x600000000000);
	text_call(text, STEP, NULL);
	EXPECT_EQ(3, text_hits(event));
	close(event);
	EXPECT_TRUE(text_restored(text, STEP));
	unlink(path);
}

TEST_HARNESS_MAIN
