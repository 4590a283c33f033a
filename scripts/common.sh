# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# What every script shares. Source it; it needs bash, `set -eu` is its first act.
set -euo pipefail

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

# One line that says what is wrong and what to do; exit 1.
die() { printf '%s: error: %s\n' "${0##*/}" "$*" >&2; exit 1; }
warn() { printf '%s: warning: %s\n' "${0##*/}" "$*" >&2; }

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

# total NAME PASSED FAILED SKIPPED: what scripts/totals adds up.
total() {
	mkdir -p "$B/totals"
	printf '%d passed, %d failed, %d skipped\n' "$2" "$3" "$4" >"$B/totals/$1"
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

# compiler: gcc, through ccache with a cache outside the clone where there is one.
compiler() {
	if command -v ccache >/dev/null; then echo "ccache gcc"; else echo gcc; fi
}
export CCACHE_DIR=${CCACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/uprobes-ccache}
export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-8G}

# The kernel's notion of when and by whom it was built would defeat the cache.
export KBUILD_BUILD_TIMESTAMP=${KBUILD_BUILD_TIMESTAMP:-1970-01-01}
export KBUILD_BUILD_USER=uprobes KBUILD_BUILD_HOST=build
