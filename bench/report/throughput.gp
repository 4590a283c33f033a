# SPDX-License-Identifier: GPL-2.0
# A model's throughput against CPUs, with published figures beside it.
# gnuplot -e "in='projection.csv'; published='...'; out='...'; names='a b'; what='nop'; probe='entry'"
set terminal svg size 1000,620 dynamic font "sans,12" background "white"
set output out
set datafile separator ","
set logscale xy 2
set xrange [1:256]
set xlabel "CPUs"
set ylabel "M hits/s"
set title sprintf("MODEL: throughput of an %s probe on %s, projected from the meter's profile", probe, what) noenhanced
set key left top noenhanced
set grid
pick(n) = (strcol("name") eq n && strcol("what") eq what && strcol("probe") eq probe && strcol("workers") eq "threads") ? column("mhits") : NaN
linear(n) = (strcol("name") eq n && strcol("what") eq what && strcol("probe") eq probe && strcol("workers") eq "threads") ? column("linear") : NaN
point(s) = (strcol("series") eq s && strcol("probe") eq probe && strcol("what") eq what) ? column("mhits") : NaN
plot for [n in names] in using (column("cpus")):(pick(n)) with lines lw 2 title n, \
     in using (column("cpus")):(linear(word(names, words(names)))) with lines dt 2 lc rgb "#888888" title "linear", \
     for [s in "before rcu speculative"] published using (column("cpus")):(point(s)) with points pt 7 ps 0.8 title "published: ".s
