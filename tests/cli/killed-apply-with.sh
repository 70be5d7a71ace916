#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# SIGKILL in the midst of a load that puts several disks back: each has gone
# back or not, the first one last, and the same command again puts all back.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/killed.sh"

seq 20000 50000 > stream
images=(first second third)
for image in "${images[@]}"; do
    new_image "$image" 3M cluster_size=4k
    qemu-io -c 'write -q -P 1 0 1M' "$image"
    qemu-img convert -O raw "$image" old
done
qemu_snap save -q --raw -n all first --with=second --with=third < stream
for image in "${images[@]}"; do
    qemu-io -c 'write -q -P 2 512k 1M' "$image"
    qemu-img convert -O raw "$image" new
    cp "$image" "$image.base"
done

copy_bases()
{
    for image in "${images[@]}"; do
        cp "$image.base" "$image"
    done
}

is_disk()
{
    qemu-img compare -q -f qcow2 -F raw "$1" "$2"
}

expect_old()
{
    for image in "${images[@]}"; do
        expect_clean "$image"
        expect_snapshots "$image" all
        is_disk "$image" old || fail "$image is not back, $killed_at"
    done
}

judge_apply()
{
    for image in "${images[@]}"; do
        expect_clean "$image"
        is_disk "$image" new || is_disk "$image" old ||
            fail "$image is neither, $killed_at"
    done
    if is_disk first old; then
        expect_old
    fi
    qemu_snap "$@" > loaded
    expect_same stream loaded
    expect_old
}

for_each_kill copy_bases judge_apply \
    load --raw --apply -n all first --with=second --with=third
killed_at='not killed'
expect_old
echo "killed $killed times"
