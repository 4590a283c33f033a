#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
# For the plot of contended lines: one line for each of ROW's contended lines in
# each kernel: kernel, writes per hit, name.
#   awk -v row=entry,nop,bpf,threads -f lines.awk *-lines.csv
# The names are quoted and may hold commas: they are taken apart at the quotes.
FNR == 1 { n = split($0, head, ","); for (i = 1; i <= n; i++) col[head[i]] = i; next }
{
	nq = split($0, q, "\"")
	split(q[1], f, ",")
	if (f[col["probe"]] "," f[col["what"]] "," f[col["consumer"]] "," f[col["workers"]] != row)
		next
	if (f[col["mode"]] != "kernel" || f[col["verdict"]] != "contended")
		next
	key = f[col["name"]] SUBSEP f[col["line"]]
	if (key in seen)
		next
	seen[key] = 1
	split(q[3], g, ",")		# after the name: empty, line_writes, ...
	text = q[2]
	gsub(/,/, " ", text)
	printf "%s,%s,%s\n", f[col["name"]], g[2], text
}
BEGIN { print "kernel,writes,name" }
