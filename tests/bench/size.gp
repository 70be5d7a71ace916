# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Time and memory by the size of the stream.

load ARG0[1:strstrt(ARG0, 'size.gp') - 1].'style.gp'
stats data using 1 nooutput
set terminal svg size 760,640 font 'sans-serif,13' background '#ffffff'
size_of(gb) = sprintf('%.2g', gb)
set multiplot
set logscale x
set xrange [STATS_min / 1.3:STATS_max * 1.3]
eval set_top('Time and memory by the size of the stream', 640)
set bmargin at screen 0.56
set ylabel 'seconds'
set logscale y
set format y '%g'
plot data using 1:2:3:4:xticlabel(size_of($1)) with yerrorlines title 'save' \
        linewidth 2.5 pointtype 7 pointsize 0.7 linecolor rgb ours, \
    '' using 1:6:7:8 with yerrorlines title 'load' \
        linewidth 2.5 pointtype 5 pointsize 0.7 linecolor rgb other
unset label 1
unset key
set tmargin at screen 0.46
set bmargin at screen 0.11
unset logscale y
set yrange [0:*]
set xlabel 'size of the stream, GB'
set ylabel 'peak memory, MiB'
plot data using 1:5:xticlabel(size_of($1)) with linespoints title 'save' \
        linewidth 2.5 pointtype 7 pointsize 0.7 linecolor rgb ours, \
    '' using 1:9 with linespoints title 'load' \
        linewidth 2.5 pointtype 5 pointsize 0.7 linecolor rgb other
unset multiplot
