#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A stream that ends early is never stored, wherever it was cut.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
new_image disk.qcow2
qemu_snap save -n earlier disk.qcow2 < stream
remember_image disk.qcow2
length=$(stat -L -c %s stream)

for cut in 0 1 8 20 4096 $((length / 2)) $((length - 150000)) \
    $((length - 1000)) $((length - 1)); do
    head -c "$cut" stream > part
    expect_refusal disk.qcow2 'ends|end of|empty|incomplete' \
        qemu_snap save -n cut disk.qcow2 < part
    expect_untouched disk.qcow2
done

# Bytes behind the end are not part of it.
cat stream <(head -c 5000 /dev/zero) > padded
qemu_snap save -n padded disk.qcow2 < padded
expect_clean disk.qcow2
