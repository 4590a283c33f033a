#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
# For the stacked plot: kernel instructions per hit by function, a line for
# each row and kernel, a column for each of the TOP functions that weigh most in
# any of them, and one for the others.
#   awk -v rows="entry,nop,bpf,threads ..." -v top=14 -f stack.awk *-functions.csv
BEGIN { FS = ","; split(rows, list, " "); for (i in list) wanted[list[i]] = i }
FNR == 1 { for (i = 1; i <= NF; i++) col[$i] = i; next }
{
	row = $col["probe"] "," $col["what"] "," $col["consumer"] "," $col["workers"]
	if (!(row in wanted))
		next
	bar = wanted[row] SUBSEP $col["name"]
	title[bar] = $col["probe"] " " $col["what"] "\\n" $col["name"]
	if (!(bar in seen)) {
		seen[bar] = 1
		order[++bars] = bar
	}
	f = $col["function"]
	n = $col["insns"] + 0
	value[bar, f] = n
	total[bar] += n
	if (n > weight[f])
		weight[f] = n
}
END {
	for (t = 1; t <= top; t++) {
		best = ""
		for (f in weight)
			if (!(f in taken) && (best == "" || weight[f] > weight[best] ||
			    (weight[f] == weight[best] && f < best)))
				best = f
		if (best == "")
			break
		taken[best] = 1
		name[t] = best
		last = t
	}
	printf "bar"
	for (t = 1; t <= last; t++)
		printf ",%s", name[t]
	print ",others"
	# Bars of one row side by side, in the order of the rows asked for.
	for (r = 1; r in list; r++) {
		for (b = 1; b <= bars; b++) {
			split(order[b], part, SUBSEP)
			if (part[1] != r)
				continue
			rest = total[order[b]]
			printf "%s", title[order[b]]
			for (t = 1; t <= last; t++) {
				printf ",%.1f", value[order[b], name[t]]
				rest -= value[order[b], name[t]]
			}
			printf ",%.1f\n", rest
		}
	}
}
