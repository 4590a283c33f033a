# SPDX-License-Identifier: GPL-2.0
# gnuplot -e "in='lines-plot.csv'; out='lines.svg'; row='...'" lines.gp
set terminal svg size 1100,480 dynamic font "sans,12" background "white"
set output out
set datafile separator ","
set style fill solid 0.8
set boxwidth 0.7
set label 2 sprintf("Contended cache lines, writes per hit: %s (meter)", row) at screen 0.5,0.97 center noenhanced
set tmargin 3
set xlabel "writes per hit"
set xrange [0:*]
set grid x
unset key
stats in skip 1 using 2 nooutput
n = STATS_records
set yrange [-0.5:(n > 0 ? n : 1) - 0.5] reverse
set ytics noenhanced
set lmargin 70
if (n > 0) {
	plot in skip 1 using ($2/2):0:($2/2):(0.35):ytic(sprintf("%s: %s", strcol(1), strcol(3)[1:60])) with boxxyerror lc rgb "#c03020"
} else {
	set label 1 "no contended line" at graph 0.5,0.5 center
	plot NaN
}
