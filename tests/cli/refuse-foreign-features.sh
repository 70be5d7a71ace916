#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What we do not handle is refused by its name, not misread.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

# refuse IMAGE PATTERN
refuse()
{
    cp "$1" "$1.before"
    expect_refusal "$1" "$2" qemu_snap save -n second "$1" < stream
    expect_refusal "$1" "$2" qemu_snap load "$1"
    expect_same "$1" "$1.before"
}

# There must be something that load could refuse. QEMU 7.2 cannot save into an
# encrypted image, so there a snapshot of the disk gets a size of VM state.
key=secret,id=key,data=abc
qemu-img create -q -f qcow2 --object $key \
    -o encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10 \
    luks.qcow2 1M
qemu-img snapshot --object $key --image-opts -c first \
    driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=key
table=$((0x$(od -A n -t x1 -j 64 -N 8 luks.qcow2 | tr -d ' \n')))
poke luks.qcow2 $((table + 40)) 0000000000100000
new_image sub.qcow2 1M extended_l2=on
new_guest 4 16
guest_start source -drive file=sub.qcow2,if=none
qemu_hmp source 'savevm first'
qemu_quit source
refuse luks.qcow2 'encrypt|LUKS'
refuse sub.qcow2 'extended L2'

new_image external.qcow2 1M data_file=external.raw
expect_refusal external.qcow2 'data file' \
    qemu_snap save -n first external.qcow2 < stream
expect_clean external.qcow2

# Incompatible bit 9; its name is in the feature table or its number said.
new_image unknown.qcow2 1M
poke unknown.qcow2 72 0000000000000200
refuse unknown.qcow2 'unknown|bit 9|feature'

# Corrupt and dirty: nothing may be written, looking is allowed.
new_image corrupt.qcow2 1M
qemu_snap save -n old corrupt.qcow2 < stream
cp corrupt.qcow2 dirty.qcow2
poke corrupt.qcow2 72 0000000000000002
poke dirty.qcow2 72 0000000000000001
for kind in corrupt dirty; do
    expect_refusal $kind.qcow2 'corrupt|not closed properly' \
        qemu_snap save -n first $kind.qcow2 < stream
    expect_status 0 qemu_snap load $kind.qcow2
    expect_same stream out
done
