# SPDX-License-Identifier: GPL-2.0
# The meter. The top Makefile includes this; it gives ROOT, B, BASE, K, IMAGE, PEER.

METER_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter
UPROBE_LIB   := tools/lib/uprobe
METER_BIN    := $(B)/bench
METER_TOOLS  := $(addprefix $(METER_BIN)/,meter.so selftest load meter-resolve project)
METER_NAMES  := $(BASE)-base $(BASE)-series $(addsuffix -base,$(PEER))

$(METER_BIN)/meter.so: $(wildcard bench/plugin/*.[ch])
	@mkdir -p $(@D)
	@gcc $(METER_CFLAGS) -fPIC -shared -fvisibility=hidden -o $@ $(filter %.c,$^) -pthread

$(METER_BIN)/selftest: bench/guest/selftest.c bench/guest/team.c bench/guest/team.h bench/plugin/marker.h
	@mkdir -p $(@D)
	@gcc $(METER_CFLAGS) -o $@ $(filter %.c,$^) -pthread

$(METER_BIN)/load: $(addprefix bench/guest/,load.c hit.c cost.c team.c ops.h team.h) \
		bench/plugin/marker.h $(wildcard $(UPROBE_LIB)/*.[ch] $(UPROBE_LIB)/include/uprobe/*.h)
	@mkdir -p $(@D)
	@gcc $(METER_CFLAGS) -DHAVE_LIBBPF_SUPPORT -I$(UPROBE_LIB)/include -o $@ $(filter %.c,$^) -pthread -lelf -lbpf

$(METER_BIN)/meter-resolve: $(addprefix bench/report/,resolve.c symbols.c symbols.h)
	@mkdir -p $(@D)
	@gcc $(METER_CFLAGS) -o $@ $(filter %.c,$^) -ldw -lelf

$(METER_BIN)/project: $(addprefix bench/report/,project.c csv.c csv.h)
	@mkdir -p $(@D)
	@gcc $(METER_CFLAGS) -o $@ $(filter %.c,$^) -lm

# The kernel to compare with is fetched and built only when PEER names it.
ifneq ($(PEER),)
$(B)/kernel/$(PEER)-base/$(IMAGE): $(WITH) configs/peer-$(PEER).config
	@bench/peer-source $(PEER)
	@scripts/build-kernel $(B)/src/$(PEER) $(PEER)-base guest peer-$(PEER)
endif

.PHONY: meter-tools meter census meter-selftest report gate
meter-tools: $(METER_TOOLS)

# Rows are measured again when the kernel, QEMU, the tools or the list changed.
$(B)/meter/%-rows.csv: $(B)/kernel/%/$(IMAGE) $(STAMP)/toolchain $(METER_TOOLS) \
		bench/rows bench/meter scripts/guest
	@mkdir -p $(@D)
	@bench/meter --kernel $(B)/kernel/$* --name $* --out $(B)/meter/$* \
		--series $(if $(findstring series,$*),$$(cat series kernel-patches/$(BASE)/*.patch | sha256sum | cut -c1-12),none) \
		>$(B)/meter/$*.txt

##
##   make meter        instructions and contended lines per hit; PEER=7.3     9 / 0.1
meter: kernels $(METER_NAMES:%=$(B)/meter/%-rows.csv)
	@bench/report/table $(METER_NAMES:%=$(B)/meter/%-rows.csv)

##   make census       first instructions of functions: who steps them        1 / 0.5
census: kernels $(PEER:%=$(B)/kernel/%-base/$(IMAGE))
	@bench/census/run $(BASE)-base $(PEER:%=%-base) $(BASE)-series

##   make meter-selftest  the meter against counters with known answers     5 / 0.3
meter-selftest: $(K)-series/$(IMAGE)
	@bench/meter-selftest --kernel $(K)-series

##   make report       the meter's tables and plots as one HTML file          9 / 0.1
report: meter
	@bench/report/page $(B)/report.html $(METER_NAMES)

##   make gate         fail when worse than the reference or unpatched        5 / 0.1
# The reference has the unpatched kernel's rows; they are measured anew, which takes
# 5 minutes more, when something but the series is no longer as it was then.
UNPATCHED := $(B)/meter/$(BASE)-base-rows.csv
gate: $(B)/meter/$(BASE)-series-rows.csv
	@if bench/gate --alike $<; then bench/gate $<; \
	else $(MAKE) --no-print-directory $(UNPATCHED) && bench/gate --base $(UNPATCHED) $<; fi
