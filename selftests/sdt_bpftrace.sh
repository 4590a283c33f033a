#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# bpftrace and perf trace the same marker of a running program; either leaves
# first. Runs where perf, bpftrace, the programs beside this script and tracefs
# are (bpftrace needs some 3 GB of memory); needs no more than busybox.
set -u
here=$(cd "$(dirname "$0")" && pwd)
events=/sys/kernel/tracing/uprobe_events
tmp=$(mktemp -d)
export PERF_BUILDID_DIR="$tmp/cache"
passed=0 failed=0

check() {
	sentence=$1; shift
	if "$@"; then
		passed=$((passed + 1))
		echo "ok - $sentence"
	else
		failed=$((failed + 1))
		echo "not ok - $sentence"
	fi
}
# semaphore: the value, as /proc/PID/mem has it.
semaphore() {
	perms='rw.p'
	line=$(grep " $perms .*sdt_prog$" "/proc/$program/maps" | head -n 1)
	start=$((0x${line%%-*}))
	offset=$((0x$(echo "$line" | cut -d ' ' -f 3)))
	dd if="/proc/$program/mem" bs=1 skip=$((start + counter - offset)) count=2 2>/dev/null |
		od -An -tu2 | tr -d ' '
}
is() {
	value=$(semaphore)
	[ "$value" = "$1" ] || echo "# semaphore: $value, not $1"
	[ "$value" = "$1" ]
}
start_perf() {
	perf record -q -o "$tmp/data" -e sdt_one:turn -p "$program" >/dev/null 2>&1 &
	perf=$!
	sleep 3
}
stop_perf() {
	kill -INT "$perf"
	wait "$perf"
	perf script -i "$tmp/data" -F event 2>/dev/null | grep -c sdt_one:turn >"$tmp/samples"
}
start_bpftrace() {
	: >"$tmp/counts"
	bpftrace -p "$program" -e \
		"usdt:$here/sdt_prog:one:turn { @hits = count(); } interval:s:1 { print(@hits); }" \
		>"$tmp/counts" 2>&1 &
	bpftrace=$!
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
		sleep 5
		! grep -q '^@hits: [1-9]' "$tmp/counts" || break
	done
}
stop_bpftrace() {
	kill -INT "$bpftrace"
	wait "$bpftrace"
}
counted() {
	grep '^@hits: [1-9]' "$tmp/counts" | tail -n 1 || { cat "$tmp/counts"; false; }
}
recorded() {
	echo "# perf: $(cat "$tmp/samples") samples"
	[ "$(cat "$tmp/samples")" -gt 0 ]
}

perf probe -q -x "$here/sdt_prog" sdt_one:turn
counter=$(sed -n 's/^p:sdt_one.turn .*(\(0x[0-9a-f]*\)).*/\1/p' $events | head -n 1)
counter=$((counter))
"$here/sdt_prog" 1000000 >/dev/null &
program=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
	! grep -q ' rw.p .*sdt_prog$' "/proc/$program/maps" || break
	sleep 1
done
check "nobody traces: 0" is 0

start_perf
check "perf, three places: 3" is 3
start_bpftrace
check "perf and bpftrace name one semaphore: 3" is 3
check "bpftrace sees hits" counted
stop_perf
check "perf has seen hits" recorded
check "perf has left first: 3" is 3
stop_bpftrace
check "both have left: 0" is 0

start_bpftrace
check "bpftrace: 3" is 3
start_perf
check "bpftrace and perf: 3" is 3
stop_bpftrace
check "bpftrace has seen hits" counted
check "bpftrace has left first: 3" is 3
stop_perf
check "perf has seen hits" recorded
check "both have left: 0" is 0

kill "$program"
perf probe -q -d 'sdt_*'
rm -rf "$tmp"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
