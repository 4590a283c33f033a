#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run the test programs beside this script, or those named, and print KTAP.
#	run.sh [--all] [PROGRAM...]
# The last line is "N passed, N failed, N skipped", counted in cases. Fails if
# a case failed, if one was skipped for a reason that `skips` does not list, or
# if nothing passed. With --all the kernel is one that has every option that
# tests ask for: then the reasons in `skips.config` do not count either. Needs
# no more than busybox.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
limit=$(sed -n 's/^timeout=//p' settings)
log=$(mktemp)
trap 'rm -f "$log" "$log.skips"' EXIT
trap 'exit 1' INT TERM HUP
# Ctrl-C is for the program as well, where timeout would keep it from it; that of
# busybox does not.
foreground=--foreground
timeout $foreground 9 true 2>/dev/null || foreground=
accepted="skips skips.config"
[ "${1:-}" != --all ] || { accepted=skips; shift; }
# shellcheck disable=SC2086 # two names
cat $accepted | grep -v '^#' >"$log.skips"

[ $# -gt 0 ] || set -- *_test
passed=0 failed=0 skipped=0 unexpected=0 number=0

# total KIND: of the last program, as the harness counted it.
total() { sed -n "s/^# Totals:.* $1:\([0-9]*\).*/\1/p" "$log"; }

echo "TAP version 13"
echo "1..$#"
for program; do
	number=$((number + 1))
	name="uprobes: ${program##*/}"
	rc=0
	start=$(date +%s)
	# shellcheck disable=SC2086 # nothing, or one word
	timeout $foreground "$limit" "./${program##*/}" >"$log" 2>&1 || rc=$?
	sed 's/^/# /' "$log"
	echo "# ${program##*/}: $(($(date +%s) - start)) s"

	if [ -z "$(total pass)" ]; then
		echo "# ended without totals"
		failed=$((failed + 1))
		rc=${rc#0}
		echo "not ok $number $name # exit=${rc:-1}"
		continue
	fi
	passed=$((passed + $(total pass)))
	skipped=$((skipped + $(total skip)))
	bad=$(($(total fail) + $(total error)))
	# A fault that the kernel told of after the last case.
	[ "$bad" -gt 0 ] || [ "$rc" -eq 0 ] || [ "$rc" -eq 4 ] || bad=1
	failed=$((failed + bad))

	odd=$(sed -n 's/^ok [0-9]* # SKIP //p' "$log" | grep -vxEf "$log.skips" || true)
	if [ -n "$odd" ]; then
		echo "$odd" | sed 's/^/# unexpected skip: /'
		unexpected=$((unexpected + $(echo "$odd" | wc -l)))
	fi
	if [ "$bad" -gt 0 ] || [ -n "$odd" ]; then
		echo "not ok $number $name # exit=$rc"
	elif [ "$(total pass)" -eq 0 ]; then
		echo "ok $number $name # SKIP all cases"
	else
		echo "ok $number $name"
	fi
done

[ "$passed" -gt 0 ] || echo "# nothing passed: that is a failure"
[ "$unexpected" -eq 0 ] || echo "# $unexpected unexpected skips: that is a failure"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$unexpected" -eq 0 ] && [ "$passed" -gt 0 ]
