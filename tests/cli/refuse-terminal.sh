#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A stream never comes from a terminal and never goes to one, nor does memory.

. "$(dirname "$0")/../functions.sh"
requires script

sample_stream stream
new_image disk.qcow2
qemu_snap save -n first disk.qcow2 < stream

# on_terminal COMMAND-LINE: standard input and output are a terminal.
on_terminal()
{
    status=0
    timeout 20 script -q -e -c "$1 2> err" /dev/null < /dev/null \
        > screen || status=$?
    [ $status = 1 ] || fail "status $status: $(cat err screen)"
    grep -q '^qemu-snap: .*terminal' err || fail "no reason: $(cat err)"
    [ "$(wc -l < err)" = 1 ] || fail "not one line: $(cat err)"
}

on_terminal "$SNAP_COMMAND save -n second disk.qcow2"
on_terminal "$SNAP_COMMAND load disk.qcow2"
on_terminal "$SNAP_COMMAND extract disk.qcow2 -"
expect_snapshots disk.qcow2 first
