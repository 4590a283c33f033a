# SPDX-License-Identifier: GPL-2.0
# The one entrance. `make help` lists the targets and what they cost.

BASE    ?= 6.1
KDIR    ?=
PEER    ?=
CPUS    ?=
MINUTES ?= 10
SEED    ?= 1
STEPS   ?= 100000
STATES  ?= 1000000
# Arguments that a user may give; a mistyped one is an error, not a default. They
# are told by their origin, not from MAKEOVERRIDES: a folder may have blanks.
KNOWN   := BASE KDIR PEER CPUS JOBS SEED MINUTES STEPS STATES
UNKNOWN := $(filter-out $(KNOWN),$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $(v))),$(v))))
ifneq ($(UNKNOWN),)
$(error unknown option: $(UNKNOWN) (known: $(KNOWN)))
endif
# A wrong number is told now, not after an hour of building. NAME, least, most:
wrong = $(shell v='$(subst ','\'',$($(1)))'; case "$$v" in (''|*[!0-9]*|0?*|?????????*) echo wrong ;; \
	(*) [ "$$v" -ge $(2) ] && [ "$$v" -le $(3) ] || echo wrong ;; esac)
check_number = $(if $(call wrong,$(1),$(2),$(3)),$(error $(1) must be a whole number from $(2) to $(3), not '$($(1))'))
$(if $(CPUS),$(call check_number,CPUS,1,64))
$(if $(JOBS),$(call check_number,JOBS,1,4096))
$(call check_number,SEED,0,99999999)
$(call check_number,MINUTES,1,1440)
$(call check_number,STEPS,1,99999999)
$(call check_number,STATES,1,99999999)
ifneq ($(words $(BASE) $(PEER)),$(if $(PEER),2,1))
$(error BASE and PEER name one version each)
endif
export BASE KDIR PEER CPUS
# As scripts/common.sh does.
export LC_ALL := C.UTF-8
unexport LANGUAGE

ROOT  := $(CURDIR)
B     := build
K     := $(B)/kernel/$(BASE)
STAMP := $(B)/stamp
IMAGE := arch/x86/boot/bzImage
# What every kernel is built with.
WITH  := $(STAMP)/toolchain scripts/build-kernel configs/guest.config

# One build at a time: each uses all cores by itself.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help bench check quick deps source tree apply refresh perf selftests \
	kernels hygiene variants litmus test sdt sanitizers smoke suites suites-deps soak steps \
	equiv model kcsan kcsan-short bpftrace bpftrace-deps slots meta clean distclean

help:
	@awk '/^##/ { sub(/^## ?/, ""); print }' $(MAKEFILE_LIST)

## Targets (minutes on 2 cores; first time / again when nothing changed)
##
##   make bench        build both kernels and perf, boot, print before/after  13 / 2
##   make check        everything that must hold; what CI runs                41 / 0.1
##   make quick        the short ones of the selftests                         7 / 0.7

include bench/bench.mk

##
##   make deps         install the packages that are missing (root)           2 / 0
deps:
	@scripts/install-deps

##   make source       unpack the base's source into build/src              0.5 / 0
source: deps
	@scripts/fetch-source

##   make tree         source + overlay + series in build/tree              0.2 / 0
tree: source
	@scripts/make-tree

##   make apply KDIR=  overlay and series onto your own 6.1.y tree          0.1
apply:
	@scripts/apply "$$KDIR"

##   make refresh      edits made in build/tree back into the patches       0.1
refresh:
	@scripts/refresh

# What changed is known only after `tree` ran; these are older than their
# dependents when nothing did. Of a kernel bzImage is what is written last.
$(STAMP)/kernel $(STAMP)/tools: tree ;
$(STAMP)/source: source ;
$(STAMP)/toolchain: deps ;

$(K)-base/$(IMAGE): $(STAMP)/source $(WITH)
	@scripts/build-kernel $(B)/src/$(BASE) $(BASE)-base guest
$(K)-series/$(IMAGE): $(STAMP)/kernel $(WITH)
	@scripts/build-kernel $(B)/tree/$(BASE) $(BASE)-series guest
$(K)-sanitizers/$(IMAGE): $(STAMP)/kernel $(WITH) configs/sanitizers.config
	@scripts/build-kernel $(B)/tree/$(BASE) $(BASE)-sanitizers guest sanitizers

$(K)-base-suites/$(IMAGE): $(STAMP)/source $(WITH) configs/suites.config
	@scripts/build-kernel $(B)/src/$(BASE) $(BASE)-base-suites guest suites
$(K)-series-suites/$(IMAGE): $(STAMP)/kernel $(WITH) configs/suites.config
	@scripts/build-kernel $(B)/tree/$(BASE) $(BASE)-series-suites guest suites

$(K)-kcsan/$(IMAGE): $(STAMP)/kernel $(WITH) configs/kcsan.config
	@scripts/build-kernel $(B)/tree/$(BASE) $(BASE)-kcsan guest kcsan
$(K)-base-kcsan/$(IMAGE): $(STAMP)/source $(WITH) configs/kcsan.config
	@scripts/build-kernel $(B)/src/$(BASE) $(BASE)-base-kcsan guest kcsan

$(B)/perf/perf: $(STAMP)/tools $(STAMP)/toolchain scripts/build-perf
	@scripts/build-perf
	@touch $@
$(STAMP)/selftests: $(STAMP)/tools $(STAMP)/toolchain scripts/build-selftests
	@scripts/build-selftests
	@touch $@

##   make kernels      both kernels, without and with the series              8 / 0.2
kernels: $(K)-base/$(IMAGE) $(K)-series/$(IMAGE)
##   make perf         perf of the patched tree                             1.5 / 0.1
perf: $(B)/perf/perf
##   make selftests    the selftests, in build/selftests                    0.5 / 0.1
selftests: $(STAMP)/selftests

bench: kernels perf
	@bench/run

SELFTESTS := --dir $(B)/selftests:/selftests -- /selftests/run.sh

##
##   make hygiene      checkpatch, fuzz, every step compiles, shellcheck      6 / 5
hygiene: source
	@shellcheck scripts/*.sh $$(grep -rlE '^#!/bin/(ba)?sh' .ci scripts bench selftests)
	@echo "shellcheck: clean"
	@scripts/check-series

##   make variants     what the series touches, in 17 configurations          5 / 4
variants: tree
	@scripts/variants

##   make litmus       the memory ordering, by herd7                        0.3 / 0.2
litmus: source
	@scripts/litmus

##   make test         selftests on the patched kernel                        7 / 2
test: $(K)-series/$(IMAGE) $(STAMP)/selftests
	@scripts/selftest test series $(SELFTESTS)
	@selftests/meta/runner > $(B)/log/meta-runner.log || { cat $(B)/log/meta-runner.log; exit 1; }

# Those that take some seconds only.
QUICK := $(addsuffix _test,bpf_detach conserve emulate emulate_equiv files hostile perf_events \
	return sdt sdt_model together uprobe_events)
quick: $(K)-series/$(IMAGE) $(STAMP)/selftests
	@scripts/selftest quick series $(SELFTESTS) $(QUICK)

##   make sanitizers   the same under KASAN, lockdep, PROVE_RCU              13 / 7
sanitizers: $(K)-sanitizers/$(IMAGE) $(STAMP)/selftests
	@scripts/selftest sanitizers sanitizers $(SELFTESTS) --all

##   make smoke        each benchmark of perf, shortly, under the sanitizers  8 / 2
smoke: $(K)-sanitizers/$(IMAGE) $(B)/perf/perf
	@scripts/selftest smoke sanitizers --file $(B)/perf/perf:/usr/bin/perf \
		--file bench/smoke:/usr/bin/smoke -- smoke

##   make sdt          perf probe and perf record on SDT markers              6 / 0.5
sdt: $(K)-series/$(IMAGE) $(STAMP)/selftests $(B)/perf/perf
	@scripts/selftest sdt series --dir $(B)/selftests:/selftests \
		--file $(B)/perf/perf:/usr/bin/perf -- /selftests/sdt_perf.sh

check:
	@scripts/once hygiene variants litmus test sdt sanitizers kcsan-short smoke meter-selftest gate

##
##   make suites       the kernel's own suites, unpatched against patched    20 / 8
suites: suites-deps $(K)-base-suites/$(IMAGE) $(K)-series-suites/$(IMAGE) $(B)/perf/perf
	@scripts/suites

suites-deps:
	@scripts/install-deps suites

##   make bpftrace     bpftrace and perf trace one SDT marker at once         8 / 2
bpftrace: bpftrace-deps $(K)-series/$(IMAGE) $(STAMP)/selftests $(B)/perf/perf
	@scripts/selftest bpftrace series --memory 4G --dir $(B)/selftests:/selftests \
		--file $(B)/perf/perf:/usr/bin/perf --file /usr/bin/bpftrace:/usr/bin/bpftrace \
		-- /selftests/sdt_bpftrace.sh

bpftrace-deps:
	@scripts/install-deps bpftrace

##   make soak         tests that race, MINUTES=10 each, SEED=1               50
soak: $(K)-sanitizers/$(IMAGE) $(STAMP)/selftests
	@scripts/soak "$(MINUTES)" "$(SEED)"

##   make equiv        emulated against native, STATES=1000000 each, SEED=1   25
equiv: $(K)-series/$(IMAGE) $(STAMP)/selftests
	@scripts/equiv "$(STATES)" "$(SEED)"

##   make model        SDT tracers against a model, STEPS=100000, SEED=1      40
model: $(K)-sanitizers/$(IMAGE) $(STAMP)/selftests
	@scripts/model "$(STEPS)" "$(SEED)"

##   make steps        the whole kernel compiles at every step of the series  90
steps: source
	@scripts/steps

##   make kcsan        data races of our code, without and with the series   30 / 8
kcsan: $(K)-base-kcsan/$(IMAGE) $(K)-kcsan/$(IMAGE) $(STAMP)/selftests
	@scripts/kcsan

##   make kcsan-short  the same, shorter, with the series only                9 / 4
kcsan-short: $(K)-kcsan/$(IMAGE) $(STAMP)/selftests
	@scripts/kcsan --short

##   make slots        200 threads stepping at once, against 16               9 / 1
slots: kernels perf
	@bench/slots

##   make meta         the tests notice each mutant of the kernel            60 / 50
meta: tree $(K)-series/$(IMAGE) $(STAMP)/selftests
	@selftests/meta/guest $(K)-series
	@selftests/meta/run

##
##   make clean        all of build/ but the unpacked source
clean:
	@rm -rf $(B)/.trash
	@[ ! -d $(B) ] || { mkdir $(B)/.trash && find $(B) -mindepth 1 -maxdepth 1 \
		! -name src ! -name .trash -exec mv -t $(B)/.trash {} + && rm -rf $(B)/.trash; }
##   make distclean    all of build/
# Out of the way first: half a tree must not be taken for a whole one.
distclean: clean
	@[ ! -d $(B)/src ] || mv $(B)/src $(B)/.trash
	@rm -rf $(B)
