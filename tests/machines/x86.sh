#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Streams of machines with x86 add up, as account-functions.sh says: of the
# common ones, of the small one, of old ones, and of one with much in it.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/account-functions.sh"

ram=0
guest=
guest_runs=guest_runs
guest_image 4 guest.img

guest_runs()
{
    grep -q '^tick' source.serial
}

disk='-drive file=guest.img,format=raw,if=none,id=disk,readonly=on'

machine="-machine pc -m 16 $disk -device virtio-blk-pci,drive=disk"
all_ways_add_up
# This one's streams have neither footers nor a configuration.
! has_machine pc-i440fx-1.4 || adds_up no-footers -machine pc-i440fx-1.4
! has_machine pc-i440fx-2.4 || adds_up live -machine pc-i440fx-2.4
adds_up paused -machine pc-i440fx-4.2
adds_up paused -smp 3 -vga cirrus -device i82550 -device e1000 -device rtl8139 \
    -device pcnet -device intel-hda -device hda-duplex -device megasas \
    -device ich9-ahci -device qemu-xhci -device usb-tablet -device i6300esb \
    -device virtio-balloon -device virtio-serial-pci

machine="-machine q35 -m 16 $disk -device virtio-blk-pci,drive=disk"
all_ways_add_up

# No firmware here boots a disk of this one.
machine='-machine microvm -m 16'
guest=$(loader random 0x600000)
guest_runs=true
adds_up stopped
adds_up paused
adds_up compress
adds_up no-footers -global migration.send-section-footer=off
adds_up no-description -machine suppress-vmdesc=on
