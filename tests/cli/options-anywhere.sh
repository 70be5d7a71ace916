#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Options may stand before the subcommand, behind it and behind the image; the
# spelling of the original proposal works.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

save_and_load()
{
    rm -f disk.qcow2
    qemu_snap "$@" < stream
    expect_snapshots disk.qcow2 first
    qemu_snap load disk.qcow2 > loaded
    expect_same stream loaded
}

save_and_load -n first --create save disk.qcow2
save_and_load save -n first --create disk.qcow2
save_and_load save disk.qcow2 --create -n first
save_and_load --create save -nfirst -- disk.qcow2

rm -f disk.qcow2
qemu_snap -s 16G --cache=writeback --aio=threads save disk.qcow2 < stream
qemu_snap --cache=none --aio=native load disk.qcow2 > loaded
expect_same stream loaded
