#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# perf and SDT markers, end to end: found, placed, counted and left as they were,
# in an executable, a PIE and a library that is linked or loaded. Runs where perf,
# the programs beside this script and tracefs are; needs no more than busybox.
set -u
here=$(cd "$(dirname "$0")" && pwd)
events=/sys/kernel/tracing/uprobe_events
tmp=$(mktemp -d)
export PERF_BUILDID_DIR="$tmp/cache"
passed=0 failed=0

# check SENTENCE COMMAND...
check() {
	sentence=$1; shift
	if "$@" >"$tmp/log" 2>&1; then
		passed=$((passed + 1))
		echo "ok - $sentence"
	else
		failed=$((failed + 1))
		echo "not ok - $sentence"
		sed 's/^/# /' "$tmp/log" | tail -n 20
	fi
}
# says FILE LINE: what a traced program printed.
says() { cat "$1"; grep -qxF "$2" "$1"; }
# samples EVENT NUMBER: in the recording.
samples() {
	perf script -i "$tmp/data" -F event >"$tmp/script" 2>/dev/null
	n=$(grep -c "^ *$1:" "$tmp/script")
	echo "$1: $n samples, not $2"
	[ "$n" -eq "$2" ]
}
# record EVENTS... -- COMMAND...: its output is in $tmp/out.
record() {
	options=
	while [ "$1" != -- ]; do options="$options -e $1"; shift; done
	shift
	# shellcheck disable=SC2086
	perf record -o "$tmp/data" $options "$@" >"$tmp/out" 2>"$tmp/err" || cat "$tmp/err"
}
# placed GROUP/EVENT NUMBER: so many probes, each with a semaphore.
placed() {
	cat $events
	[ "$(grep -c "^p:$1 .*:0x[0-9a-f]*(0x[0-9a-f]*)" $events)" -eq "$2" ]
}
remove() { perf probe -q -d 'sdt_*' >/dev/null 2>&1; }

for file in sdt_prog sdt_prog_pie sdt_lib.so; do
	check "buildid-cache takes $file" perf buildid-cache --add "$here/$file"
done
perf list sdt >"$tmp/list" 2>&1
for event in sdt_one:turn sdt_two:turn sdt_two:end sdt_lib:hit; do
	check "perf list has $event" grep -q "$event.*SDT event" "$tmp/list"
done

for prog in sdt_prog sdt_prog_pie; do
	check "$prog: a marker inlined at three places is placed" \
		perf probe -q -x "$here/$prog" sdt_one:turn
	check "$prog: three probes with a semaphore" placed sdt_one/turn 3
	check "$prog: another provider's marker of the same name is placed" \
		perf probe -q -x "$here/$prog" 'sdt_two:*'
	check "$prog: it has a semaphore" placed sdt_two/turn 1
	record sdt_one:turn sdt_two:turn sdt_two:end -- "$here/$prog" 10
	check "$prog: each probe has raised its semaphore" \
		says "$tmp/out" "one:turn 3 two:turn 1 two:end 1"
	check "$prog: each hit of the first provider" samples sdt_one:turn 20
	check "$prog: each hit of the second provider" samples sdt_two:turn 10
	check "$prog: the hit of its other marker" samples sdt_two:end 1
	record sdt_two:turn -- "$here/$prog" 10
	check "$prog: only the marker that is recorded" \
		says "$tmp/out" "one:turn 0 two:turn 1 two:end 0"

	# Comes and goes while the program runs, beside a tracer that stays.
	offset=$(sed -n 's/^p:sdt_two.turn .*:\(0x[0-9a-f]*([^)]*)\).*/\1/p' $events)
	echo "p:mine/turn $here/$prog:$offset" >>$events
	echo 1 >/sys/kernel/tracing/events/mine/turn/enable
	"$here/$prog" 1000000 >"$tmp/out" &
	sleep 1
	perf record -q -o "$tmp/data" -e sdt_two:turn -e sdt_one:turn -p $! sleep 1 >"$tmp/err" 2>&1
	perf script -i "$tmp/data" -F event >"$tmp/script" 2>/dev/null
	check "$prog: hits of a program that ran before perf" grep -q sdt_one:turn "$tmp/script"
	kill $!
	wait $!
	check "$prog: perf has left, the other tracer has not" \
		says "$tmp/out" "one:turn 0 two:turn 1 two:end 0"
	echo 0 >/sys/kernel/tracing/events/mine/turn/enable
	check "$prog: the other tracer's events" \
		grep -q " turn  *[1-9]" /sys/kernel/tracing/uprobe_profile
	echo "-:mine/turn" >>$events
	remove
	"$here/$prog" 10 >"$tmp/out"
	check "$prog: nothing left" says "$tmp/out" "one:turn 0 two:turn 0 two:end 0"
done

check "library: its marker is placed" perf probe -q sdt_lib:hit
check "library: it has a semaphore" placed sdt_lib/hit 1
LD_PRELOAD="$here/sdt_lib.so" record sdt_lib:hit -- "$here/sdt_prog_pie" 10 preload
check "library loaded with the program" says "$tmp/out" \
	"one:turn 0 two:turn 0 two:end 0 lib:hit 1"
check "library loaded with the program: each hit" samples sdt_lib:hit 10
record sdt_lib:hit -- "$here/sdt_prog" 10 dlopen "$here/sdt_lib.so"
check "library loaded by dlopen()" says "$tmp/out" \
	"one:turn 0 two:turn 0 two:end 0 lib:hit 1"
check "library loaded by dlopen(): each hit" samples sdt_lib:hit 10
record sdt_lib:hit -- "$here/sdt_prog" 10 dlmopen "$here/sdt_lib.so"
check "library loaded twice by dlmopen()" says "$tmp/out" \
	"one:turn 0 two:turn 0 two:end 0 lib:hit 1 lib:hit 1"
check "library loaded twice by dlmopen(): each hit" samples sdt_lib:hit 20
remove
check "no event left" [ -z "$(cat $events)" ]

rm -rf "$tmp"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
