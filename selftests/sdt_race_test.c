// SPDX-License-Identifier: GPL-2.0
/*
 * SDT semaphores while processes fork, tracers are killed, or a counter is mapped
 * very often: when an attach or a detach has returned, or a tracer has died, each
 * copy of each counter, and the text, is as it must be.
 *
 *	SDT_RACE_SECONDS	of each case that races; default: 3
 *	SDT_RACE_KILLS		tracers to kill; default: 100, in 10 seconds at most
 *	SDT_RACE_MAPPINGS	of one counter; default: 3000, with sanitizers 300
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "common.h"
#include "events.h"
#include "sdt_worker.h"

#define PAGE		4096UL
#define RW		(PROT_READ | PROT_WRITE)
#define NOP		0x90
#define BREAKPOINT	0xcc

#define LOAD(x)		__atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define STORE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_SEQ_CST)
#define ADD(x, v)	__atomic_fetch_add(&(x), v, __ATOMIC_SEQ_CST)

static int attach(unsigned int site, unsigned int ctr, pid_t pid, bool inherit)
{
	struct upl_probe probe = {
		.path = SDT_FILE, .offset = sdt_site(site), .ref_ctr_offset = sdt_ctr(ctr),
		.pid = pid, .cpu = pid == -1 ? 0 : -1,
	};

	return event_open(&probe, inherit);
}

/* ---- processes that fork without pause ---- */

#define FORKERS		3
#define MAX_CHILDREN	3	/* of each at a time */
#define OTHER_MAPPINGS	50	/* of the file, so that a fork takes long */

/* What the tracer has done, and what it is about to do. */
enum { DETACHED, ATTACHING, ATTACHED, DETACHING, STATES };

static struct shared {
	unsigned int	state;		/* STATES in turn */
	bool		go, stop;
	bool		moves;		/* the state does */
	/* Children that have still to look, by the state that they were born in. */
	unsigned int	pending[STATES];
	unsigned long	forked, called, died;
	unsigned long	checked[STATES], across, wrong_counters[STATES], wrong_text[STATES];
	int		last_counter, last_byte;
} *shared;

/* The forker's mappings, at the same addresses in its children. */
static char *text;
static int16_t *counter;

static bool map_at(char *at, int prot, int flags, off_t offset)
{
	int fd = open(SDT_FILE, O_RDWR | O_CLOEXEC);
	void *got = mmap(at, PAGE, prot, flags | MAP_FIXED, fd, offset);

	close(fd);
	return got == at;
}

static char *reserve(unsigned int pages)
{
	return mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/*
 * The counter behind all others, or before: fork copies in the order of addresses.
 * The others are shared: neither text nor counter to the kernel.
 */
static bool map_file(bool counter_first)
{
	unsigned int nr = has_sanitizers() ? OTHER_MAPPINGS / 2 : OTHER_MAPPINGS, i;
	char *at = reserve(nr + 2), *first = at, *last = at + (nr + 1) * PAGE;

	if (at == MAP_FAILED)
		return false;
	text = counter_first ? last : first;
	counter = (int16_t *)((counter_first ? first : last) + sdt_ctr(0) - PAGE);
	for (i = 1; i <= nr; i++) {
		if (!map_at(at + i * PAGE, PROT_READ, MAP_SHARED, 0))
			return false;
	}
	return map_at(text, PROT_READ | PROT_EXEC, MAP_PRIVATE, 0) &&
	       map_at((counter_first ? first : last), RW, MAP_PRIVATE, PAGE);
}

/* Look, and say what is wrong, unless the state has changed meanwhile. */
static bool look(unsigned int state)
{
	bool attached = state % STATES == ATTACHED;
	int value = LOAD(*counter);
	int byte = *(volatile unsigned char *)(text + sdt_site(0));

	__atomic_thread_fence(__ATOMIC_SEQ_CST);	/* looked before the state is read */
	if (LOAD(shared->state) != state)
		return false;
	if (value != attached) {
		ADD(shared->wrong_counters[state % STATES], 1);
		shared->last_counter = value;
	}
	if (byte != (attached ? BREAKPOINT : NOP)) {
		ADD(shared->wrong_text[state % STATES], 1);
		shared->last_byte = byte;
	}
	ADD(shared->checked[state % STATES], 1);
	return true;
}

/*
 * Look in the first state of rest. Some that were born in one stay for the next:
 * they have lived across an attach or a detach.
 */
static void child(unsigned int born, bool stay)
{
	unsigned int state, looked = 0;

	while (!LOAD(shared->stop) && looked <= stay) {
		state = LOAD(shared->state);
		if (state % 2 || (looked && state == born)) {
			usleep(100);
			continue;
		}
		if (!look(state))
			continue;
		if (state != born)
			ADD(shared->across, 1);
		looked++;
		stay &= state == born;
	}
	((void (*)(void))(text + sdt_site(0)))();
	ADD(shared->called, 1);
	ADD(shared->pending[born % STATES], -1);
}

static void reap(pid_t pid, int status)
{
	if (pid > 0 && status)
		ADD(shared->died, 1);
}

static void forker(unsigned int nr)
{
	unsigned int alive = 0, born;
	int status = 0;
	pid_t pid;

	if (!map_file(nr % 2))
		_exit(2);
	while (!LOAD(shared->go))
		usleep(100);
	while (!LOAD(shared->stop)) {
		while (alive && (pid = waitpid(-1, &status, alive < MAX_CHILDREN ?
					       WNOHANG : 0)) > 0) {
			reap(pid, status);
			alive--;
		}
		born = LOAD(shared->state);
		ADD(shared->pending[born % STATES], 1);
		pid = fork();
		if (!pid) {
			child(born, ADD(shared->forked, 1) % 8 == 0 && shared->moves);
			_exit(0);
		}
		if (pid < 0)
			_exit(3);
		alive++;
	}
	while ((pid = waitpid(-1, &status, 0)) > 0)
		reap(pid, status);
	/* It has lived all the time. */
	look(LOAD(shared->state));
	_exit(0);
}

/* Until all children that an attach or detach has met have looked. */
static bool rest(unsigned int state)
{
	double end = now() + 20;
	unsigned int i, others;

	STORE(shared->state, state);
	usleep(rand() % 2000);
	do {
		for (i = others = 0; i < STATES; i++)
			others += i == state % STATES ? 0 : LOAD(shared->pending[i]);
		if (!others)
			return true;
		usleep(100);
	} while (now() < end);
	return false;
}

FIXTURE(race) {
	pid_t	forkers[FORKERS];
	int	nr_forkers;
};

#define RACE_DATA FIXTURE_DATA(race)

FIXTURE_SETUP(race)
{
	REQUIRE_SETUP(NEED_ROOT | NEED_PMU | NEED_TRACEFS | NEED_SMP | NEED_X86_64);
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("reported late, by what ran before this case");
	ASSERT_TRUE(sdt_begin());
	shared = mmap(NULL, sizeof(*shared), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)shared);
}

FIXTURE_TEARDOWN(race)
{
	sdt_end();
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("the kernel log has the whole report");
}

static void start_forkers(struct __test_metadata *_metadata,
			  RACE_DATA *self, int nr)
{
	for (; self->nr_forkers < nr; self->nr_forkers++) {
		self->forkers[self->nr_forkers] = fork();
		ASSERT_LE(0, self->forkers[self->nr_forkers]);
		if (!self->forkers[self->nr_forkers])
			forker(self->nr_forkers);
	}
}

static void end_forkers(struct __test_metadata *_metadata, RACE_DATA *self)
{
	int status;

	STORE(shared->stop, true);
	while (self->nr_forkers) {
		pid_t pid = self->forkers[--self->nr_forkers];

		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status) TH_LOG("a forker ended with %#x", status);
	}
	EXPECT_EQ(0, shared->died) TH_LOG("children ended by a signal");
}

static void judge(struct __test_metadata *_metadata, unsigned int state)
{
	EXPECT_LT(0, shared->checked[state]);
	EXPECT_EQ(0, shared->wrong_counters[state])
		TH_LOG("%s: of %lu looks; last wrong counter %d",
		       state == ATTACHED ? "attached" : "detached",
		       shared->checked[state], shared->last_counter);
	EXPECT_EQ(0, shared->wrong_text[state])
		TH_LOG("%s: of %lu looks; last wrong byte %#x",
		       state == ATTACHED ? "attached" : "detached",
		       shared->checked[state], shared->last_byte);
}

/* ---- a fork and a walk over all mappings ---- */

#define EVENT	"sdt_race/probe"

/* Of the first site, with its counter. */
static int define_trace_event(void)
{
	char line[128];

	snprintf(line, sizeof(line), "p:" EVENT " " SDT_FILE ":0x%llx(0x%llx)",
		 (unsigned long long)sdt_site(0), (unsigned long long)sdt_ctr(0));
	return define_event(line);
}

static int trace_event(const char *on)
{
	return tracefs_write("events/" EVENT "/enable", 0, on);
}

/* Attach and detach while they fork, by a trace event or by a perf event. */
static void forked_during_walk(struct __test_metadata *_metadata,
			       RACE_DATA *self, bool ftrace)
{
	unsigned int state = 0, rounds = 0;
	int fd = -1;
	double end;

	start_forkers(_metadata, self, FORKERS);
	shared->moves = true;
	STORE(shared->go, true);
	end = now() + setting("SDT_RACE_SECONDS", 3);
	do {
		STORE(shared->state, ++state);
		fd = ftrace ? trace_event("1") : attach(0, 0, -1, false);
		ASSERT_LE(0, fd);
		EXPECT_TRUE(rest(++state));
		STORE(shared->state, ++state);
		ASSERT_EQ(0, ftrace ? trace_event("0") : close(fd));
		EXPECT_TRUE(rest(++state));
		rounds++;
	} while (now() < end);
	end_forkers(_metadata, self);
	judge(_metadata, ATTACHED);
	judge(_metadata, DETACHED);
	EXPECT_LT(0, shared->across) TH_LOG("no child lived across: this proves nothing");
	TH_LOG("%u rounds, %lu forks, %lu looks while attached, %lu detached, %lu lived across",
	       rounds, shared->forked, shared->checked[ATTACHED], shared->checked[DETACHED],
	       shared->across);
}

/*
 * Each child, forked before, while or after a tracer comes or goes, has a counter of
 * 1 and a breakpoint when it has come, and neither when it has gone.
 */
TEST_F_TIMEOUT(race, forked_during_walk, 7200)
{
	forked_during_walk(_metadata, self, false);
}

/* The same with a trace event that is enabled and disabled. */
TEST_F_TIMEOUT(race, forked_during_enable, 7200)
{
	ASSERT_EQ(0, define_trace_event());
	forked_during_walk(_metadata, self, true);
	EXPECT_EQ(0, define_event("-:" EVENT));
}

/* Fork with an inherited event while a tracer comes to another site, or to the same. */
static void inherited_during_fork(struct __test_metadata *_metadata,
				  RACE_DATA *self, unsigned int other)
{
	unsigned int rounds = 0;
	int event, fd;
	double end;

	start_forkers(_metadata, self, 1);
	event = attach(0, 0, self->forkers[0], true);
	ASSERT_LE(0, event);
	STORE(shared->state, ATTACHED);
	STORE(shared->go, true);
	end = now() + setting("SDT_RACE_SECONDS", 3);
	do {
		fd = attach(other, other, -1, false);
		ASSERT_LE(0, fd);
		close(fd);
		rounds++;
	} while (now() < end);
	end_forkers(_metadata, self);
	judge(_metadata, ATTACHED);
	EXPECT_EQ(shared->called, event_count(event));
	TH_LOG("%u rounds, %lu forks", rounds, shared->forked);
	close(event);
}

/*
 * A child that inherits an event has its breakpoint and its counter from the start,
 * and its hit is counted, whoever else comes to the file and goes.
 */
TEST_F_TIMEOUT(race, inherited_during_fork, 7200)
{
	inherited_during_fork(_metadata, self, 1);
}

/* So it has if the others come to the same place and counter. */
TEST_F_TIMEOUT(race, inherited_beside_others, 7200)
{
	inherited_during_fork(_metadata, self, 0);
}

/* ---- a tracer that is killed ---- */

#define TARGETS		3
#define PATIENCE	5	/* seconds, for the worker that retries */

FIXTURE(killed) {
	struct sdt_worker *targets[TARGETS];
};

FIXTURE_SETUP(killed)
{
	int i, j;

	REQUIRE_SETUP(NEED_ROOT | NEED_PMU | NEED_SMP | NEED_X86_64);
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("reported late, by what ran before this case");
	ASSERT_TRUE(sdt_begin());
	for (i = 0; i < TARGETS; i++) {
		self->targets[i] = sdt_start(i);
		ASSERT_NE(NULL, self->targets[i]);
		for (j = 0; j < SDT_TEXTS; j++)
			ASSERT_EQ(0, sdt_tell(self->targets[i], SDT_OP_MAP_TEXT, j));
		for (j = 0; j < SDT_DATAS; j++)
			ASSERT_EQ(0, sdt_tell(self->targets[i], SDT_OP_MAP_DATA, j, RW,
					      MAP_PRIVATE));
	}
}

FIXTURE_TEARDOWN(killed)
{
	sdt_end();
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("the kernel log has the whole report");
}

/*
 * Attaches and detaches until it is killed: to all processes, or to one. How often
 * it has attached to all sites, or how it failed, is for the parent to see.
 */
static void tracer(pid_t pid, int *attached)
{
	int fds[SDT_SITES];
	unsigned int i;

	for (;;) {
		for (i = 0; i < SDT_SITES; i++) {
			fds[i] = attach(i, i % SDT_CTRS, pid, false);
			if (fds[i] < 0)
				_exit(-fds[i]);
		}
		(*attached)++;
		for (i = 0; i < SDT_SITES; i++)
			close(fds[i]);
	}
}

/*
 * A time at random until somebody is killed at work that takes about *seconds, at
 * first by a guess: it becomes such that one in two has done its work.
 */
static unsigned int some_us(double seconds)
{
	return 1 + rand() % (unsigned int)(1.2e6 * seconds + 1000);
}

static void learn(double *seconds, bool done)
{
	*seconds *= done ? 0.8 : 1.25;
}

/* How many counters and sites are not as the file has them. */
static unsigned int left_behind(struct sdt_worker *w, unsigned int *text_too)
{
	unsigned int i, j, counters = 0;

	for (i = 0; i < SDT_DATAS; i++) {
		for (j = 0; j < SDT_CTRS; j++)
			counters += sdt_peek(w, i, j) != 0;
	}
	for (i = 0; i < SDT_TEXTS; i++) {
		for (j = 0; j < SDT_SITES; j++)
			*text_too += sdt_peek_text(w, i, j) != NOP;
	}
	return counters;
}

/*
 * However a tracer dies, within seconds all that it raised is lowered and all that
 * it wrote is restored; and the next one finds all as it should be.
 */
TEST_F_TIMEOUT(killed, tracer_is_killed, 7200)
{
	unsigned int kills = 0, nr = setting("SDT_RACE_KILLS", 100), i, counters, bytes;
	double end = now() + 10 * (nr / 100 + 1), patience, took;
	int fd, status, before, *attached;
	bool good = true;

	attached = mmap(NULL, sizeof(*attached), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)attached);
	took = now();
	fd = attach(0, 0, -1, false);
	took = (now() - took) * SDT_SITES;
	ASSERT_LE(0, fd);
	close(fd);

	for (; good && ((kills < nr && now() < end) || (!*attached && now() < end + 60));
	     kills++) {
		pid_t pid;

		before = *attached;
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			tracer(kills % 2 ? -1 : self->targets[kills / 2 % TARGETS]->pid,
			       attached);
		usleep(some_us(took));
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		learn(&took, *attached != before);
		EXPECT_EQ(SIGKILL, status) TH_LOG("a tracer could not attach, %#x", status);
		patience = now() + PATIENCE;
		do {
			for (i = counters = bytes = 0; i < TARGETS; i++)
				counters += left_behind(self->targets[i], &bytes);
			if (counters || bytes)
				usleep(10000);
		} while ((counters || bytes) && now() < patience);
		EXPECT_EQ(0, counters) TH_LOG("counters not lowered after tracer %u", kills);
		EXPECT_EQ(0, bytes) TH_LOG("breakpoints left by tracer %u", kills);
		good = !counters && !bytes;
	}
	TH_LOG("%u tracers killed, attached to all sites %d times", kills, *attached);
	EXPECT_LT(0, *attached);

	for (i = 0; i < SDT_SITES && good; i++) {
		fd = attach(i, i % SDT_CTRS, -1, false);
		ASSERT_LE(0, fd);
		EXPECT_EQ(1, sdt_peek(self->targets[0], 0, i % SDT_CTRS));
		EXPECT_NE(NOP, sdt_peek_text(self->targets[0], 0, i));
		close(fd);
		EXPECT_EQ(0, sdt_peek(self->targets[0], 0, i % SDT_CTRS));
		EXPECT_EQ(NOP, sdt_peek_text(self->targets[0], 0, i));
	}
}

static bool is_enabled(void)
{
	int fd = tracefs_open("events/" EVENT "/enable", O_RDONLY);
	char c = '?';

	if (read(fd, &c, 1) != 1)
		c = '?';
	close(fd);
	return c == '1';
}

/* A process that enables the event, killed after that time unless it is 0: its status. */
static int enabler(unsigned int us)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid)
		_exit(!!trace_event("1"));
	if (us) {
		usleep(us);
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	return status;
}

/* How many counters of the first site's are not that. */
static unsigned int unlike(struct sdt_worker **targets, int value)
{
	unsigned int i, d, n = 0;

	for (i = 0; i < TARGETS; i++) {
		for (d = 0; d < SDT_DATAS; d++)
			n += sdt_peek(targets[i], d, 0) != value;
	}
	return n;
}

/*
 * However the one dies that enables a trace event, it is enabled with all counters
 * raised, or it is not and they are lowered, at once or soon.
 */
TEST_F_TIMEOUT(killed, enabler_is_killed, 7200)
{
	unsigned int kills, nr = setting("SDT_RACE_KILLS", 100), enabled = 0, wrong = 0;
	double end, patience, took = 0;
	int i;

	ASSERT_EQ(0, define_trace_event());
	/* It takes longer when it was disabled just before. */
	for (i = 0; i < 5; i++) {
		double begin = now();

		ASSERT_EQ(0, enabler(0));
		took = now() - begin > took ? now() - begin : took;
		EXPECT_EQ(0, unlike(self->targets, 1));
		ASSERT_EQ(0, trace_event("0"));
	}

	end = now() + 10 * (nr / 100 + 1);
	for (kills = 0; kills < nr && now() < end && !wrong; kills++) {
		bool on;

		enabler(some_us(took));
		on = is_enabled();
		learn(&took, on);
		patience = now() + PATIENCE;
		while ((wrong = unlike(self->targets, on)) && now() < patience)
			usleep(10000);
		EXPECT_EQ(0, wrong) TH_LOG("event %sabled, after %u", on ? "en" : "dis", kills);
		enabled += on;
		ASSERT_EQ(0, trace_event("0"));
	}
	EXPECT_EQ(0, define_event("-:" EVENT));
	TH_LOG("%u killed, %u of them behind their work", kills, enabled);
	EXPECT_LT(0, enabled);
	EXPECT_LT(enabled, kills);
}

/* ---- a counter that is mapped very often ---- */

FIXTURE(mapped) {
	char	*data;
};

FIXTURE_SETUP(mapped)
{
	REQUIRE_SETUP(NEED_ROOT | NEED_PMU | NEED_X86_64);
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("reported late, by what ran before this case");
	ASSERT_TRUE(sdt_begin());
	text = reserve(1);
	ASSERT_TRUE(map_at(text, PROT_READ | PROT_EXEC, MAP_PRIVATE, 0));
}

FIXTURE_TEARDOWN(mapped)
{
	sdt_end();
	EXPECT_EQ(0, kernel_log_faults(NULL))
		TH_LOG("the kernel log has the whole report");
}

static unsigned int copies_with(const char *data, unsigned int nr, int value)
{
	unsigned int i, found = 0;

	for (i = 0; i < nr; i++)
		found += LOAD(*(int16_t *)(data + i * PAGE + sdt_ctr(2) - PAGE)) == value;
	return found;
}

/* Attach and detach in seconds, the copies looked at in between. */
static void take_time(struct __test_metadata *_metadata, const char *data,
		      unsigned int nr, double *attached, double *detached)
{
	double start = now();
	int fd = attach(0, 2, getpid(), false);

	*attached = now() - start;
	ASSERT_LE(0, fd);
	EXPECT_EQ(nr, copies_with(data, nr, 1));
	start = now();
	close(fd);
	*detached = now() - start;
	EXPECT_EQ(nr, copies_with(data, nr, 0));
}

#define TRIES		3
#define MAX_RATIO	8	/* of four times as many; their square is 16 */

static bool grows_too_fast(const double few[2], const double many[2])
{
	return many[0] >= MAX_RATIO * few[0] || many[1] >= MAX_RATIO * few[1];
}

/* The time that attaching and detaching takes grows with the mappings, not faster. */
TEST_F_TIMEOUT(mapped, many_mappings, 7200)
{
	unsigned int nr = setting("SDT_RACE_MAPPINGS", has_sanitizers() ? 300 : 3000);
	double few[2], many[2], least_few[2] = { 1e9, 1e9 }, least_many[2] = { 1e9, 1e9 };
	unsigned int i, try, mapped = 0;
	double end;

	self->data = reserve(nr);
	ASSERT_NE(MAP_FAILED, self->data);
	for (; mapped < nr / 4; mapped++)
		ASSERT_TRUE(map_at(self->data + mapped * PAGE, RW, MAP_PRIVATE, PAGE));
	for (try = 0; try < TRIES; try++) {
		take_time(_metadata, self->data, mapped, &few[0], &few[1]);
		for (i = 0; i < 2; i++)
			least_few[i] = few[i] < least_few[i] ? few[i] : least_few[i];
	}
	for (; mapped < nr; mapped++)
		ASSERT_TRUE(map_at(self->data + mapped * PAGE, RW, MAP_PRIVATE, PAGE));
	/* The machine may be busy elsewhere: more tries, of which the least counts. */
	end = now() + 20;
	for (try = 0; try < TRIES ||
	     (grows_too_fast(least_few, least_many) && now() < end); try++) {
		take_time(_metadata, self->data, mapped, &many[0], &many[1]);
		for (i = 0; i < 2; i++)
			least_many[i] = many[i] < least_many[i] ? many[i] : least_many[i];
	}
	TH_LOG("attach: %u mappings %.1f ms, %u mappings %.1f ms", nr / 4,
	       least_few[0] * 1e3, nr, least_many[0] * 1e3);
	TH_LOG("detach: %u mappings %.1f ms, %u mappings %.1f ms", nr / 4,
	       least_few[1] * 1e3, nr, least_many[1] * 1e3);
	EXPECT_LT(least_many[0] / least_few[0], MAX_RATIO) TH_LOG("attach");
	EXPECT_LT(least_many[1] / least_few[1], MAX_RATIO) TH_LOG("detach");
}

TEST_HARNESS_MAIN
