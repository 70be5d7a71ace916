#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A flush that fails is an error, and nothing is lost by it: before the header
# is written the image is as it was; afterwards the new snapshot may be there,
# so even an image that this save made is kept.

. "$(dirname "$0")/../functions.sh"

sample_stream stream

# failing_save NTH-FLUSH ARGUMENTS...: false when there is no such flush.
failing_save()
{
    local status=0 nth=$1
    shift
    failing_call flush "$nth" 5 "$QEMU_SNAP" save "$@" < stream 2> err ||
        status=$?
    [ $status != 0 ] || return 1
    [ $status = 1 ] || fail "flush $nth: status $status"
    grep -q "^qemu-snap: .*Input/output error" err ||
        fail "flush $nth: $(cat err)"
}

# Into a new image.
flushes=0
while rm -f new.qcow2 && failing_save $((flushes + 1)) --create new.qcow2; do
    flushes=$((flushes + 1))
    if grep -q 'cannot make the header' err; then
        qemu_snap load new.qcow2 > loaded
        expect_same stream loaded
        kept=$flushes
    else
        [ ! -e new.qcow2 ] || fail "flush $flushes left an image"
    fi
done
[ "${kept:-none}" = $flushes ] ||
    fail "of $flushes the last decides, not ${kept:-none}"
[ $flushes -ge 3 ] || fail "only $flushes flushes"

# Into one that holds something: all but the last leave it as it was.
new_image old.qcow2
qemu_snap save -n first old.qcow2 < stream
remember_image old.qcow2
cp old.qcow2 before
nth=1
while cp before old.qcow2 && failing_save $nth -n second old.qcow2; do
    grep -q 'cannot make the header' err || expect_untouched old.qcow2
    nth=$((nth + 1))
    expect_clean old.qcow2
    qemu_snap load -n first old.qcow2 > loaded
    expect_same stream loaded
done
[ $nth -ge 4 ] || fail "only $((nth - 1)) flushes"
