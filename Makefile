# SPDX-License-Identifier: GPL-2.0
# The one entrance. `make help` lists the targets and what they cost.

BASE    ?= 6.1
KDIR    ?=
PEER    ?=
CPUS    ?=
MINUTES ?= 10
SEED    ?= 1
# Arguments that a user may give; a mistyped one is an error, not a default.
KNOWN   := BASE KDIR PEER CPUS JOBS SEED MINUTES
UNKNOWN := $(filter-out $(KNOWN),$(foreach v,$(MAKEOVERRIDES),$(firstword $(subst =, ,$(v)))))
ifneq ($(UNKNOWN),)
$(error unknown option: $(UNKNOWN) (known: $(KNOWN)))
endif
export BASE PEER CPUS

ROOT  := $(CURDIR)
B     := build
K     := $(B)/kernel/$(BASE)
STAMP := $(B)/stamp

# One build at a time: each uses all cores by itself.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help bench check quick deps source tree apply refresh perf selftests \
	kernels hygiene variants litmus test sdt sanitizers smoke suites suites-deps soak kcsan slots \
	meta clean distclean FORCE

help:
	@awk '/^## / { sub(/^## /, ""); print }' $(MAKEFILE_LIST)

## Targets (minutes on 2 cores; first time / again when nothing changed)
##
##   make bench        build both kernels and perf, boot, print before/after  20 / 3
##   make check        everything that must hold; what CI runs                35 / 5
##   make quick        the selftests on the patched kernel                     7 / 1

include bench/bench.mk

deps:
	@scripts/install-deps

## 
##   make source       unpack the base's source into build/src              0.5 / 0
source: deps
	@scripts/fetch-source

##   make tree         source + overlay + series in build/tree              0.2 / 0
tree: source
	@mkdir -p $(STAMP)
	@scripts/make-tree > $(B)/tree-changes
	@if grep -qv '^tools/' $(B)/tree-changes || [ ! -e $(STAMP)/kernel ]; then touch $(STAMP)/kernel; fi
	@if grep -q '^tools/' $(B)/tree-changes || [ ! -e $(STAMP)/tools ]; then touch $(STAMP)/tools; fi

##   make apply KDIR=  overlay and series onto your own 6.1.y tree          0.1
apply:
	@scripts/apply "$(KDIR)"

##   make refresh      edits made in build/tree back into the patches       0.1
refresh:
	@scripts/refresh

# What changed is known only after `tree` ran; these are older than their
# dependents when nothing did.
$(STAMP)/kernel $(STAMP)/tools: tree ;
$(STAMP)/source: source
	@mkdir -p $(@D)
	@[ -e $@ ] || touch $@

$(K)-base/vmlinux: $(STAMP)/source configs/guest.config
	@scripts/build-kernel $(B)/src/$(BASE) $(BASE)-base guest
$(K)-series/vmlinux: $(STAMP)/kernel configs/guest.config
	@scripts/build-kernel $(B)/tree/$(BASE) $(BASE)-series guest
$(K)-sanitizers/vmlinux: $(STAMP)/kernel configs/guest.config configs/sanitizers.config
	@scripts/build-kernel $(B)/tree/$(BASE) $(BASE)-sanitizers guest sanitizers

$(K)-base-suites/vmlinux: $(STAMP)/source configs/guest.config configs/suites.config
	@scripts/build-kernel $(B)/src/$(BASE) $(BASE)-base-suites guest suites
$(K)-series-suites/vmlinux: $(STAMP)/kernel configs/guest.config configs/suites.config
	@scripts/build-kernel $(B)/tree/$(BASE) $(BASE)-series-suites guest suites

$(K)-kcsan/vmlinux: $(STAMP)/kernel configs/guest.config configs/kcsan.config
	@scripts/build-kernel $(B)/tree/$(BASE) $(BASE)-kcsan guest kcsan
$(K)-base-kcsan/vmlinux: $(STAMP)/source configs/guest.config configs/kcsan.config
	@scripts/build-kernel $(B)/src/$(BASE) $(BASE)-base-kcsan guest kcsan

$(B)/perf/perf: $(STAMP)/tools scripts/build-perf
	@scripts/build-perf
$(STAMP)/selftests: $(STAMP)/tools scripts/build-selftests
	@scripts/build-selftests
	@touch $@

##   make kernels      both kernels, without and with the series              8 / 0.2
kernels: $(K)-base/vmlinux $(K)-series/vmlinux
##   make perf         perf of the patched tree                             1.5 / 0.1
perf: $(B)/perf/perf

bench: kernels perf
	@bench/run

SELFTESTS := --dir $(B)/selftests:/selftests -- /selftests/run.sh

##
##   make hygiene      checkpatch, fuzz, every step compiles, shellcheck      3 / 1
hygiene: source
	@shellcheck scripts/*.sh $$(grep -rlE '^#!/bin/(ba)?sh' .ci scripts bench selftests)
	@echo "shellcheck: clean"
	@scripts/check-series

##   make variants     what the series touches, in 16 other configurations     4 / 2
variants: tree
	@scripts/variants

##   make litmus       the memory ordering, by herd7                        0.3 / 0.2
litmus: source
	@scripts/litmus

##   make test         selftests on the patched kernel                        7 / 1
test quick: $(K)-series/vmlinux $(STAMP)/selftests
	@selftests/meta/runner > $(B)/log/meta-runner.log || { cat $(B)/log/meta-runner.log; exit 1; }
	@scripts/selftest series series $(SELFTESTS)

##   make sanitizers   the same under KASAN, lockdep, PROVE_RCU               8 / 2
sanitizers: $(K)-sanitizers/vmlinux $(STAMP)/selftests
	@scripts/selftest sanitizers sanitizers $(SELFTESTS) --all

##   make smoke        each benchmark of perf, shortly, under the sanitizers  8 / 0.5
smoke: $(K)-sanitizers/vmlinux $(B)/perf/perf
	@scripts/selftest smoke sanitizers --file $(B)/perf/perf:/usr/bin/perf \
		--file bench/smoke:/usr/bin/smoke -- smoke

##   make sdt          perf probe and perf record on SDT markers              8 / 0.5
sdt: $(K)-series/vmlinux $(STAMP)/selftests $(B)/perf/perf
	@scripts/selftest sdt series --dir $(B)/selftests:/selftests \
		--file $(B)/perf/perf:/usr/bin/perf -- /selftests/sdt_perf.sh

check:
	@scripts/once hygiene variants litmus test sdt sanitizers smoke meter-selftest gate
	@scripts/totals

##
##   make suites       the kernel's own suites, unpatched against patched    25 / 12
suites: suites-deps $(K)-base-suites/vmlinux $(K)-series-suites/vmlinux $(B)/perf/perf
	@scripts/suites

suites-deps:
	@scripts/install-deps suites

##   make soak         tests that race, MINUTES=10 each, SEED=1               25
soak: $(K)-sanitizers/vmlinux $(STAMP)/selftests
	@scripts/soak "$(MINUTES)" "$(SEED)"

##   make kcsan        data races of our code, without and with the series   30 / 8
kcsan: $(K)-base-kcsan/vmlinux $(K)-kcsan/vmlinux $(STAMP)/selftests
	@scripts/kcsan

##   make slots        200 threads stepping at once, against 16               9 / 1
slots: kernels perf
	@bench/slots

##   make meta         the tests notice each mutant of the kernel            25
meta: $(K)-series/vmlinux $(K)-sanitizers/vmlinux $(STAMP)/selftests
	@selftests/meta/run

##
##   make clean        all of build/ but the unpacked source
clean:
	@find $(B) -mindepth 1 -maxdepth 1 ! -name src -exec rm -rf {} + 2>/dev/null || true
##   make distclean    all of build/
distclean:
	@rm -rf $(B)
