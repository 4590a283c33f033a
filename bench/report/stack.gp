# SPDX-License-Identifier: GPL-2.0
# gnuplot -e "in='stack.csv'; out='stack.svg'" stack.gp
set terminal svg size 1100,640 dynamic font "sans,12" background "white"
set output out
set datafile separator ","
set style data histograms
set style histogram rowstacked
set style fill solid 0.85 border lc rgb "white"
set boxwidth 0.8
set bmargin 4
set title "Kernel instructions per hit, by function (meter)"
set ylabel "instructions per hit"
set yrange [0:*]
set key outside right top reverse Left invert noenhanced
set xtics noenhanced
set grid y
# One colour for each function: hues all around, light and dark in turn.
colour(i) = hsv2rgb(((i * 7) % 16) / 16.0, i % 2 ? 0.75 : 0.5, i % 3 ? 0.85 : 0.65)
stats in skip 1 using 2 nooutput
n = STATS_columns
plot for [i=2:n] in using i:xtic(1) title columnheader(i) lc rgb colour(i)
