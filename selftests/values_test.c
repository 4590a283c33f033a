// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
/*
 * What a trace event of a uprobe records is what the program had: registers,
 * stack, memory, strings, arrays, bitfields, return values. Recorded data is read
 * by the event's own format (libtraceevent), and as the kernel prints it. x86-64.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "common.h"

#if defined(__x86_64__) && defined(HAVE_TRACEFS_SUPPORT)
#include <tracefs.h>

/* ---- what is probed ---- */

/* With the registers' values from *regs, which %di has in the end, and two words pushed. */
void values_call(const uint64_t *regs);
/* Stores its stack pointer. */
void values_probed(const void *argument);
extern uint64_t values_sp;
/* Where values_call() goes on. */
extern const char values_back[];
/* Returns its argument. */
uint64_t values_returned(uint64_t value);
extern const uint64_t values_word;

#define STACK1	0x1111
#define STACK2	0x2222
#define WORD	0x8877665544332211
#define TEXT_OF(x)	#x
#define TEXT(x)		TEXT_OF(x)

asm(
"	.pushsection .text\n"
"	.globl values_call, values_back, values_probed, values_returned, values_word\n"
"	.type values_call, @function\n"
"values_call:\n"
"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
"	mov 0(%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rcx; mov 24(%rdi), %rdx\n"
"	mov 32(%rdi), %rsi; mov 40(%rdi), %rbp; mov 48(%rdi), %r8; mov 56(%rdi), %r9\n"
"	mov 64(%rdi), %r10; mov 72(%rdi), %r11; mov 80(%rdi), %r12; mov 88(%rdi), %r13\n"
"	mov 96(%rdi), %r14; mov 104(%rdi), %r15\n"
"	push $" TEXT(STACK2) "; push $" TEXT(STACK1) "\n"
"	call values_probed\n"
"values_back:\n"
"	add $16, %rsp\n"
"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
"	ret\n"
"	.type values_probed, @function\n"
"values_probed:\n"
"	mov %rsp, values_sp(%rip)\n"
"	ret\n"
"	.size values_probed, . - values_probed\n"
"	.type values_returned, @function\n"
"values_returned:\n"
"	mov %rdi, %rax\n"
"	ret\n"
"	.size values_returned, . - values_returned\n"
"	.balign 8\n"
"values_word: .quad " TEXT(WORD) "\n"
"	.popsection\n"
"	.local values_sp\n"
"	.comm values_sp, 8, 8\n"
);

/* ---- the event, its definition and what it recorded ---- */

#define MAX_RECORDS	8192

static struct tracefs_instance *instance;
static struct tracefs_dynevent *definition;
static struct tep_handle *tep;
static struct tep_event *event;
static char group[32];

static unsigned int nr_records;
static struct {
	unsigned char	*data;
	int		pid;
} records[MAX_RECORDS];

/* An event at a function of this program: NULL, or what fails. */
static const char *define(bool is_return, const char *function, const char *args)
{
	const char * const systems[] = { group, NULL };
	uint64_t offset, base;
	char path[256];

	snprintf(group, sizeof(group), "values_%d", getpid());
	if (upl_addr_offset(&values_word, path, sizeof(path), &base) ||
	    upl_symbol_offset(path, function, &offset))
		return upl_reason();
	definition = (is_return ? tracefs_uretprobe_alloc : tracefs_uprobe_alloc)(
			group, "event", path, offset, args);
	if (!definition || tracefs_dynevent_create(definition))
		return "the event is refused";
	instance = tracefs_instance_create(group);
	if (!instance)
		return "no instance";
	tep = tracefs_local_events_system(NULL, systems);
	event = tep ? tep_find_event_by_name(tep, group, "event") : NULL;
	return event ? NULL : "the event's format is not understood";
}

static void undefine(void)
{
	while (nr_records)
		free(records[--nr_records].data);
	if (instance)
		tracefs_instance_destroy(instance);
	tracefs_instance_free(instance);
	instance = NULL;
	if (definition)
		tracefs_dynevent_destroy(definition, true);
	tracefs_dynevent_free(definition);
	definition = NULL;
	tep_free(tep);
	tep = NULL;
}

static void enable(void)
{
	tracefs_event_enable(instance, group, "event");
}

static void disable(void)
{
	tracefs_event_disable(instance, group, "event");
}

static void keep(const void *data, size_t size, int pid)
{
	if (nr_records == MAX_RECORDS)
		return;
	records[nr_records].data = malloc(size);
	memcpy(records[nr_records].data, data, size);
	records[nr_records++].pid = pid;
}

static int keep_record(struct tep_event *of, struct tep_record *record, int cpu, void *unused)
{
	if (of == event)
		keep(record->data, record->size, tep_data_pid(tep, record));
	return 0;
}

/* Take what was recorded out of the buffers. */
static unsigned int collect(void)
{
	tracefs_iterate_raw_events(tep, instance, NULL, 0, keep_record, NULL);
	return nr_records;
}

/* What the kernel prints of the only record, from its addresses on. */
static const char *printed(void)
{
	static char text[16384];
	char *all = tracefs_instance_file_read(instance, "trace", NULL), *line;

	line = all ? strstr(all, "event: (0x") : NULL;
	snprintf(text, sizeof(text), "%s", line ? strchr(line, '(') : "nothing");
	free(all);
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static const unsigned char *at(unsigned int nr, const char *name, struct tep_format_field **field)
{
	static const unsigned char none[4096];

	*field = nr < nr_records ? tep_find_any_field(event, name) : NULL;
	return *field ? records[nr].data + (*field)->offset : none;
}

/* Element i of a field, extended by its sign if it has one. */
static uint64_t element(unsigned int nr, const char *name, unsigned int i)
{
	struct tep_format_field *field;
	const unsigned char *data = at(nr, name, &field);
	const char *digits;
	unsigned int size;
	uint64_t value = 0;

	if (!field)
		return 0xbadbadbadbad;
	/* The format does not tell how long an array is, but "s16" says it. */
	digits = strpbrk(field->type, "123468");
	size = digits ? atoi(digits) / 8 : field->size;
	memcpy(&value, data + i * size, size);
	if (field->flags & TEP_FIELD_IS_SIGNED && size < 8 && value >> (8 * size - 1))
		value |= ~0ULL << (8 * size);
	return value;
}

static uint64_t value(const char *name)
{
	return element(0, name, 0);
}

#define UNREADABLE	"(fault)"	/* as the kernel prints it */

static const char *string_of(unsigned int nr, const char *name)
{
	struct tep_format_field *field;
	const unsigned char *data = at(nr, name, &field);
	uint32_t place;

	memcpy(&place, data, sizeof(place));
	return place >> 16 ? (char *)records[nr].data + (place & 0xffff) : UNREADABLE;
}

static const char *string(const char *name)
{
	return string_of(0, name);
}

/* Record one call; the text is that of the kernel, the rest is in records[0]. */
#define RECORD(is_return, function, args, call)				\
({									\
	const char *why_ = missing(NEED_ROOT | NEED_TRACEFS), *text_;	\
									\
	if (why_)							\
		SKIP(return, "%s", why_);				\
	why_ = define(is_return, function, args);			\
	ASSERT_EQ(NULL, why_) TH_LOG("%s: %s", why_, args);		\
	enable();							\
	call;								\
	disable();							\
	text_ = printed();						\
	ASSERT_EQ(1, collect());					\
	text_;								\
})

/* ---- cases ---- */

/* Each register, and the address of the probe. */
TEST_F(uprobe, registers)
{
	static const char * const names[] = {
		"ax", "bx", "cx", "dx", "si", "bp", "r8", "r9", "r10", "r11", "r12", "r13",
		"r14", "r15",
	};
	uint64_t regs[14];
	char args[1024];
	size_t used = 0;
	unsigned int i;

	for (i = 0; i < 14; i++) {
		regs[i] = 0x0101010101010101 * (0x81 + i) + i;
		used += snprintf(args + used, sizeof(args) - used, "%s=%%%s ", names[i], names[i]);
	}
	snprintf(args + used, sizeof(args) - used, "di=%%di sp=%%sp ip=%%ip");
	RECORD(false, "values_probed", args, values_call(regs));
	for (i = 0; i < 14; i++)
		EXPECT_EQ(regs[i], value(names[i])) TH_LOG("register %u of the list", i);
	EXPECT_EQ((uintptr_t)regs, value("di"));
	EXPECT_EQ(values_sp, value("sp"));
	EXPECT_EQ((uintptr_t)values_probed, value("ip"));
	EXPECT_EQ((uintptr_t)values_probed, value("__probe_ip"));
	EXPECT_EQ(getpid(), records[0].pid);
	undefine();
}

/* The stack by its words and by its pointer. */
TEST_F(uprobe, stack)
{
	static uint64_t regs[14];

	RECORD(false, "values_probed", "s=$stack s0=$stack0 s1=$stack1 s2=$stack2 m=+16($stack) "
	       "far=$stack268435455", values_call(regs));
	EXPECT_EQ(values_sp, value("s"));
	EXPECT_EQ((uintptr_t)values_back, value("s0"));
	EXPECT_EQ(STACK1, value("s1"));
	EXPECT_EQ(STACK2, value("s2"));
	EXPECT_EQ(STACK2, value("m"));
	EXPECT_EQ(0, value("far")) TH_LOG("no stack is there");
	undefine();
}

/* Each type, out of a register and out of memory, in the record and in print. */
TEST_F(uprobe, types)
{
	static const struct {
		const char	*type;
		unsigned int	bits;
		bool		is_signed;
		const char	*format;
	} types[] = {
		{ "u8", 8, false, "%" PRIu64 }, { "u16", 16, false, "%" PRIu64 },
		{ "u32", 32, false, "%" PRIu64 }, { "u64", 64, false, "%" PRIu64 },
		{ "s8", 8, true, "%" PRId64 }, { "s16", 16, true, "%" PRId64 },
		{ "s32", 32, true, "%" PRId64 }, { "s64", 64, true, "%" PRId64 },
		{ "x8", 8, false, "0x%" PRIx64 }, { "x16", 16, false, "0x%" PRIx64 },
		{ "x32", 32, false, "0x%" PRIx64 }, { "x64", 64, false, "0x%" PRIx64 },
	};
	static const uint64_t numbers[] = { 0x8182838485868788, 0x7172737475767778, 0, ~0ULL };
	char args[1024] = "", expected[2048], name[16];
	const char *text;
	unsigned int i, n;
	size_t used;
	uint64_t number;

	for (i = 0, used = 0; i < 12; i++)
		used += sprintf(args + used, "r%u=%%si:%s m%u=+0(%%di):%s ", i, types[i].type,
				i, types[i].type);
	for (n = 0; n < 4; n++) {
		uint64_t regs[14] = { numbers[n], 0, 0, 0, numbers[n] };

		text = RECORD(false, "values_probed", args, values_call(regs));
		used = sprintf(expected, "(0x%lx)", (unsigned long)values_probed);
		for (i = 0; i < 12; i++) {
			number = numbers[n];
			if (types[i].bits < 64) {
				number &= (1ULL << types[i].bits) - 1;
				if (types[i].is_signed && number >> (types[i].bits - 1))
					number |= ~0ULL << types[i].bits;
			}
			sprintf(name, "r%u", i);
			EXPECT_EQ(number, value(name)) TH_LOG("register as %s", types[i].type);
			sprintf(name, "m%u", i);
			EXPECT_EQ(number, value(name)) TH_LOG("memory as %s", types[i].type);
			used += sprintf(expected + used, " r%u=", i);
			used += sprintf(expected + used, types[i].format, number);
			used += sprintf(expected + used, " m%u=", i);
			used += sprintf(expected + used, types[i].format, number);
		}
		EXPECT_STREQ(expected, text);
		undefine();
	}
}

/* Bitfields of each container, at its ends and in between. */
TEST_F(uprobe, bitfields)
{
	static const unsigned int containers[] = { 8, 16, 32, 64 };
	static const uint64_t number = 0xb7a3e15d9c6f3528;
	uint64_t regs[14] = { number }, expected;
	unsigned int c, w, o, nr = 0, i;
	char args[8192] = "", name[16];
	struct {
		unsigned int	width, offset, container;
	} fields[64];
	size_t used = 0;

	for (c = 0; c < 4; c++) {
		const unsigned int size = containers[c];
		const unsigned int widths[] = { 1, 3, size / 2, size - 1, size };

		for (w = 0; w < 5; w++) {
			const unsigned int offsets[] = { 0, 1, size - widths[w] };

			for (o = 0; o < 3; o++) {
				if (offsets[o] + widths[w] > size || (o == 2 && offsets[2] < 2))
					continue;
				fields[nr].width = widths[w];
				fields[nr].offset = offsets[o];
				fields[nr].container = size;
				used += sprintf(args + used, "f%u=+0(%%di):b%u@%u/%u ", nr,
						widths[w], offsets[o], size);
				nr++;
			}
		}
	}
	RECORD(false, "values_probed", args, values_call(regs));
	for (i = 0; i < nr; i++) {
		expected = number >> fields[i].offset;
		if (fields[i].width < 64)
			expected &= (1ULL << fields[i].width) - 1;
		sprintf(name, "f%u", i);
		EXPECT_EQ(expected, value(name))
			TH_LOG("b%u@%u/%u", fields[i].width, fields[i].offset, fields[i].container);
	}
	TH_LOG("%u bitfields", nr);
	undefine();
}

/* Memory by offsets to both sides, through pointers, by address, by file offset. */
TEST_F(uprobe, memory)
{
	static struct node {
		uint64_t	before;
		struct node	*next;
		uint64_t	after;
	} nodes[3] = { { 1, &nodes[1], 2 }, { 3, &nodes[2], 4 }, { 5, &nodes[0], 6 } };
	char args[512], path[256];
	uint64_t offset;

	ASSERT_EQ(0, upl_addr_offset(&values_word, path, sizeof(path), &offset));
	snprintf(args, sizeof(args), "a=-8(%%di) b=+8(%%di) c=+8(+0(%%di)) "
		 "d=+16(+8(+8(+0(%%di)))):u8 e=+u8(+u0(%%di)) f=@0x%lx g=@+0x%" PRIx64 ":x16 "
		 "i=\\0x123456789a j=\\-5:s16",
		 (unsigned long)&nodes[2].after, offset);
	RECORD(false, "values_probed", args, values_probed(&nodes[0].next));
	EXPECT_EQ(nodes[0].before, value("a"));
	EXPECT_EQ(nodes[0].after, value("b"));
	EXPECT_EQ((uintptr_t)nodes[1].next, value("c"));
	EXPECT_EQ(nodes[0].after, value("d"));
	EXPECT_EQ((uintptr_t)nodes[1].next, value("e"));
	EXPECT_EQ(nodes[2].after, value("f"));
	EXPECT_EQ(WORD & 0xffff, value("g"));
	EXPECT_EQ(0x123456789a, value("i"));
	EXPECT_EQ((uint64_t)-5, value("j"));
	undefine();
}

/*
 * Memory that is not there, and what it points to, reads as zero, not as what an
 * earlier hit on that CPU had, maybe another process's.
 */
TEST_F(uprobe, unreadable_memory)
{
	uint64_t good[3] = { (uintptr_t)good, 0x5a5a5a5a5a5a5a5a, 0x7c7c7c7c7c7c7c7c };
	uint64_t bad[2] = { 16, 0x6b6b6b6b6b6b6b6b };
	const char *why;
	cpu_set_t cpu;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	/* There is a buffer for each CPU. */
	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpu), &cpu));
	why = define(false, "values_probed", "a=+8(+0(%di)) b=+8(%di) c=+16(+0(+0(%di)))");
	ASSERT_EQ(NULL, why) TH_LOG("%s", why);
	enable();
	values_probed(good);
	values_probed(bad);
	disable();
	ASSERT_EQ(2, collect());
	EXPECT_EQ(good[1], element(0, "a", 0));
	EXPECT_EQ(0, element(1, "a", 0));
	EXPECT_EQ(bad[1], element(1, "b", 0));
	EXPECT_EQ(good[2], element(0, "c", 0));
	EXPECT_EQ(0, element(1, "c", 0));
	undefine();
}

/*
 * Strings longer than a record are cut. That is no fault of the kernel, and the event
 * is there.
 */
TEST_F(uprobe, long_strings)
{
	/* The second is too long for a record, but not for two pages. */
	static const unsigned int lengths[] = { 1500, 3000, 4095, 10000 };
	static char text[10001];
	unsigned int i;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(text, 'x', sizeof(text));
		text[lengths[i]] = '\0';
		RECORD(false, "values_probed", "a=+0(%di):string b=+0(%di):string c=%ip",
		       values_probed(text));
		EXPECT_EQ((uintptr_t)values_probed, value("c"))
			TH_LOG("%u characters", lengths[i]);
		undefine();
	}
}

/*
 * The name of a symbol or of the task gets what the strings before it have left of
 * the record, and what is behind gets no more than that.
 */
TEST_F(uprobe, cut_names)
{
	static const struct {
		const char	*args, *whole, *cut;
	} names[] = {
		{ "a=+0(+0(%di)):string b=+8(%di):symstr c=+0(+16(%di)):string",
		  "0xffffffffffffffff", "0xfff" },
		{ "a=+0(+0(%di)):string b=$comm:string c=+0(+16(%di)):string",
		  "a_long_name", "a_lon" },
	};
	static char text[4091], behind[4000];
	const void *memory[] = { text, (void *)-1UL, behind };
	struct tep_format_field *field;
	unsigned int i, room;

	ASSERT_EQ(0, prctl(PR_SET_NAME, "a_long_name"));
	memset(behind, 'y', sizeof(behind) - 1);
	/* How much a record takes is the kernel's to know. */
	memset(text, 'x', sizeof(text) - 1);
	RECORD(false, "values_probed", "a=+0(+0(%di)):string", values_probed(memory));
	room = *(uint32_t *)at(0, "a", &field) >> 16;
	undefine();
	ASSERT_GT(sizeof(text), room);
	room -= 2 * sizeof(uint32_t);

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		memset(text, 'x', sizeof(text) - 1);
		text[1] = '\0';
		RECORD(false, "values_probed", names[i].args, values_probed(memory));
		EXPECT_STREQ("x", string("a"));
		EXPECT_STREQ(names[i].whole, string("b"));
		EXPECT_EQ('y', *string("c"));
		undefine();

		text[1] = 'x';
		text[room - sizeof("12345") - 1] = '\0';
		RECORD(false, "values_probed", names[i].args, values_probed(memory));
		EXPECT_EQ(0, strcmp(text, string("a")));
		EXPECT_STREQ(names[i].cut, string("b"));
		EXPECT_STREQ(UNREADABLE, string("c"));
		undefine();
	}
}

/* Strings of any length, at the end of a page, none, and this task's name. */
TEST_F(uprobe, strings)
{
	static const unsigned int lengths[] = { 0, 1, 63, 64, 255, 500 };
	const long page = sysconf(_SC_PAGESIZE);
	char strings[6][512], expected[4096], *two;
	const char *pointers[9], *text;
	unsigned int i;

	two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, two);
	ASSERT_EQ(0, mprotect(two + page, page, PROT_NONE));
	for (i = 0; i < 6; i++) {
		memset(strings[i], 'a' + i, lengths[i]);
		strings[i][lengths[i]] = '\0';
		pointers[i] = strings[i];
	}
	pointers[6] = strcpy(two + page - 4, "end");
	pointers[7] = two + page;
	pointers[8] = NULL;
	prctl(PR_SET_NAME, "values \"test\"");
	text = RECORD(false, "values_probed", "a=+0(+0(%di)):string b=+0(+8(%di)):ustring "
		      "c=+0(+16(%di)):string d=+0(+24(%di)):string e=+0(+32(%di)):string "
		      "f=+0(+40(%di)):string g=+0(+48(%di)):string h=+0(+56(%di)):string "
		      "i=+0(+64(%di)):string j=$comm k=+2(+48(%di)):string",
		      values_probed(pointers));
	EXPECT_STREQ(strings[0], string("a"));
	EXPECT_STREQ(strings[1], string("b"));
	EXPECT_STREQ(strings[2], string("c"));
	EXPECT_STREQ(strings[3], string("d"));
	EXPECT_STREQ(strings[4], string("e"));
	EXPECT_STREQ(strings[5], string("f"));
	EXPECT_STREQ("end", string("g"));
	EXPECT_STREQ(UNREADABLE, string("h"));
	EXPECT_STREQ(UNREADABLE, string("i"));
	EXPECT_STREQ("values \"test\"", string("j"));
	EXPECT_STREQ("d", string("k"));
	snprintf(expected, sizeof(expected), "(0x%lx) a=\"%s\" b=\"%s\" c=\"%s\" d=\"%s\" e=\"%s\" "
		 "f=\"%s\" g=\"end\" h=(fault) i=(fault) j=\"values \"test\"\" k=\"d\"",
		 (unsigned long)values_probed, strings[0], strings[1], strings[2],
		 strings[3], strings[4], strings[5]);
	EXPECT_STREQ(expected, text);
	undefine();
	munmap(two, 2 * page);
}

/* Arrays of numbers and of strings, as long as they may be. */
TEST_F(uprobe, arrays)
{
	static struct {
		uint8_t		bytes[64];
		int16_t		shorts[5];
		uint64_t	longs[3];
		const char	*strings[3];
	} data = { .shorts = { -1, 2, -3, 4, -5 }, .longs = { 1, ~0ULL, 1ULL << 63 },
		   .strings = { "one", "", "three" } };
	char args[512];
	const char *text;
	unsigned int i;

	for (i = 0; i < 64; i++)
		data.bytes[i] = 255 - i;
	snprintf(args, sizeof(args), "b=+0(%%di):u8[64] s=+%zu(%%di):s16[5] l=+%zu(%%di):x64[3] "
		 "one=+1(%%di):u8[1] t=+%zu(%%di):string[3]",
		 (char *)data.shorts - (char *)&data, (char *)data.longs - (char *)&data,
		 (char *)data.strings - (char *)&data);
	text = RECORD(false, "values_probed", args, values_probed(&data));
	for (i = 0; i < 64; i++)
		EXPECT_EQ(data.bytes[i], element(0, "b", i));
	for (i = 0; i < 5; i++)
		EXPECT_EQ((uint64_t)data.shorts[i], element(0, "s", i));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(data.longs[i], element(0, "l", i));
	EXPECT_EQ(data.bytes[1], element(0, "one", 0));
	/* libtraceevent knows no arrays of strings. */
	EXPECT_NE(NULL, strstr(text, " s={-1,2,-3,4,-5} l={0x1,0xffffffffffffffff,"
			       "0x8000000000000000} one={254} t={\"one\",\"\",\"three\"}"))
		TH_LOG("%s", text);
	undefine();
}

/* As many arguments as there may be, each with its own value. */
TEST_F(uprobe, many_arguments)
{
	uint64_t numbers[128];
	char args[8192], name[16];
	size_t used = 0;
	unsigned int i;

	for (i = 0; i < 128; i++) {
		numbers[i] = i * 0x123456789abcdefULL;
		used += sprintf(args + used, "a%u=+%u(%%di):u64 ", i, 8 * i);
	}
	ASSERT_GT(4000, used);
	RECORD(false, "values_probed", args, values_probed(numbers));
	for (i = 0; i < 128; i++) {
		sprintf(name, "a%u", i);
		EXPECT_EQ(numbers[i], value(name));
	}
	undefine();
}

/* What a function returns, where it is, where it returns to. */
TEST_F(uprobe, return_value)
{
	static const uint64_t number = 0x8182838485868788;
	const char *text;
	char expected[512];

	text = RECORD(true, "values_returned", "a=$retval b=$retval:s16 c=%ax:x8 d=$comm",
		      EXPECT_EQ(number, values_returned(number)));
	EXPECT_EQ(number, value("a"));
	EXPECT_EQ((uint64_t)(int16_t)number, value("b"));
	EXPECT_EQ(number & 0xff, value("c"));
	EXPECT_EQ((uintptr_t)values_returned, value("__probe_func"));
	/* In this function, not where the kernel has the return go. */
	EXPECT_LT((uintptr_t)values_returned - (1 << 20), value("__probe_ret_ip"));
	EXPECT_GT((uintptr_t)values_returned + (1 << 20), value("__probe_ret_ip"));
	snprintf(expected, sizeof(expected), "(0x%llx <- 0x%lx) a=0x%llx ",
		 (unsigned long long)value("__probe_ret_ip"), (unsigned long)values_returned,
		 (unsigned long long)number);
	EXPECT_EQ(0, strncmp(expected, text, strlen(expected))) TH_LOG("%s", text);
	undefine();
}

/* A kernel address is printed as a symbol. */
TEST_F(uprobe, symbol)
{
	unsigned long address = 0;
	char line[256], name[128];
	const char *text;
	FILE *symbols;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	symbols = fopen("/proc/kallsyms", "re");
	while (symbols && fgets(line, sizeof(line), symbols)) {
		if (sscanf(line, "%lx %*c %127s", &address, name) == 2 &&
		    !strcmp(name, "uprobe_mmap"))
			break;
		address = 0;
	}
	if (symbols)
		fclose(symbols);
	ASSERT_NE(0, address) TH_LOG("kernel addresses are hidden");
	text = RECORD(false, "values_probed", "a=%di:symbol b=%di",
		      values_probed((void *)address + 1));
	EXPECT_EQ(address + 1, value("a"));
	EXPECT_NE(NULL, strstr(text, " a=uprobe_mmap+0x1/0x")) TH_LOG("%s", text);
	undefine();
}

/* perf records the same of the same event. */
TEST_F(uprobe, perf_sample)
{
	const long page = sysconf(_SC_PAGESIZE);
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .sample_period = 1,
		.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_RAW,
	};
	uint64_t regs[14] = { 0x1234567890abcdef, 2 };
	struct perf_event_mmap_page *head;
	struct {
		struct perf_event_header	header;
		uint32_t			pid, tid, size;
		unsigned char			raw[];
	} __attribute__((packed)) *sample;
	const char *why;
	char *ring;
	int fd;

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	why = define(false, "values_probed", "a=%ax b=+8(%di):u8 s=$stack1 c=$comm");
	ASSERT_EQ(NULL, why) TH_LOG("%s", why);
	attr.config = event->id;
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	ASSERT_LE(0, fd);
	head = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)head);
	ring = (char *)head + page;
	values_call(regs);
	sample = (void *)ring;
	ASSERT_LT(sizeof(*sample), head->data_head);
	ASSERT_EQ(PERF_RECORD_SAMPLE, sample->header.type);
	EXPECT_EQ(sample->header.size, head->data_head) TH_LOG("more than one record");
	keep(sample->raw, sample->size, sample->pid);
	EXPECT_EQ(getpid(), records[0].pid);
	EXPECT_EQ((uintptr_t)values_probed, value("__probe_ip"));
	EXPECT_EQ(regs[0], value("a"));
	EXPECT_EQ(2, value("b"));
	EXPECT_EQ(STACK1, value("s"));
	EXPECT_STREQ(program_invocation_short_name, string("c"));
	munmap(head, 2 * page);
	close(fd);
	undefine();
}

/* ---- many at once ---- */

#define THREADS	4
#define CALLS	500

static void *call_often(void *which)
{
	struct {
		uint64_t	tid, number, inverse;
		char		*text, room[40];
	} data = { .tid = gettid(), .text = data.room };
	unsigned int i;

	for (i = 0; i < CALLS; i++) {
		data.number = ((uintptr_t)which << 32) + i;
		data.inverse = ~data.number;
		snprintf(data.room, sizeof(data.room), "%*s%" PRIu64, (int)(i % 20), "",
			 data.number);
		values_probed(&data);
	}
	return NULL;
}

/* Threads that share a CPU and its buffer get nothing of each other. */
TEST_F(uprobe, threads_at_once)
{
	unsigned int i, nr, calls[THREADS] = {}, mixed = 0;
	pthread_t threads[THREADS];
	const char *why;
	char text[40];

	REQUIRE(NEED_ROOT | NEED_TRACEFS);
	why = define(false, "values_probed",
		     "tid=+0(%di) a=+8(%di) t=+0(+24(%di)):string b=+16(%di)");
	ASSERT_EQ(NULL, why) TH_LOG("%s", why);
	enable();
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, call_often, (void *)(uintptr_t)i));
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	disable();
	nr = collect();
	EXPECT_EQ(THREADS * CALLS, nr);
	for (i = 0; i < nr; i++) {
		uint64_t number = element(i, "a", 0), inverse = element(i, "b", 0);
		const char *got = string_of(i, "t");

		snprintf(text, sizeof(text), "%*s%" PRIu64, (int)((uint32_t)number % 20), "",
			 number);
		if (number != ~inverse || (int)element(i, "tid", 0) != records[i].pid ||
		    strcmp(got, text) || number >> 32 >= THREADS)
			mixed++;
		else
			calls[number >> 32]++;
	}
	EXPECT_EQ(0, mixed);
	for (i = 0; i < THREADS; i++)
		EXPECT_EQ(CALLS, calls[i]);
	undefine();
}

#else
TEST_F(uprobe, not_built)
{
	REQUIRE(NEED_X86_64);
	SKIP(return, "built without libtracefs");
}
#endif

TEST_HARNESS_MAIN
