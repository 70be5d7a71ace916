#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Every way to reach the disk stores and reads the same bytes.

. "$(dirname "$0")/../functions.sh"

no_io_uring='^qemu-snap: .*: Could not set up io_uring.*; use --aio=threads: '
no_io_uring+='(Operation not permitted|Function not implemented)$'

sample_stream stream

for cache in none writeback directsync unsafe; do
    for aio in native threads io_uring; do
        image=$cache-$aio.qcow2
        new_image $image
        status=0
        qemu_snap save --cache=$cache --aio=$aio -n first $image \
            < stream 2> err || status=$?
        # As in QEMU, native AIO needs a cache mode that bypasses the host's.
        case $cache-$aio in
        writeback-native | unsafe-native)
            [ $status = 1 ] && grep -q "^qemu-snap: .*native" err ||
                fail "$cache with $aio: status $status, $(cat err)"
            expect_snapshots $image ''
            continue
            ;;
        *-io_uring)
            # Not every kernel and sandbox lets us have it; that has a name.
            if [ $status = 1 ] && grep -q -E "$no_io_uring" err; then
                expect_snapshots $image ''
                continue
            fi
            ;;
        esac
        [ $status = 0 ] || fail "$cache with $aio: $(cat err)"
        expect_clean $image
        qemu_snap load --cache=$cache --aio=$aio $image > loaded
        expect_same stream loaded
        rm $image
    done
done
