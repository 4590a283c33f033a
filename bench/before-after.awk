# SPDX-License-Identifier: GPL-2.0
# bench.csv to a table: before (base), after (series), ratio. The ratio is
# always "how many times better": of rates after/before, of times before/after.
BEGIN {
	FS = ","
	unit["hits_per_s"] = "hits/s"; unit["storm_kept"] = "share kept"
	unit["ms_per_probe"] = "ms/probe"; unit["ns_per_op"] = "ns/op"; unit["ns_per_call"] = "ns/call"
	unit["execs_per_s"] = "execs/s"
	more["hits_per_s"] = more["storm_kept"] = more["execs_per_s"] = 1
}
FNR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
{
	id = $at["bench"] " " $at["case"] SUBSEP $at["metric"]
	if (!(id in seen)) { seen[id] = 1; order[++n] = id }
	value[id, $at["which"]] = $at["value"]
	release[$at["which"]] = $at["kernel"]
}
function number(v) { return v == "" ? "-" : v >= 100 ? sprintf("%.0f", v) : sprintf("%.3f", v) }
END {
	printf "before: Linux %s, after: the same with the series\n\n", release["base"]
	printf "%-58s %-10s %12s %12s %8s\n", "benchmark", "unit", "before", "after", "better"
	for (i = 1; i <= n; i++) {
		split(order[i], part, SUBSEP)
		b = value[order[i], "base"]; a = value[order[i], "series"]
		ratio = (b > 0 && a > 0) ? sprintf("%.2fx", part[2] in more ? a / b : b / a) : "-"
		printf "%-58s %-10s %12s %12s %8s\n", part[1], unit[part[2]], number(b), number(a), ratio
		if (ratio == "-") lost++
	}
	if (!n) { print "no figures" > "/dev/stderr"; exit 1 }
	if (lost) { printf "%d rows were not measured on both kernels\n", lost > "/dev/stderr"; exit 1 }
}
