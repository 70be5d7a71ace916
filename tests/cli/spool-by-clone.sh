#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A stream that has waited for its image is cloned into it where the file system
# can do that, in no time and with no space: a second copy would not fit. Where
# there is no such file system, it is copied.

if [ -z "${IN_NAMESPACE:-}" ]; then
    user=-r
    [ "$(id -u)" != 0 ] || user=
    # In a chroot there is no root mount to make private.
    # shellcheck disable=SC2086
    unshare $user -m true 2> /dev/null || user+=' --propagation unchanged'
    # shellcheck disable=SC2086
    IN_NAMESPACE=1 exec unshare $user -m bash "$0"
fi
. "$(dirname "$0")/../functions.sh"

mkdir place
mkfifo pipe
mebibytes=64
if command -v mkfs.xfs > /dev/null; then
    truncate -s 600M xfs.img
    mkfs.xfs -q -m reflink=1 xfs.img
    if mount -o loop xfs.img place 2> refusal; then
        on_exit 'umount place'
        mebibytes=280
    fi
fi

head -c ${mebibytes}M /dev/urandom > stream
head -c 1001 /dev/urandom >> stream
echo > place/probe
clones=no
! cp --reflink=always place/probe place/probed 2> /dev/null || clones=yes
rm -f place/*

# save_locked TRACE-PATTERN OPTIONS-OF-IMAGE
save_locked()
{
    new_image place/disk.qcow2 64M "$2"
    hold_image place/disk.qcow2
    "$QEMU_SNAP" save --wait-lock=$PATIENCE --raw -n new -T 'snap_*' \
        place/disk.qcow2 < pipe 2> trace &
    pid=$!
    cat stream > pipe
    release_image
    wait $pid || fail "$2: $(cat trace)"
    grep -q "snap_spool_move $1" trace || fail "$2: $(cat trace)"
    expect_clean place/disk.qcow2
    qemu_snap load --raw -n new place/disk.qcow2 | cmp - stream ||
        fail "$2: not the same"
    rm place/disk.qcow2
}

mib=$((1024 * 1024))
if [ $clones = yes ]; then
    all="cloned_bytes=$((mebibytes * mib)) copied_bytes=1024"
    save_locked "$all" cluster_size=64k
    save_locked "$all" cluster_size=2M
    # In smaller clusters blocks cannot be shared, so there must be room.
    truncate -s $((40 * mib)) stream
    save_locked 'cloned_bytes=0' cluster_size=512
else
    save_locked 'cloned_bytes=0' cluster_size=64k
fi
echo "clones: $clones"
