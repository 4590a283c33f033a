# SPDX-License-Identifier: GPL-2.0
# gnuplot -e "in='stack.csv'; out='stack.svg'" stack.gp
set terminal svg size 1100,640 dynamic font "sans,12" background "white"
set output out
set datafile separator ","
set style data histograms
set style histogram rowstacked
set style fill solid 0.85 border lc rgb "white"
set boxwidth 0.8
set title "Kernel instructions per hit, by function (meter)"
set ylabel "instructions per hit"
set yrange [0:*]
set key outside right top reverse Left invert noenhanced
set xtics noenhanced
set grid y
stats in skip 1 using 2 nooutput
n = STATS_columns
plot for [i=2:n] in using i:xtic(1) title columnheader(i)
