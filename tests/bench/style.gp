# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What the pictures share. The colours can be told apart with every kind of
# colour blindness, and the background is white on a dark page, too.

ours = '#0072b2'
other = '#e69f00'
ink = '#404040'
set border 3 linecolor rgb ink linewidth 1
set tics nomirror textcolor rgb ink
set xlabel textcolor rgb ink
set ylabel textcolor rgb ink
set grid ytics linetype 1 linecolor rgb '#e0e0e0' linewidth 1
set datafile separator tab
set lmargin 10
set rmargin 4

# Title and legend above the plot, from its left edge, in a picture of that many
# pixels in height.
set_top(title, height) = sprintf( \
    'set label 1 "%s" at graph 0, screen %f font ",16"; '. \
    'set key at graph 0, screen %f left top horizontal reverse Left '. \
    'textcolor rgb ink samplen 2 width 2; set tmargin at screen %f', \
    title, 1 - 20.0 / height, 1 - 38.0 / height, 1 - 72.0 / height)
