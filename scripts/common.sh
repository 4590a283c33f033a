# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# What every script shares. Source it; it needs bash, `set -eu` is its first act.
set -euo pipefail
unset CDPATH
# What sha256sum, diff, apt and gcc say is read; the kernel's Makefile drops LC_ALL.
unset LANGUAGE LC_MESSAGES
export LC_ALL=C.UTF-8 LANG=C.UTF-8

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BASE=${BASE:-6.1}
B=$ROOT/build
LOGDIR=$B/log
PATCHES=$ROOT/kernel-patches/$BASE
SERIES=$ROOT/series
[ "$BASE" = 6.1 ] || SERIES=$ROOT/series-$BASE
SRC=$B/src/$BASE		# pristine, never built in, never edited
TREE=$B/tree/$BASE		# SRC + overlay + series
JOBS=${JOBS:-$(nproc)}

# This script, those that called it and make: scripts/guest does not outlive them.
case "$(cat "/proc/$PPID/comm" 2>/dev/null)" in make|gmake) UPROBES_CALLERS="${UPROBES_CALLERS:-} $PPID" ;; esac
export UPROBES_CALLERS="${UPROBES_CALLERS:-} $$"

# One line that says what is wrong and what to do; exit 1.
die() { printf '%s: error: %s\n' "${0##*/}" "$*" >&2; exit 1; }
warn() { printf '%s: warning: %s\n' "${0##*/}" "$*" >&2; }

# need OPTION [VALUE...]: the option of a loop over "$@" has a value.
need() { [ $# -ge 2 ] || die "$1 wants a value"; }

# number NAME VALUE MIN MAX: a whole number in that range, without a leading zero,
# which a shell takes for octal. The length is for what overflows the comparison.
number() {
	case "$2" in
	''|*[!0-9]*|0?*|?????????*) ;;
	*) [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ] || return 0 ;;
	esac
	die "$1 must be a whole number from $3 to $4, not '$2'"
}
case "$BASE" in *[!0-9.]*|.*|*.) die "BASE is a version such as 6.1, not '$BASE'" ;; esac
number JOBS "$JOBS" 1 4096

# config_hash KERNEL: what tells the configuration of a built kernel, its compiler
# included. Which pahole is installed stands there, too, and changes no code.
config_hash() { grep -v -e '^#' -e '^CONFIG_PAHOLE_' "$1/.config" | sha256sum | cut -c 1-12; }

# phase NAME CMD...: run CMD with its output in build/log/NAME.log; a line with
# the elapsed time when done, the log's tail when it fails.
phase() {
	local name=$1 log start=$SECONDS rc; shift
	log=$LOGDIR/$name.log
	mkdir -p "$LOGDIR"
	printf '%-28s ' "$name"
	# In a list with || a function would go on after an error.
	set +e
	(set -e; "$@") >"$log" 2>&1 </dev/null
	rc=$?
	set -e
	if [ "$rc" -ne 0 ]; then
		printf 'FAILED after %d s\n' $((SECONDS - start))
		tail -n 20 "$log" >&2
		printf '%s: error: %s failed (exit %d), whole log: %s\n' \
			"${0##*/}" "$name" "$rc" "${log#"$ROOT"/}" >&2
		exit "$rc"
	fi
	printf '%4d s\n' $((SECONDS - start))
}

# begin NAME: what an earlier run of it came to does not count any more.
begin() {
	mkdir -p "$B/totals"
	rm -f "$B/totals/$1" "$B/passed/$1"
}

# total NAME PASSED FAILED SKIPPED: what scripts/totals adds up.
total() {
	mkdir -p "$B/totals"
	printf '%d passed, %d failed, %d skipped\n' "$2" "$3" "$4" >"$B/totals/$1"
}

# harness_total NAME LOG...: the same from the output of one test program in each
# log. It must have ended, with no case failed and, as nothing else ran, none skipped.
harness_total() {
	local name=$1 log line counts; shift
	for log; do
		line=$(tr -d '\r' <"$log" | sed -n 's/^# Totals: //p')
		[[ $line =~ ^pass:([0-9]+)\ fail:([0-9]+)\ xfail:0\ xpass:0\ skip:([0-9]+)\ error:([0-9]+)$ ]] ||
			die "the program has not ended: see ${log#"$ROOT"/}"
		echo "${BASH_REMATCH[1]} $((BASH_REMATCH[2] + BASH_REMATCH[4])) ${BASH_REMATCH[3]}"
	done >"$LOGDIR/$name.totals"
	read -ra counts < <(awk '{ p += $1; f += $2; s += $3 } END { print p, f, s }' "$LOGDIR/$name.totals")
	total "$name" "${counts[@]}"
	cat "$B/totals/$name"
	[ "${counts[0]}" -gt 0 ] && [ "${counts[1]}" -eq 0 ] && [ "${counts[2]}" -eq 0 ] ||
		die "$name: cases failed or were skipped: see $*"
}

# need_space GiB: the file system of build/ must have that much room.
need_space() {
	local have
	mkdir -p "$B"
	have=$(($(df --output=avail -k "$B" | tail -n 1) / 1048576))
	[ "$have" -ge "$1" ] || die "build/ needs $1 GB free, its file system has $have GB"
}

# base_value KEY: a value of kernel-patches/BASE/base.
base_value() {
	local v
	[ -r "$PATCHES/base" ] || die "no base '$BASE': kernel-patches/$BASE/base is missing"
	v=$(sed -n "s/^$1=//p" "$PATCHES/base")
	[ -n "$v" ] || die "kernel-patches/$BASE/base has no $1="
	printf '%s\n' "$v"
}

# series_patches: the patches in their order.
series_patches() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$SERIES"; }

# compiler: gcc, through ccache with a cache outside the clone where there is one.
compiler() {
	if command -v ccache >/dev/null; then echo "ccache gcc"; else echo gcc; fi
}
export CCACHE_DIR=${CCACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/uprobes-ccache}
export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-8G}

# The kernel's notion of when and by whom it was built would defeat the cache.
export KBUILD_BUILD_TIMESTAMP=${KBUILD_BUILD_TIMESTAMP:-1970-01-01}
export KBUILD_BUILD_USER=uprobes KBUILD_BUILD_HOST=build
