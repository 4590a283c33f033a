// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sdt_worker.h"

#define PAGE		4096UL
#define WORKER_NAME	"sdt-worker"
/* Far from everything, each place with room around it. */
#define TEXT_AT(i)	((uint8_t *)0x10000000 + (i) * 16 * PAGE)
#define DATA_AT(i)	((uint8_t *)0x20000000 + (i) * 16 * PAGE)

uint64_t sdt_site(unsigned int i)
{
	return i * SDT_SITE_SIZE;
}

/* Two that share an aligned word, one apart, one at the end. */
uint64_t sdt_ctr(unsigned int i)
{
	static const unsigned int at[SDT_CTRS] = { 0, 2, 128, PAGE - 2 };

	return PAGE + at[i];
}

uint64_t sdt_file_size(void)
{
	return 2 * PAGE;
}

uint64_t sdt_data_at(unsigned int data)
{
	return (uintptr_t)DATA_AT(data);
}

static int16_t *counter(unsigned int data, unsigned int ctr)
{
	return (int16_t *)(DATA_AT(data) + sdt_ctr(ctr) - PAGE);
}

/* ---- the worker's side ---- */

struct message {
	enum sdt_op	op;
	long		arg[3];
};

static int channels[SDT_WORKERS][2];	/* the test's end, the worker's end */
static void *libs[SDT_LIBS];
static pid_t test_pid;			/* a worker ends after it */
static pthread_t counting;
static int16_t *counted;
static bool count_end;

static long map(void *at, int prot, int flags, unsigned long offset)
{
	int fd = -1;
	void *got;

	if (!(flags & MAP_ANONYMOUS)) {
		fd = open(SDT_FILE, flags & MAP_SHARED ? O_RDWR : O_RDONLY);
		if (fd < 0)
			return -errno;
	}
	got = mmap(at, PAGE, prot, flags | MAP_FIXED, fd, offset);
	if (fd >= 0)
		close(fd);
	return got == at ? 0 : -errno;
}

void sdt_lib_path(char *path, size_t size)
{
	char exe[512];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[len > 0 ? len : 0] = '\0';
	snprintf(path, size, "%s/sdt_lib.so", dirname(exe));
}

static long open_lib(long i)
{
	char path[600];

	sdt_lib_path(path, sizeof(path));
	libs[i] = i ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW) : dlopen(path, RTLD_NOW);
	return libs[i] ? 0 : -ENOENT;
}

static long close_lib(long i)
{
	long ret = dlclose(libs[i]);

	libs[i] = NULL;
	return ret;
}

static long lib_counter(long i)
{
	int16_t *(*fn)(void) = dlsym(libs[i], "sdt_lib_counter");

	return fn ? (long)fn() : -ENOENT;
}

static long hit_lib(long i)
{
	void (*fn)(void) = dlsym(libs[i], "sdt_lib_hit");

	if (!fn)
		return -ENOENT;
	fn();
	return 0;
}

/* Up and down, and so at the end where it was. */
static void *count_up(void *unused)
{
	while (!__atomic_load_n(&count_end, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(counted, 1, __ATOMIC_RELAXED);
		__atomic_fetch_sub(counted, 1, __ATOMIC_RELAXED);
	}
	return unused;
}

static void serve(unsigned int nr);

static long start_fork(unsigned int nr)
{
	pid_t pid = fork();

	if (!pid) {
		serve(nr);
		_exit(0);
	}
	return pid < 0 ? -errno : pid;
}

static long obey(const struct message *m, unsigned int nr)
{
	char arg[2][16];
	long a = m->arg[0], b = m->arg[1];
	void *got;

	switch (m->op) {
	case SDT_OP_NOTHING:
		return 0;
	case SDT_OP_MAP_TEXT:
		return map(TEXT_AT(a), PROT_READ | PROT_EXEC, MAP_PRIVATE, 0);
	case SDT_OP_UNMAP_TEXT:
		return munmap(TEXT_AT(a), PAGE) ? -errno : 0;
	case SDT_OP_MAP_DATA:
		return map(DATA_AT(a), b, m->arg[2], PAGE);
	case SDT_OP_MAP_ANON:
		return map(DATA_AT(a), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, 0);
	case SDT_OP_UNMAP_DATA:
		return munmap(DATA_AT(a), PAGE) ? -errno : 0;
	case SDT_OP_PROTECT_DATA:
		return mprotect(DATA_AT(a), PAGE, b) ? -errno : 0;
	case SDT_OP_MOVE_DATA:
		got = mremap(DATA_AT(a), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			     DATA_AT(b));
		return got == DATA_AT(b) ? 0 : -errno;
	case SDT_OP_DISCARD_DATA:
		return madvise(DATA_AT(a), PAGE, MADV_DONTNEED) ? -errno : 0;
	case SDT_OP_READ:
		return __atomic_load_n(counter(a, b), __ATOMIC_RELAXED);
	case SDT_OP_WRITE:
		__atomic_store_n(counter(a, b), m->arg[2], __ATOMIC_RELAXED);
		return 0;
	case SDT_OP_HIT:
		((void (*)(void))(TEXT_AT(a) + sdt_site(b)))();
		return 0;
	case SDT_OP_FORK:
		return start_fork(a);
	case SDT_OP_EXEC:
		snprintf(arg[0], sizeof(arg[0]), "%u", nr);
		snprintf(arg[1], sizeof(arg[1]), "%d", test_pid);
		execl("/proc/self/exe", WORKER_NAME, arg[0], arg[1], NULL);
		return -errno;
	case SDT_OP_EXIT:
		_exit(0);
	case SDT_OP_OPEN_LIB:
		return open_lib(a);
	case SDT_OP_CLOSE_LIB:
		return close_lib(a);
	case SDT_OP_LIB_COUNTER:
		return lib_counter(a);
	case SDT_OP_HIT_LIB:
		return hit_lib(a);
	case SDT_OP_COUNT_UP:
		counted = counter(a, b);
		count_end = false;
		return -pthread_create(&counting, NULL, count_up, NULL);
	case SDT_OP_COUNT_END:
		__atomic_store_n(&count_end, true, __ATOMIC_RELAXED);
		return -pthread_join(counting, NULL);
	}
	return -EINVAL;
}

static int worker_end(unsigned int nr)
{
	return 100 + 2 * nr + 1;
}

static void serve(unsigned int nr)
{
	int fd = worker_end(nr);
	struct message m;
	ssize_t len;
	long ret;

	/* Nobody waits for those that a worker forks. */
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		len = read(fd, &m, sizeof(m));
		if (len < 0 && errno == EAGAIN && !kill(test_pid, 0))
			continue;
		if (len != sizeof(m))
			break;
		ret = obey(&m, nr);
		if (write(fd, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
}

/* After an exec: a worker, not a test. */
__attribute__((constructor)) static void worker_main(int argc, char **argv)
{
	unsigned int nr;
	long ret = 0;

	if (argc != 3 || strcmp(argv[0], WORKER_NAME))
		return;
	nr = atoi(argv[1]);
	test_pid = atoi(argv[2]);
	/* The answer to the exec. */
	if (write(worker_end(nr), &ret, sizeof(ret)) == sizeof(ret))
		serve(nr);
	_exit(0);
}

/* ---- the test's side ---- */

static struct sdt_worker workers[SDT_WORKERS];

static bool make_file(void)
{
	static uint8_t file[2 * PAGE];
	unsigned int i;
	bool ok;
	int fd;

	for (i = 0; i < SDT_SITES; i++) {
		file[sdt_site(i)] = 0x90;
		file[sdt_site(i) + 1] = 0xc3;
	}
	unlink(SDT_FILE);
	fd = open(SDT_FILE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	ok = write(fd, file, sizeof(file)) == sizeof(file);
	close(fd);
	return ok;
}

/* The other end is open in all workers: its reader's death is not seen. */
static void set_timeout(int fd, int seconds)
{
	struct timeval limit = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

bool sdt_begin(void)
{
	int pair[2];
	unsigned int i;

	if (!make_file())
		return false;
	test_pid = getpid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (i = 0; i < SDT_WORKERS; i++) {
		workers[i] = (struct sdt_worker){ .nr = i, .mem = -1 };
		/* The numbers are known after an exec as well. */
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			return false;
		channels[i][0] = dup3(pair[0], worker_end(i) - 1, O_CLOEXEC);
		channels[i][1] = dup2(pair[1], worker_end(i));
		close(pair[0]);
		close(pair[1]);
		set_timeout(channels[i][0], 60);
		set_timeout(channels[i][1], 1);
	}
	return true;
}

void sdt_end(void)
{
	unsigned int i;

	for (i = 0; i < SDT_WORKERS; i++)
		sdt_exit(&workers[i]);
	for (i = 0; i < SDT_WORKERS; i++) {
		close(channels[i][0]);
		close(channels[i][1]);
	}
	unlink(SDT_FILE);
}

struct sdt_worker *sdt_worker(unsigned int nr)
{
	return &workers[nr];
}

static struct sdt_worker *started(unsigned int nr, long pid)
{
	char path[64];

	if (pid <= 0)
		return NULL;
	workers[nr].pid = pid;
	snprintf(path, sizeof(path), "/proc/%ld/mem", pid);
	workers[nr].mem = open(path, O_RDWR | O_CLOEXEC);
	return &workers[nr];
}

struct sdt_worker *sdt_start(unsigned int nr)
{
	return started(nr, start_fork(nr));
}

struct sdt_worker *sdt_fork(struct sdt_worker *worker, unsigned int nr)
{
	return started(nr, sdt_tell(worker, SDT_OP_FORK, nr));
}

void sdt_exec(struct sdt_worker *worker)
{
	sdt_tell(worker, SDT_OP_EXEC);
	close(worker->mem);
	started(worker->nr, worker->pid);
}

void sdt_exit(struct sdt_worker *worker)
{
	struct message m = { .op = SDT_OP_EXIT };

	if (!worker->pid)
		return;
	if (write(channels[worker->nr][0], &m, sizeof(m)) == sizeof(m) &&
	    waitpid(worker->pid, NULL, 0) < 0) {
		/* Another worker's child. */
		while (!kill(worker->pid, 0))
			usleep(100);
	}
	close(worker->mem);
	worker->mem = -1;
	worker->pid = 0;
}

static bool ask(struct sdt_worker *worker, enum sdt_op op, long a, long b, long c)
{
	struct message m = { .op = op, .arg = { a, b, c } };

	return write(channels[worker->nr][0], &m, sizeof(m)) == sizeof(m);
}

static long answer(struct sdt_worker *worker)
{
	long ret;

	return read(channels[worker->nr][0], &ret, sizeof(ret)) == sizeof(ret) ? ret : -EPIPE;
}

long sdt_tell4(struct sdt_worker *worker, enum sdt_op op, long a, long b, long c)
{
	return ask(worker, op, a, b, c) ? answer(worker) : -EPIPE;
}

bool sdt_switch(struct sdt_worker *a, struct sdt_worker *b)
{
	return ask(a, SDT_OP_NOTHING, 0, 0, 0) && ask(b, SDT_OP_NOTHING, 0, 0, 0) &&
	       !answer(a) && !answer(b);
}

bool sdt_map(struct sdt_worker *worker)
{
	return !sdt_tell(worker, SDT_OP_MAP_TEXT, 0) &&
	       !sdt_tell(worker, SDT_OP_MAP_DATA, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

int sdt_peek_at(struct sdt_worker *worker, uint64_t addr)
{
	int16_t value;

	if (pread(worker->mem, &value, sizeof(value), addr) != sizeof(value))
		return -1;
	return value;
}

int sdt_peek(struct sdt_worker *worker, unsigned int data, unsigned int ctr)
{
	return sdt_peek_at(worker, (uintptr_t)counter(data, ctr));
}

int sdt_peek_text(struct sdt_worker *worker, unsigned int text, unsigned int site)
{
	uint8_t byte;

	if (pread(worker->mem, &byte, 1, (uintptr_t)TEXT_AT(text) + sdt_site(site)) != 1)
		return -1;
	return byte;
}
