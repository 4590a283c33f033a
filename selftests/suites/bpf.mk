# SPDX-License-Identifier: GPL-2.0
# The BPF selftests that attach probes, out of a kernel's tools/testing/selftests/bpf,
# whose own Makefile builds all 200 or nothing, and into the source at that.
#	make -f bpf.mk SRC=.../linux VMLINUX=.../vmlinux OUTPUT=.../bpf OBJ=.../obj
# Needs clang, and pahole when vmlinux is built (CONFIG_DEBUG_INFO_BTF).

# Left out: what wants the test module (kprobe_multi_test, module_attach), the
# network, or hardware counters (perf_branches, *_nmi).
TESTS	:= attach_probe bpf_cookie get_stack_raw_tp perf_buffer perf_event_stackmap \
	   perf_link probe_read_user_str probe_user send_signal stacktrace_build_id \
	   task_fd_query_tp test_lsm tp_attach_query uprobe_autoattach usdt
RUNNER	:= test_progs cgroup_helpers trace_helpers network_helpers testing_helpers \
	   btf_helpers cap_helpers test_loader

B	:= $(SRC)/tools/testing/selftests/bpf
O	:= $(OBJ)
CLANG	?= clang
tests	:= $(addprefix $(B)/prog_tests/,$(addsuffix .c,$(TESTS)))

# What the tests include as skeleton, open as an object, or link together.
skels	:= $(shell sed -n 's/^\#include "\([a-z_0-9]*\)\.skel\.h".*/\1/p' $(tests))
objects	:= $(shell sed -n 's/.*"\(\.\/\)\?\([a-z_0-9]*\)\.bpf\.o".*/\2/p' $(tests))
parts	:= test_usdt_multispec
names	:= $(sort $(skels) $(objects) $(parts))

INCLUDE	:= -I$(O) -I$(O)/include -I$(B) -I$(SRC)/tools/lib -I$(SRC)/tools/include \
	   -I$(SRC)/tools/include/uapi
CFLAGS	:= -g -O0 -rdynamic -Wall $(INCLUDE)
system	:= $(shell $(CLANG) -v -E - </dev/null 2>&1 | sed -n '/<...> search starts here:/,/End of search list./s|^ \(/.*\)|-idirafter \1|p')
BPF	:= -g -O2 -target bpf -mcpu=v3 -mlittle-endian -D__TARGET_ARCH_x86 -DENABLE_ATOMICS_TESTS \
	   -Wno-compare-distinct-pointer-types $(INCLUDE) $(system)
libbpf	:= $(O)/libbpf.a
bpftool	:= $(O)/bpftool/bootstrap/bpftool

all: $(OUTPUT)/test_progs $(OUTPUT)/urandom_read $(names:%=$(OUTPUT)/%.bpf.o)
.SECONDARY:
.DELETE_ON_ERROR:

$(libbpf):
	mkdir -p $(O)/libbpf $(O)/prog_tests
	$(MAKE) -C $(SRC)/tools/lib/bpf OUTPUT=$(O)/libbpf/ DESTDIR=$(O) prefix= \
		$(O)/libbpf/libbpf.a install_headers
	cp $(O)/libbpf/libbpf.a $@
$(bpftool): $(libbpf)
	mkdir -p $(O)/bpftool
	$(MAKE) -C $(SRC)/tools/bpf/bpftool OUTPUT=$(O)/bpftool/ bootstrap
$(O)/include/vmlinux.h: $(VMLINUX) $(bpftool)
	$(bpftool) btf dump file $(VMLINUX) format c >$@

$(OUTPUT)/%.bpf.o: $(B)/progs/%.c $(O)/include/vmlinux.h
	$(CLANG) $(BPF) -c $< -o $@
$(O)/%.skel.h: $(OUTPUT)/%.bpf.o
	$(bpftool) gen object $(O)/$*.linked.o $<
	$(bpftool) gen skeleton $(O)/$*.linked.o name $* >$@
$(O)/test_usdt.skel.h: $(OUTPUT)/test_usdt.bpf.o $(OUTPUT)/test_usdt_multispec.bpf.o
	$(bpftool) gen object $(O)/test_usdt.linked.o $^
	$(bpftool) gen skeleton $(O)/test_usdt.linked.o name test_usdt >$@

$(O)/prog_tests/tests.h: $(tests) $(libbpf)
	sed -nE 's/^void (serial_)?test_([a-zA-Z0-9_]+)\((void)?\).*/DEFINE_TEST(\2)/p' $(tests) >$@
$(O)/%.test.o: $(B)/prog_tests/%.c $(skels:%=$(O)/%.skel.h)
	$(CC) $(CFLAGS) -c $< -o $@
$(O)/%.o: $(B)/%.c $(O)/prog_tests/tests.h
	$(CC) $(CFLAGS) -c $< -o $@
$(OUTPUT)/test_progs: $(TESTS:%=$(O)/%.test.o) $(RUNNER:%=$(O)/%.o) $(libbpf)
	$(CC) $(CFLAGS) $^ -lelf -lz -lrt -lpthread -o $@
$(OUTPUT)/liburandom_read.so: $(B)/urandom_read_lib1.c $(B)/urandom_read_lib2.c
	$(CC) $(CFLAGS) -fPIC -shared -Wl,-soname,$(@F) $^ -o $@
$(OUTPUT)/urandom_read: $(B)/urandom_read.c $(B)/urandom_read_aux.c $(OUTPUT)/liburandom_read.so
	$(CC) $(CFLAGS) -Wl,-rpath=. $^ -o $@
