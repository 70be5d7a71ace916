#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A stream for a locked image needs room in the spool, and once more in the
# image. If there is none, the save ends before the stream does, so that QEMU
# notices. What there is is enough for both, to the end.

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

sample_stream stream
mkdir small spool
mkfifo pipe

# small_image MIB: the only file of a file system of that size.
small_image()
{
    mount -t tmpfs -o size="$1m" none small 2> refusal ||
        skip "no mount: $(cat refusal)"
    new_image small/disk.qcow2
    remember_image small/disk.qcow2
}

# refuse PATTERN ARGUMENTS...: while the last byte of the stream is to come.
refuse()
{
    local pattern=$1
    shift
    "$QEMU_SNAP" save "$@" -n new small/disk.qcow2 < pipe 2> err &
    pid=$!
    exec 8> pipe
    head -c -1 stream >&8 2> /dev/null || true
    wait_until $PATIENCE is_gone || fail 'waits for the end'
    exec 8>&-
    ! wait $pid || fail 'saved into a full file system'
    grep -q "$pattern.*No space left" err || fail "$(cat err)"
    [ "$(ls -A small)" = disk.qcow2 ] || fail "left: $(ls -A small)"
}

is_gone()
{
    ! kill -0 $pid 2> /dev/null
}

# The stream has 11 MB: not once, and once but not twice.
for size in 8 20; do
    small_image $size
    hold_image small/disk.qcow2
    refuse 'no room for'
    release_image
    expect_untouched small/disk.qcow2
    umount small
done

# The spool is elsewhere, and the image cannot grow.
small_image 10
hold_image small/disk.qcow2
refuse 'no room for .* of the image' --spool-dir=spool
[ -z "$(ls -A spool)" ] || fail "left: $(ls -A spool)"
release_image
expect_untouched small/disk.qcow2
umount small

# Enough for both, and not for a third.
small_image 33
hold_image small/disk.qcow2
"$QEMU_SNAP" save --wait-lock=$PATIENCE -n new small/disk.qcow2 < pipe 2> err &
pid=$!
cat stream > pipe
release_image
wait $pid || fail "$(cat err)"
expect_clean small/disk.qcow2
qemu_snap load small/disk.qcow2 > loaded
expect_same stream loaded
umount small
