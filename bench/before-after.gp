# SPDX-License-Identifier: GPL-2.0
# gnuplot -e "type='svg|png'; csv='bench.csv'; out='FILE'": hits per second
# against threads, before and after, one panel per probed instruction.
set datafile separator ","
set terminal type size 1000,640 font ",11"
set output out
set multiplot layout 2,3 title "perf bench uprobe scale: hits per second"
set xlabel "threads"
set ylabel "hits/s"
set logscale x 2
set format y "%.1s%c"
set yrange [0:*]
set key top left
set offsets 0, 0, graph 0.25, 0
rows(which, case) = sprintf("< awk -F, '$1 == \"%s\" && $9 == \"scale\" && $11 == \"hits_per_s\" && $10 ~ /^%s threads=[0-9]+$/ { split($10, a, \"=\"); print a[2] \",\" $12 }' %s", which, case, csv)
array cases[6] = ["uprobe nop bpf thread", "uprobe push bpf thread", "uprobe nop5 bpf thread", "uprobe endbr64 bpf thread", "uretprobe nop bpf thread", "uprobe nop bpf process"]
do for [i = 1:6] {
	set title cases[i]
	plot rows("base", cases[i]) using 1:2 with linespoints dt 2 lw 2 pt 6 title "before", \
	     rows("series", cases[i]) using 1:2 with linespoints lw 2 pt 7 title "after"
}
unset multiplot
