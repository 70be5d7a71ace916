# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The rate of a load by the depth of the ring.

load ARG0[1:strstrt(ARG0, 'depth.gp') - 1].'style.gp'
set terminal svg size 760,480 font 'sans-serif,13' background '#ffffff'
eval set_top('Rate of a load by the requests in flight', 480)
set xlabel 'requests of 1 MiB in flight (--depth)'
set ylabel 'rate of a load, MB/s'
set logscale x 2
set xrange [0.9:36]
set yrange [0:*]
set xtics (1, 2, 4, 8, 16, 32)
plot data using 1:2:3:4 with yerrorlines title 'cold disk, O\_DIRECT' \
        linewidth 2.5 pointtype 7 pointsize 0.7 linecolor rgb ours, \
    '' using 1:5:6:7 with yerrorlines title 'page cache, each read 1 ms late' \
        linewidth 2.5 pointtype 5 pointsize 0.7 linecolor rgb other
