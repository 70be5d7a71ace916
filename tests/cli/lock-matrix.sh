#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Every command against everybody but a guest who has the image open: writers
# exclude each other and readers, readers exclude writers, -U takes and minds no
# lock. What qemu-img finds is the same.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/lock-functions.sh"

new_lock_image disk.qcow2
# More than pipe and buffers take, so that a load of it waits.
head -c 8M /dev/urandom > large
qemu_snap save --raw -n large disk.qcow2 < large

# Nobody has it: all of them work, one behind the other.
expect_access disk.qcow2 nothing

# held_by HELD PROGRAM...: one of QEMU's, stopped in the middle of its work.
held_by()
{
    local held=$1
    shift
    hold_locks "$@"
    kill -STOP $lock_holder
    expect_access disk.qcow2 "$held"
    kill_holder
}

held_by write qemu-io disk.qcow2
held_by read qemu-io -r disk.qcow2
# What it writes is there already, so that it may be stopped at any moment.
qemu-io -c 'write -q 0 16M' disk.qcow2
held_by write qemu-img bench -w -c 1000000000 -f qcow2 disk.qcow2
held_by read qemu-img bench -c 1000000000 -f qcow2 disk.qcow2

# A second one of ours. It notices nothing.
hold_locks "$QEMU_SNAP" save --raw -n saved disk.qcow2
expect_access disk.qcow2 write
cat state >&7
end_holder

hold_locks "$QEMU_SNAP" load --raw -n large disk.qcow2
expect_access disk.qcow2 read
head -c 8M <&6 > loaded
end_holder
expect_same large loaded

hold_locks "$QEMU_SNAP" load --raw --apply -n large disk.qcow2
expect_access disk.qcow2 write
head -c 8M <&6 > loaded
end_holder
expect_same large loaded

expect_clean disk.qcow2
expect_snapshots disk.qcow2 'state large saved'
