# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The rates of qemu-snap and of the contender beside it, case by case.

load ARG0[1:strstrt(ARG0, 'rates.gp') - 1].'style.gp'
stats data using 4:8 nooutput
height = 120 + 44 * STATS_records
set terminal svg size 900,height font 'sans-serif,13' background '#ffffff'
eval set_top('How many bytes of VM state per second', height)
set lmargin 22
set xlabel 'MB/s (more is better)'
set xrange [0:1.2 * (STATS_max_x > STATS_max_y ? STATS_max_x : STATS_max_y)]
set yrange [0.6 - STATS_records:0.6]
set tics scale 0
set border 2
set grid noytics xtics
set style fill solid noborder
# Upper and lower bar of a case, 0.34 of a row each.
upper(row) = 0.19 - row
lower(row) = -0.19 - row
plot data using (0):(upper($0)):(0):2:(upper($0) - 0.17):(upper($0) + 0.17) \
        with boxxyerror linecolor rgb ours title 'qemu-snap', \
    '' using (0):(lower($0)):(0):6:(lower($0) - 0.17):(lower($0) + 0.17) \
        :yticlabel(1) \
        with boxxyerror linecolor rgb other title 'what is named', \
    '' using 2:(upper($0)):3:4 with xerrorbars notitle \
        pointtype -1 linewidth 1.5 linecolor rgb ink, \
    '' using 6:(lower($0)):7:8 with xerrorbars notitle \
        pointtype -1 linewidth 1.5 linecolor rgb ink, \
    '' using 4:(upper($0)):(sprintf(' %.0f', $2)) with labels notitle left \
        offset 0.3,0 textcolor rgb ink, \
    '' using 8:(lower($0)):(sprintf(' %.0f  %s', $6, strcol(5))) \
        with labels notitle left offset 0.3,0 textcolor rgb ink
