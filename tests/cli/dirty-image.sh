#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A QEMU that was killed with lazy refcounts leaves clusters in use that pass
# for free. What changes the image repairs that first, as QEMU does, and says
# so; what only reads leaves it alone.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

dirty()
{
    qemu-img info --output=json "$1" | jq '."dirty-flag"'
}

new_image image.qcow2 8M lazy_refcounts=on,cluster_size=4k
qemu-io -c 'write -q -P 1 0 100k' image.qcow2
qemu_snap save -n first image.qcow2 < stream
qemu-io -c 'write -q -P 2 50k 2M' -c 'sigraise 9' image.qcow2 2> err || true
[ "$(dirty image.qcow2)" = true ] || fail 'not dirty'
status=0
qemu-img check image.qcow2 > out 2>&1 || status=$?
[ $status = 2 ] || fail "nothing to be repaired: $(cat out)"
qemu-img convert -O raw image.qcow2 before
qemu-img convert -l snapshot.name=first -O raw image.qcow2 first

# Looking changes nothing.
cp image.qcow2 image.copy
qemu_snap list image.qcow2 > out
qemu_snap inspect image.qcow2 > out
qemu_snap load image.qcow2 > loaded
expect_same stream loaded
expect_same image.copy image.qcow2

# expect_repaired COMMAND...: with the image at the end.
expect_repaired()
{
    cp image.copy image.qcow2
    expect_status 0 qemu_snap "$@" image.qcow2
    [ "$1" = snapshot ] ||
        grep -q '^qemu-snap: image.qcow2: warning: .* was repaired$' err ||
        fail "$*: no warning: $(cat err)"
    [ "$(dirty image.qcow2)" = false ] || fail "$*: still dirty"
    expect_clean image.qcow2
    qemu-img convert -O raw image.qcow2 now
}

expect_repaired save -n second < stream
expect_same before now
qemu_snap load -n second image.qcow2 > loaded
expect_same stream loaded
expect_repaired load --apply
expect_same first now
expect_same stream out
for command in 'create -n second' 'delete -n first' 'snapshot -c second' \
    'rename -n first --to=new' gc; do
    # shellcheck disable=SC2086
    expect_repaired $command
    expect_same before now
done
expect_repaired apply -n first
expect_same first now

# What is refused anyway is not touched.
poke image.copy 72 0000000000000003
cp image.copy image.qcow2
expect_refusal image.qcow2 'marked corrupt.*check -r all' \
    qemu_snap create -n second image.qcow2
expect_same image.copy image.qcow2
