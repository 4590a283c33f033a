# SPDX-License-Identifier: GPL-2.0
# perf bench's CSV (a column per quantity) to rows of one form: what was
# measured (case), the quantity (metric) and its value.
# -v bench=NAME -v head=LEADING,COLUMNS
BEGIN {
	FS = ","
	split("probe insn consumer mode threads storm_threads operation state probes processes probes_elsewhere", k, " ")
	for (i in k) key[k[i]] = 1
	split("hits_per_s storm_kept ms_per_probe ns_per_op ns_per_call execs_per_s", m, " ")
	for (i in m) metric[m[i]] = 1
}
FNR == 1 {
	for (i = 1; i <= NF; i++) { name[i] = $i; at[$i] = i }
	next
}
{
	what = ""
	for (i = 1; i <= NF; i++)
		if (name[i] in key) {
			gsub(/ /, "_", $i)
			# A storm of none and the like would only make names longer.
			if (name[i] == "storm_threads") {
				if ($i > 0) what = what " storm=" $i
			} else if (name[i] == "processes") {
				if ($i > 0) what = what " processes=" $i
			} else if (name[i] ~ /^(threads|probes|probes_elsewhere)$/)
				what = what " " (name[i] == "probes_elsewhere" ? "elsewhere" : name[i]) "=" $i
			else
				what = what " " $i
		}
	sub(/^ /, "", what)
	for (i = 1; i <= NF; i++)
		if (name[i] in metric && $i != "")
			print head "," $at["kernel"] "," $at["repeats"] "," bench "," what "," name[i] "," $i "," $at["stddev_pct"]
}
