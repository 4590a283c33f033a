// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* ---- requirements ---- */

/* Any line of the file contains the text. */
static bool file_has(const char *path, const char *text)
{
	FILE *file = fopen(path, "re");
	bool found = false;
	char line[512];

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = strstr(line, text);
	fclose(file);
	return found;
}

static bool kernel_has_symbol(const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), " %s\n", name);
	return file_has("/proc/kallsyms", text);
}

static bool is_root(void)
{
	return !geteuid();
}

static bool has_pmu(void)
{
	return !access("/sys/bus/event_source/devices/uprobe/type", R_OK);
}

static bool has_tracefs(void)
{
	int fd = tracefs_open("uprobe_events", O_RDWR);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool has_bpf(void)
{
	return kernel_has_symbol("perf_event_attach_bpf_prog");
}

static bool is_smp(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) > 1;
}

static bool is_x86_64(void)
{
#ifdef __x86_64__
	return true;
#else
	return false;
#endif
}

static bool has_avx(void)
{
#ifdef __x86_64__
	return __builtin_cpu_supports("avx");
#else
	return false;
#endif
}

static const struct {
	enum requirement	bit;
	bool			(*met)(void);
	const char		*reason;
} requirements_table[] = {
	{ NEED_ROOT,	is_root,	"not root" },
	{ NEED_PMU,	has_pmu,	"no uprobe PMU" },
	{ NEED_TRACEFS,	has_tracefs,	"no uprobe_events in tracefs" },
	{ NEED_BPF,	has_bpf,	"no BPF programs on perf events" },
	{ NEED_SMP,	is_smp,		"only one CPU" },
	{ NEED_X86_64,	is_x86_64,	"not x86-64" },
	{ NEED_AVX,	has_avx,	"CPU without AVX" },
};

const char *missing(unsigned int requirements)
{
	static char reasons[512];
	size_t used = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(requirements_table); i++) {
		if (!(requirements & requirements_table[i].bit) ||
		    requirements_table[i].met())
			continue;
		used += snprintf(reasons + used, sizeof(reasons) - used, "%s%s",
				 used ? ", " : "", requirements_table[i].reason);
	}
	return used ? reasons : NULL;
}

bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return good;
}

static struct {
	char	path[96];
	char	old[64];
} settings[16];
static unsigned int nr_settings;

bool write_setting(const char *path, const char *text)
{
	unsigned int i;
	ssize_t len;
	int fd;

	for (i = 0; i < nr_settings && strcmp(settings[i].path, path); i++)
		;
	if (i == nr_settings) {
		if (i == ARRAY_SIZE(settings) || strlen(path) >= sizeof(settings[0].path))
			return false;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? -1 : read(fd, settings[i].old, sizeof(settings[0].old) - 1);
		if (fd >= 0)
			close(fd);
		if (len <= 0)
			return false;
		settings[i].old[len] = '\0';
		strcpy(settings[i].path, path);
		nr_settings++;
	}
	return write_file(path, text);
}

bool restore_settings(void)
{
	bool good = true;

	while (nr_settings) {
		nr_settings--;
		good &= write_file(settings[nr_settings].path, settings[nr_settings].old);
	}
	return good;
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

bool set_fault(const char *setting, const char *value)
{
	static const char * const places[] = { "failslab", "fail_page_alloc" };
	char path[96];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", places[i], setting);
		if (!write_setting(path, value))
			return false;
	}
	return true;
}

int tracefs_open(const char *name, int flags)
{
	static const char * const places[] = {
		"/sys/kernel/tracing", "/sys/kernel/debug/tracing",
	};
	char path[256];
	unsigned int i;
	int fd = -1;

	for (i = 0; fd < 0 && i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s/%s", places[i], name);
		fd = open(path, flags | O_CLOEXEC);
	}
	return fd;
}

int tracefs_write(const char *name, int flags, const char *line)
{
	int fd = tracefs_open(name, O_WRONLY | flags);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, line, strlen(line)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

bool tracefs_has(const char *name, const char *text)
{
	static char content[65536];
	int fd = tracefs_open(name, O_RDONLY);
	size_t used = 0;
	ssize_t len;

	if (fd < 0)
		return false;
	while ((len = read(fd, content + used, sizeof(content) - 1 - used)) > 0)
		used += len;
	close(fd);
	content[used] = '\0';
	return strstr(content, text);
}

int define_event(const char *line)
{
	return tracefs_write("uprobe_events", O_APPEND, line);
}

long setting(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? strtol(value, NULL, 0) : otherwise;
}

bool has_sanitizers(void)
{
	return kernel_has_symbol("kasan_report") || kernel_has_symbol("__tsan_init");
}

bool find_xol_area(uintptr_t *start, uintptr_t *end)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	bool found = false;
	char line[512];

	while (maps && !found && fgets(line, sizeof(line), maps))
		found = strstr(line, "[uprobes]") &&
			sscanf(line, "%lx-%lx", start, end) == 2;
	if (maps)
		fclose(maps);
	return found;
}

bool has_xol_area(void)
{
	uintptr_t start, end;

	return find_xol_area(&start, &end);
}

/* ---- the kernel log ---- */

/* "uprobe: " is what kernel/events/uprobes.c complains with. */
static const char * const fault_words[] = {
	"BUG:", "WARNING:", "Oops", "general protection fault, ", "KASAN:",
	"KCSAN:", "UBSAN:", "suspicious RCU usage", "possible recursive locking",
	"possible circular locking", "possible irq lock inversion",
	"inconsistent lock state", "held lock freed", "detected stall",
	"blocked for more than", "soft lockup", "Bad page", "bad page",
	"Bad rss-counter", "refcount_t:", "corruption", "unreferenced object",
	"scheduling while atomic", "sleeping function called", "Busy inodes", "uprobe: ",
	"kernel BUG at",
};

static int kernel_log;		/* a descriptor, or -errno */

/* The children inherit the descriptor and with it the position. */
__attribute__((constructor)) static void kernel_log_open(void)
{
	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel_log >= 0)
		lseek(kernel_log, 0, SEEK_END);
	else
		kernel_log = -errno;
}

/* Children leave by _exit(): this is the program's end, after its last case. */
__attribute__((destructor)) static void kernel_log_close(void)
{
	if (kernel_log_faults(NULL)) {
		printf("# reported late, by the last cases\n");
		fflush(stdout);
		_exit(1);
	}
}

static bool is_fault(const char *line)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fault_words); i++) {
		if (strstr(line, fault_words[i]))
			return true;
	}
	return false;
}

unsigned int kernel_log_faults(const char *expected)
{
	unsigned int faults = 0;
	char record[8192], *text;
	ssize_t len;

	if (kernel_log < 0) {
		/*
		 * Where there is none, somebody else judges it, as scripts/kcsan does;
		 * without rights to read it there are none to probe either.
		 */
		if (kernel_log == -ENOENT || geteuid())
			return 0;
		fprintf(stderr, "# kernel: its log cannot be read\n");
		return 1;
	}
	for (;;) {
		len = read(kernel_log, record, sizeof(record) - 1);
		if (len < 0 && errno == EPIPE) {
			/* Overwritten before it was read: go on behind. */
			fprintf(stderr, "# kernel: messages were lost\n");
			faults++;
			continue;
		}
		if (len <= 0)
			return faults;
		record[len] = '\0';
		/* "prio,seq,usec,flags;text\n", then " KEY=value" lines */
		text = strchr(record, ';');
		text = text ? text + 1 : record;
		text[strcspn(text, "\n")] = '\0';
		if (!is_fault(text) || (expected && strstr(text, expected)))
			continue;
		fprintf(stderr, "# kernel: %s\n", text);
		faults++;
	}
}
