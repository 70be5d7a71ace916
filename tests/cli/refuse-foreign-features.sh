#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What we do not handle is refused by its name, by every command that would
# have to understand it, and not misread; nothing is written.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

# refuse_change IMAGE PATTERN: what needs no snapshot to be there.
refuse_change()
{
    cp "$1" "$1.before"
    expect_refusal "$1" "$2" qemu_snap save -n second "$1" < stream
    expect_refusal "$1" "$2" qemu_snap create -n second "$1"
    expect_refusal "$1" "$2" qemu_snap gc "$1"
    expect_status 1 qemu_snap snapshot -c second "$1"
    grep -q -E "$2" err || fail "snapshot -c: $(cat err)"
    expect_same "$1" "$1.before"
}

# refuse IMAGE PATTERN: what something can be done with, which is called first.
refuse()
{
    local option
    refuse_change "$1" "$2"
    expect_refusal "$1" "$2" qemu_snap save --replace -n first "$1" < stream
    expect_refusal "$1" "$2" qemu_snap load "$1"
    expect_refusal "$1" "$2" qemu_snap load --apply "$1"
    expect_refusal "$1" "$2" qemu_snap create --replace -n first "$1"
    expect_refusal "$1" "$2" qemu_snap apply -n first "$1"
    expect_refusal "$1" "$2" qemu_snap rename -n first --to=second "$1"
    expect_refusal "$1" "$2" qemu_snap delete -n first "$1"
    for option in -a -d; do
        expect_status 1 qemu_snap snapshot $option first "$1"
        grep -q -E "$2" err || fail "snapshot $option: $(cat err)"
    done
    expect_same "$1" "$1.before"
}

# There must be something that load could refuse. QEMU 7.2 cannot save into an
# encrypted image, so there a snapshot of the disk gets a size of VM state.
# Making a LUKS image takes its time, so it is the method of encryption alone
# that tells it from an AES one, and only with many ROUNDS a real one.
key=secret,id=key,data=abc
for format in $(some_of aes luks); do
    image=${format%,*}.qcow2
    qemu-img create -q -f qcow2 --object $key \
        -o "encrypt.key-secret=key,encrypt.format=$format" "$image" 1M
    qemu-img snapshot --object $key --image-opts -c first \
        "driver=qcow2,file.filename=$image,encrypt.key-secret=key"
    table=$((0x$(od -A n -t x1 -j 64 -N 8 "$image" | tr -d ' \n')))
    poke "$image" $((table + 40)) 0000000000100000
done
if [ ! -e luks.qcow2 ]; then
    cp aes.qcow2 luks.qcow2
    poke luks.qcow2 32 00000002
fi
refuse aes.qcow2 'AES encryption'
refuse luks.qcow2 'LUKS encryption'

# QEMU makes no snapshots where the content lies elsewhere.
new_image external.qcow2 1M data_file=external.raw
refuse_change external.qcow2 'an external data file'
expect_clean external.qcow2

# Incompatible bit 9; its name is in the feature table or its number said.
# Nobody knows what a table means there, so nothing is listed either.
new_image unknown.qcow2 1M
qemu_snap save -n first unknown.qcow2 < stream
poke unknown.qcow2 72 0000000000000200
refuse unknown.qcow2 'incompatible feature bit 9 \(unnamed\)'
for command in list inspect check 'check -r all'; do
    # shellcheck disable=SC2086
    expect_refusal unknown.qcow2 'feature bit 9' \
        qemu_snap $command unknown.qcow2
done
expect_same unknown.qcow2 unknown.qcow2.before

# Corrupt: nothing may be written, looking is allowed.
new_image corrupt.qcow2 1M
qemu_snap save -n old corrupt.qcow2 < stream
poke corrupt.qcow2 72 0000000000000002
refuse_change corrupt.qcow2 'marked corrupt'
expect_status 0 qemu_snap load corrupt.qcow2
expect_same stream out
