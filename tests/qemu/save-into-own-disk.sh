#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A guest is saved into the very disk that it has open. The same QEMU then
# lists the snapshot, goes on, and can save again; another one loads it.

. "$(dirname "$0")/../functions.sh"

guest_disk 16 disk.qcow2
qemu_start source -m 64 -drive file=disk.qcow2,if=ide
qemu_wait_serial source '^tick' $PATIENCE

# What the same QEMU says about it.
expect_listed()
{
    qemu_hmp source 'info snapshots' > list
    for name; do
        grep -q -w "$name" list || fail "QEMU does not list $name: $(cat list)"
    done
}

qemu_migrate source "$SNAP_COMMAND save -n first disk.qcow2"
cp source.serial first.serial
qemu_is_in_state source postmigrate || fail 'not stopped'
expect_clean disk.qcow2
qemu_hmp source cont
expect_listed first
guest_proves_itself source

# Once more, with a snapshot that QEMU makes itself between ours.
answer=$(qemu_hmp source 'savevm theirs')
[ -z "$answer" ] || fail "savevm: $answer"
qemu_migrate source "$SNAP_COMMAND save -n second disk.qcow2"
qemu_hmp source cont
expect_listed first theirs second
# A source that waits for an answer before it ends the stream.
qemu_capability source return-path
qemu_migrate source "$SNAP_COMMAND save -n third disk.qcow2"
qemu_capability source return-path false
qemu_hmp source cont
expect_listed first theirs second third
guest_proves_itself source
for name in theirs second; do
    answer=$(qemu_hmp source "loadvm $name")
    [ -z "$answer" ] || fail "loadvm $name: $answer"
    guest_proves_itself source
done

# What is refused early, QEMU notices, and the guest goes on by itself.
qemu_migrate_start source "$SNAP_COMMAND save -n first disk.qcow2"
qemu_wait_migration source failed
grep -q "'first' already exists" source.err || fail "$(cat source.err)"
guest_proves_itself source
qemu_quit source
expect_clean disk.qcow2
expect_snapshots disk.qcow2 'first theirs second third'
for name in first second third; do
    expect_intact disk.qcow2 -n $name
done
[ "$(find . -name '*qemu-snap*')" = '' ] || fail "left: $(ls -a)"

for name in first second; do
    qemu_start "$name-loaded" -m 64 -drive file=disk.qcow2,if=ide \
        -loadvm "$name"
    guest_proves_itself "$name-loaded"
    qemu_quit "$name-loaded"
done
# QEMU does not take a stream with a return path by -loadvm.
qemu_start third-loaded -m 64 -drive file=disk.qcow2,if=ide \
    -incoming "exec:$SNAP_COMMAND load -n third disk.qcow2"
guest_proves_itself third-loaded
qemu_quit third-loaded
mv first.serial first-source.serial
guest_carried_on first-source first-loaded
