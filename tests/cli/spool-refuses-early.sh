#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What cannot end well is refused before the stream has come, also when the
# image is locked: then QEMU notices, and its guest goes on.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
qemu_snap save -n first disk.qcow2 < stream
new_image narrow.qcow2 64M refcount_bits=1
mkfifo silence

# refuse PATTERN ARGUMENTS...
refuse()
{
    expect_refusal "${*: -1}" "$1" \
        timeout 20 $VG "$QEMU_SNAP" save "${@:2}" <> silence
}

hold_image disk.qcow2
refuse 'already exists' -n first disk.qcow2
refuse 'number' -n 7 disk.qcow2
refuse 'temporary file.*nowhere.*No such file' -n x --spool-dir=nowhere \
    disk.qcow2
refuse 'temporary file.*Not a directory' -n x --spool-dir=stream disk.qcow2
release_image
hold_image narrow.qcow2
refuse '1-bit refcounts' -n x narrow.qcow2
release_image

for seconds in x -1 1.5 99999999999; do
    expect_status 1 qemu_snap save --wait-lock=$seconds disk.qcow2 < stream
    grep -q 'invalid time to wait' err || fail "$seconds: $(cat err)"
done
expect_status 1 qemu_snap load --wait-lock disk.qcow2
grep -q 'load does not take --wait-lock' err || fail "$(cat err)"
[ -z "$(find . -name '*qemu-snap*')" ] || fail "left: $(find .)"
