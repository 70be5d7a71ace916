#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `inspect --map' draws the RAM in what the terminal, the locale and the
# environment allow.

. "$(dirname "$0")/../functions.sh"

requires script
sample_stream stream
new_image disk.qcow2
qemu_snap save -n first disk.qcow2 < stream
unset COLUMNS NO_COLOR
export LC_ALL=C.UTF-8

# The guest's 8 MiB of data and the zeros behind them, 32 KiB to a cell.
draw()
{
    LC_ALL=$1 qemu_snap inspect -n first --map "${@:2}" disk.qcow2
}
draw C.UTF-8 > out
grep -q '^RAM, one cell = 32 KiB (8 pages):$' out || fail "$(cat out)"
grep -q -E '^ +4 MiB │█{64}│$' out || fail "no data: $(cat out)"
grep -q -E '^ +12 MiB │·{64}│$' out || fail "no zeros: $(cat out)"
grep -q -E '^ +0 │.│ /rom@etc/acpi/rsdp, 4 KiB$' out ||
    fail "no small block: $(cat out)"
draw C > out
grep -q -E '^ +4 MiB \|#{64}\|$' out || fail "no data: $(cat out)"
LC_ALL=C grep -q '[^ -~]' out && fail "not ASCII: $(cat out)"

# Rows keep to the columns, in a pipe and on a terminal.
for columns in 40 80 140; do
    COLUMNS=$columns draw C.UTF-8 | grep '│' > out
    [ "$(wc -L < out)" -le $columns ] ||
        fail "more than $columns columns: $(cat out)"
done
on_terminal()
{
    printf -v command '%q ' env TERM=xterm "${@:2}" \
        "$QEMU_SNAP" inspect -n first --map disk.qcow2
    script -q -c "stty cols $1; $command" /dev/null < /dev/null > out
}
on_terminal 45
grep -q -E '│.{0,9}█{32}' out || fail "not 45 columns: $(cat out)"
grep -q $'\x1b\\[36m█' out || fail "no colors: $(cat out)"
on_terminal 45 NO_COLOR=1
! grep -q $'\x1b' out || fail "colors: $(cat out)"
draw C --color=always > out
grep -q $'\x1b\\[36m#*\x1b\\[0m|$' out || fail "no colors: $(cat out)"

# Without -n it is the only snapshot; a picture is for people.
draw C > drawn
LC_ALL=C qemu_snap inspect --map disk.qcow2 > out
expect_same drawn out
expect_status 1 qemu_snap inspect -n first --map --output=json disk.qcow2
expect_status 1 qemu_snap inspect -n first --map --color=some disk.qcow2
