#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The image stays locked: a stream from a pipe that has come to its end is kept
# in a file, and the error says which one, and what finishes the job. It does.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
mkdir other
new_image disk.qcow2
ln -s "$PWD/disk.qcow2" other/link.qcow2
qemu_snap save -n earlier disk.qcow2 < stream
remember_image disk.qcow2

# save_piped ARGUMENTS...: as QEMU would start it
save_piped()
{
    qemu_snap save "$@" < <(exec cat stream)
}

# expect_kept IMAGE FILE ARGUMENTS...: FILE is kept, and the words hold the
# command that saves it.
expect_kept()
{
    local image=$1 file=$2
    shift 2
    expect_refusal "$image" "lock.* is kept in '$PWD/$file'" save_piped "$@"
    expect_same stream "$file"
    [ "$(stat -c %a "$file")" = 600 ] || fail "others may read $file"
    grep -o 'qemu-snap save .*' err | sed 's/^qemu-snap/qemu_snap/' > finish
}

hold_image disk.qcow2
expect_kept disk.qcow2 disk.qcow2.new.qemu-snap-stream \
    --wait-lock=0 -n new disk.qcow2
cp finish first
# A second one does not take the place of the first; nor does a name with a
# slash lead anywhere.
expect_kept disk.qcow2 disk.qcow2.new.qemu-snap-stream-2 \
    --wait-lock=0 -n new disk.qcow2
expect_kept other/link.qcow2 other/disk.qcow2.a_b.qemu-snap-stream \
    --wait-lock=1 --no-index -n a/b --spool-dir=other other/link.qcow2
cp finish second
long=$(printf 'n%.0s' {1..105})
expect_kept disk.qcow2 "disk.qcow2.it's $long.qemu-snap-stream" \
    --wait-lock=0 -n "it's $long$long" disk.qcow2

# A stream in a file is not copied; it is where it was.
expect_refusal disk.qcow2 "lock.* stays in '$(readlink stream)'" \
    qemu_snap save --wait-lock=0 -n new disk.qcow2 < stream
release_image
expect_untouched disk.qcow2

. ./first
. ./second
expect_snapshots disk.qcow2 'earlier new a/b'
for name in new a/b; do
    qemu_snap load -n "$name" disk.qcow2 > loaded
    expect_same stream loaded
done
qemu_snap inspect -n a/b disk.qcow2 | grep -q '^trailer: none' ||
    fail 'an index that was not wanted'
expect_clean disk.qcow2

# The name was free when the stream began.
hold_image disk.qcow2
mkfifo pipe
"$QEMU_SNAP" save --wait-lock=$PATIENCE -n late disk.qcow2 < pipe 2> err &
pid=$!
exec 8> pipe
head -c 5M stream >&8
release_image
qemu_snap save -n late disk.qcow2 < stream
tail -c +$((5 * 1024 * 1024 + 1)) stream >&8
exec 8>&-
! wait $pid || fail 'the same name twice'
grep -q "'late' already exists; the stream is kept in" err || fail "$(cat err)"
expect_same stream disk.qcow2.late.qemu-snap-stream
expect_clean disk.qcow2

# The image cannot be as large as it must become.
qemu-io -c 'write -q 0 20M' disk.qcow2
hold_image disk.qcow2
ulimit -S -f $((30 * 1024))
"$QEMU_SNAP" save --wait-lock=$PATIENCE -n large disk.qcow2 < pipe 2> err &
pid=$!
cat stream > pipe
release_image
! wait $pid || fail 'no limit'
ulimit -S -f unlimited
grep -q 'too large; the stream is kept in' err || fail "$(cat err)"
expect_same stream disk.qcow2.large.qemu-snap-stream
expect_clean disk.qcow2

# Somebody loses patience: the name is told even so.
hold_image disk.qcow2
"$QEMU_SNAP" save --wait-lock -n waiting -T 'snap_*,file=trace' disk.qcow2 \
    < <(exec cat stream) 2> err &
pid=$!
wait_until $PATIENCE grep -s -q snap_stream_in trace || fail "$(cat err)"
kill -TERM $pid
! wait $pid || fail 'saved into a locked image'
grep -q 'interrupted.*; the stream is kept in' err || fail "$(cat err)"
expect_same stream disk.qcow2.waiting.qemu-snap-stream
