#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A signal that comes when several images are being changed does not stop that
# half-way.

. "$(dirname "$0")/../functions.sh"

new_image first.qcow2 4M
new_image second.qcow2 4M
for image in first.qcow2 second.qcow2; do
    qemu_snap create -n old "$image"
    qemu-io -c 'write -q -P 1 1M 1M' "$image"
    cp "$image" "$image.before"
done

# has IMAGE NAME
has()
{
    qemu_snap list "$1" | grep -q " $2 "
}

# signalled FLUSH ARGUMENTS...: the signal comes just before that flush.
signalled()
{
    local flush=$1
    shift
    FAIL_SIGNAL=15 failing_call flush "$flush" 0 "$QEMU_SNAP" "$@"
}

# Two flushes for each image, all of them behind the preparation.
for flush in 1 2 3 4; do
    for image in first.qcow2 second.qcow2; do
        cp "$image.before" "$image"
    done
    signalled $flush create -n new first.qcow2 --with second.qcow2 ||
        fail "flush $flush: status $?"
    signalled $flush delete -n old first.qcow2 --with second.qcow2 ||
        fail "flush $flush: status $?"
    signalled $flush apply -n new first.qcow2 --with second.qcow2 ||
        fail "flush $flush: status $?"
    for image in first.qcow2 second.qcow2; do
        has "$image" new || fail "flush $flush: $image was not changed"
        ! has "$image" old || fail "flush $flush: $image keeps a snapshot"
        expect_clean "$image"
    done
done

# It does come: an image that is alone does not wait.
status=0
signalled 1 create -n alone first.qcow2 || status=$?
[ $status = 143 ] || fail "status $status"
