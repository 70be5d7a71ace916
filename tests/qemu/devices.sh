#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What `inspect' decodes of a machine's devices is what QEMU's monitor says of
# them, and it decodes all devices of all machines, also where the stream does
# not show where they end.

. "$(dirname "$0")/../functions.sh"

new_guest 4 16
uuid=4a1f6a1e-5b1d-4b0f-8d1c-0b9a5c2f7e33
devices='-netdev hubport,id=a,hubid=0 -device virtio-net-pci,netdev=a,romfile=
    -netdev hubport,id=b,hubid=0 -device e1000,netdev=b,romfile=
    -device virtio-serial-pci -device virtio-scsi-pci -device virtio-gpu-pci
    -device qemu-xhci -device usb-tablet -device ich9-ahci'

# All bytes are somebody's, and every device is decoded.
expect_decoded()
{
    qemu_snap inspect -n 1 --output=json states.qcow2 > inside
    jq -e '([.sections[].bytes] | add) + .["framing-bytes"] +
            .["description-bytes"] == .["stream-size"] and
        .["undelimited-bytes"] == 0' inside > /dev/null ||
        fail "$*: bytes are missing: $(cat inside)"
    qemu_snap inspect -n 1 --devices --output=json states.qcow2 > devices
    jq -e --slurpfile inside inside '
        (.devices | length) == $inside[0]["device-sections"] and
        all(.devices[]; has("fields") and (has("error") | not))
        ' devices > /dev/null ||
        fail "$*: $(jq -c '.devices[] | select(has("error"))' devices)"
}

# registers: lines NAME VALUE, in base 16 without leading zeros.
registers()
{
    qemu_hmp source 'info registers' | grep -o -E '[A-Z0-9]+ ?=[0-9a-f]+' |
        sed -E 's/ ?=0*([0-9a-f])/ \1/' | sort
}

# field NAME: of the processor; the same form.
field()
{
    jq -r ".devices[] | select(.name == \"cpu\").fields$1" devices |
        sed -E 's/^0x0*([0-9a-f])/\1/'
}

guest_start source -uuid $uuid
qemu_wait_serial source '^tick' $PATIENCE
qemu_qmp source stop > /dev/null
registers > registers.txt
qemu_capability source validate-uuid
qemu_capability source x-ignore-shared
qemu_migrate source "$SNAP_COMMAND save --create states.qcow2"
qemu_quit source
expect_decoded 'the guest'
jq -e --arg uuid $uuid '.uuid == $uuid and
    .capabilities == ["x-ignore-shared"]' inside > /dev/null ||
    fail "not what QEMU was told: $(cat inside)"
qemu_snap inspect -n 1 states.qcow2 > out
grep -q "^uuid: $uuid\$" out || fail "no UUID: $(cat out)"
grep -q '^capabilities: x-ignore-shared$' out || fail "none: $(cat out)"

# General registers are in the order of their numbers.
{
    echo "EIP $(field '."env.eip"')"
    echo "EFL $(field '."env.eflags"')"
    echo "CR0 $(field '."env.cr[0]"')"
    echo "CR3 $(field '."env.cr[3]"')"
    echo "CR4 $(field '."env.cr[4]"')"
    number=0
    for register in EAX ECX EDX EBX ESP EBP ESI EDI; do
        echo "$register $(field ".\"env.regs\"[$number]")"
        number=$((number + 1))
    done
} | sort > found.txt
[ "$(comm -12 registers.txt found.txt | wc -l)" = 13 ] ||
    fail "registers differ: $(comm -13 registers.txt found.txt)" \
        "is not among: $(cat registers.txt)"
jq -e '.devices[] | select(.name == "timer").fields |
    .cpu_clock_offset > 0 and .unused == "0000000000000000"' devices \
    > /dev/null || fail 'no clock'

# machine ARGUMENTS...: one that never ran will do.
machine()
{
    rm -f states.qcow2
    qemu_start source -S -m 16 "$@"
    qemu_migrate source "$SNAP_COMMAND save --create states.qcow2"
    qemu_quit source
    expect_decoded "$@"
}

machine -machine q35 $devices
[ "$(qemu_snap inspect -n 1 states.qcow2 | grep -c '~')" = 0 ] ||
    fail 'ends are guessed'
machine -machine pc -smp 2 $devices -global migration.send-section-footer=off
[ "$(qemu_snap inspect -n 1 states.qcow2 | grep -c '~')" -gt 30 ] ||
    fail 'ends without footers are not guessed'
