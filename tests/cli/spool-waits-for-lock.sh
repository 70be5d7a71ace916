#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The image is locked when the stream begins and free at its end, or somewhat
# later: the stream waits for it, and nothing is left beside the image.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
mkfifo pipe

# save_locked IMAGE ARGUMENTS...: the stream ends while somebody has the image.
save_locked()
{
    hold_image "$1"
    "$QEMU_SNAP" save --wait-lock=$PATIENCE "$@" < pipe 2> err &
    pid=$!
    cat stream > pipe
    sleep 0.2
    kill -0 $pid || fail "did not wait: $(cat err)"
    release_image
    wait $pid || fail "$1: $(cat err)"
    [ ! -s err ] || fail "$1: $(cat err)"
    expect_clean "$1"
    qemu_snap load "$1" > loaded
    expect_same stream loaded
}

# Without a name it gets one. The geometries differ in what can be cloned.
for kind in cluster_size=64k cluster_size=512 cluster_size=2M \
    compat=0.10 lazy_refcounts=on; do
    new_image "$kind.qcow2" 64M "$kind"
    qemu-io -c 'write -q -P 5 1M 3M' "$kind.qcow2"
    cp "$kind.qcow2" before.qcow2
    save_locked "$kind.qcow2"
    qemu-img compare -q "$kind.qcow2" before.qcow2 || fail "$kind: other disk"
done

# From elsewhere; in all cache modes; one request at a time; any bytes.
mkdir elsewhere
for how in --spool-dir=elsewhere --cache=writeback --cache=directsync \
    --depth=1 --aio=threads; do
    new_image "disk$how"
    save_locked "disk$how" -n x "$how"
done

# From a file, which needs no spool.
new_image disk.qcow2
hold_image disk.qcow2
qemu_snap save --wait-lock -n x disk.qcow2 < stream &
pid=$!
sleep 0.2
kill -0 $pid || fail 'did not wait'
release_image
wait $pid
qemu_snap load disk.qcow2 > loaded
expect_same stream loaded

[ -z "$(find . -name '*qemu-snap*')" ] || fail "left: $(find .)"
