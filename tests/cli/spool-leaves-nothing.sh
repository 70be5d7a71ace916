#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A stream that does not come to its end is not kept, however its save ends, and
# SIGKILL leaves nothing at any time; neither image nor directory tell of it.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
mkdir place
new_image place/disk.qcow2
qemu_snap save -n earlier place/disk.qcow2 < stream
remember_image place/disk.qcow2
mkfifo pipe
hold_image place/disk.qcow2

# start_save: half a stream comes; the other end is descriptor 8.
start_save()
{
    "$QEMU_SNAP" save -T "snap_*,file=trace" --wait-lock=0 -n new \
        place/disk.qcow2 < pipe 2> err &
    pid=$!
    exec 8> pipe
    head -c 5M stream >&8
}

# end_save STATUS
end_save()
{
    local status=0
    wait $pid || status=$?
    exec 8>&-
    [ $status = "$1" ] || fail "status $status, not $1: $(cat err)"
    grep -q snap_spool_open trace || fail 'no spool'
    [ "$(ls -A place)" = disk.qcow2 ] || fail "left: $(ls -A place)"
}

for signal in KILL TERM INT; do
    start_save
    if [ $signal = INT ]; then
        # A command in the background of a script ignores it.
        kill -HUP $pid
        end_save 129
    else
        kill -$signal $pid
        end_save $((128 + $(kill -l $signal)))
    fi
done

start_save
exec 8>&-
end_save 1
grep -q 'nothing was saved' err || fail "$(cat err)"
! grep -q kept err || fail "keeps half a stream: $(cat err)"

start_save
head -c 20000 /dev/urandom >&8 || true
end_save 1
! grep -q kept err || fail "keeps nonsense: $(cat err)"

# Killed while it waits for the image, there is nobody left to keep it.
"$QEMU_SNAP" save -T 'snap_*,file=trace' --wait-lock -n new place/disk.qcow2 \
    < <(exec cat stream) 2> err &
pid=$!
wait_until $PATIENCE grep -s -q snap_stream_in trace || fail "$(cat err)"
kill -KILL $pid
end_save 137

release_image
expect_untouched place/disk.qcow2
