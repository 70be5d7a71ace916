#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A limit on the size of files (ulimit -f) ends a save like a full disk does:
# one line, the image as it was, no death by SIGXFSZ.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
qemu_snap save -n earlier disk.qcow2 < stream
remember_image disk.qcow2
size=$(stat -c %s disk.qcow2)

# limited_save BYTES ARGUMENTS...
limited_save()
(
    ulimit -f $(($1 / 1024))
    shift
    exec $VG "$QEMU_SNAP" save "$@"
)

for room in 0 300000 5000000; do
    expect_refusal disk.qcow2 'too large|no space' \
        limited_save $((size + room)) -n second disk.qcow2 < stream
    expect_untouched disk.qcow2
    expect_refusal new.qcow2 'too large|no space' \
        limited_save $((room + 200000)) --create new.qcow2 < stream
    [ ! -e new.qcow2 ] || fail 'the new image is still there'
done
qemu_snap load disk.qcow2 > loaded
expect_same stream loaded
