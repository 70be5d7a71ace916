#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Streams of other machines: q35, two processors and a device of each kind, and
# old machine types, whose streams lack parts that tell where things end.

. "$(dirname "$0")/../functions.sh"

new_guest 4 16
boot='-drive file=guest.img,format=raw,if=virtio,readonly=on'
devices='-netdev hubport,id=a,hubid=0 -device virtio-net-pci,netdev=a,romfile=
    -netdev hubport,id=b,hubid=0 -device e1000,netdev=b,romfile=
    -device virtio-serial-pci -device virtio-scsi-pci
    -device qemu-xhci -device usb-tablet -vga std'

# carry_on ARGUMENTS...; $raw is an option of both commands.
raw=
carry_on()
{
    rm -f states.qcow2
    qemu_start source -m 16 $boot "$@"
    qemu_wait_serial source '^tick' $PATIENCE
    qemu_migrate source "$SNAP_COMMAND save $raw --create states.qcow2"
    qemu_quit source
    expect_clean states.qcow2

    qemu_start target -m 16 $boot "$@" \
        -incoming "exec:$SNAP_COMMAND load $raw states.qcow2"
    guest_proves_itself target
    qemu_quit target
    guest_carried_on source target
    expect_no_complaint target
    echo "carried on: $*"
}

# Of the old ones, what this QEMU still has. Others of these are tried with
# more machines in tests/machines.
"$QEMU" -machine help > machines
while read -r machine; do
    case $machine in
    "pc -smp"*) carry_on -machine $machine $devices ;;
    pc-*) ! grep -q "^$machine " machines || carry_on -machine "$machine" ;;
    *) carry_on -machine $machine ;;
    esac
done < <(some_of 'pc -smp 2' pc-i440fx-2.4 q35 pc-i440fx-4.2 \
    'pc -global migration.send-section-footer=off' \
    'pc -global migration.send-configuration=off' pc-i440fx-2.3 \
    'pc,suppress-vmdesc=on')

# Without section footers and description nothing shows that a stream is
# complete. That is said, and --raw leaves it to the user.
if grep -q '^pc-i440fx-2.0 ' machines; then
    qemu_start source -m 16 $boot -machine pc-i440fx-2.0
    qemu_migrate_start source "$SNAP_COMMAND save --create old.qcow2"
    qemu_wait_migration source
    qemu_quit source
    grep -q '^qemu-snap: old.qcow2: .*complete' source.err ||
        fail "no refusal but: $(cat source.err)"
    [ ! -e old.qcow2 ] || fail 'the refused stream left an image'
    raw=--raw carry_on -machine pc-i440fx-2.0
fi
