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
${CC:-cc} -shared -fPIC -o fail-flush.so "$TOP/tests/cli/fail-flush.c"

# has IMAGE NAME
has()
{
    qemu_snap list "$1" | grep -q " $2 "
}

signalled()
{
    FLUSH_SIGNAL=15 LD_PRELOAD=./fail-flush.so qemu_snap "$@" first.qcow2 \
        --with second.qcow2
}

# Two flushes for each image, all of them behind the preparation.
for FAIL_FLUSH in 1 2 3 4; do
    export FAIL_FLUSH
    for image in first.qcow2 second.qcow2; do
        cp "$image.before" "$image"
    done
    signalled create -n new || fail "flush $FAIL_FLUSH: status $?"
    signalled delete -n old || fail "flush $FAIL_FLUSH: status $?"
    signalled apply -n new || fail "flush $FAIL_FLUSH: status $?"
    for image in first.qcow2 second.qcow2; do
        has "$image" new || fail "flush $FAIL_FLUSH: $image was not changed"
        ! has "$image" old || fail "flush $FAIL_FLUSH: $image keeps a snapshot"
        expect_clean "$image"
    done
done

# It does come: an image that is alone does not wait.
status=0
FAIL_FLUSH=1 FLUSH_SIGNAL=15 LD_PRELOAD=./fail-flush.so \
    qemu_snap create -n alone first.qcow2 || status=$?
[ $status = 143 ] || fail "status $status"
