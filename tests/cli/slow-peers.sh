#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Whoever is at the other end of the stream may be slow or stand still, or may
# not be there at all, and the image may be locked: the data is right, nothing
# goes nowhere in silence, and waiting costs no CPU time.

. "$(dirname "$0")/../functions.sh"

new_image disk.qcow2
head -c 3000000 /dev/urandom > state
qemu_snap save --raw -n state disk.qcow2 < state

# Closed descriptors: nothing is there to be read, and nothing can be written.
expect_refusal disk.qcow2 'Bad file descriptor' \
    qemu_snap save --raw -n closed disk.qcow2 <&-
for command in 'load --raw' list; do
    status=0
    # shellcheck disable=SC2086
    qemu_snap $command disk.qcow2 >&- 2> err || status=$?
    [ $status = 1 ] || fail "$command without output: status $status"
    grep -q 'Bad file descriptor' err || fail "$command: $(cat err)"
done
qemu_snap load --raw disk.qcow2 > /dev/null
expect_status 1 qemu_snap save --raw -n none disk.qcow2 < /dev/null
expect_snapshots disk.qcow2 state

# cpu_ticks PID: hundredths of a second, user and system.
cpu_ticks()
{
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# expect_idle: $pid uses next to no time while it waits for half a second.
expect_idle()
{
    local before after
    before=$(cpu_ticks "$pid")
    sleep 0.5
    after=$(cpu_ticks "$pid")
    [ $((after - before)) -le 5 ] ||
        fail "waiting took $((after - before)) hundredths of a second"
}

is_asleep()
{
    grep -q '^State:.S' "/proc/$pid/status"
}

mkfifo pipe
# A writer that sends byte by byte, and stops.
exec 8<> pipe
"$QEMU_SNAP" save --raw -n slow disk.qcow2 < pipe 8>&- &
pid=$!
for ((i = 0; i < 20; i++)); do
    printf x >&8
    sleep 0.01
done
expect_idle
tail -c +21 state >&8
exec 8>&-
wait $pid
qemu_snap load --raw -n slow disk.qcow2 > loaded
cmp loaded <(printf 'x%.0s' {1..20}; tail -c +21 state)

# A reader that stops.
exec 8<> pipe
"$QEMU_SNAP" load --raw -n state disk.qcow2 > pipe 8>&- &
pid=$!
head -c 1000 <&8 > loaded
wait_until $PATIENCE is_asleep
expect_idle
head -c 2999000 <&8 >> loaded
wait $pid
exec 8>&-
expect_same state loaded

# Descriptors that would rather return than wait, which are not only ours.
${CC:-cc} -o non-blocking "$TOP/tests/cli/non-blocking.c"
./non-blocking "$QEMU_SNAP" save --raw -n in disk.qcow2 < state
./non-blocking "$QEMU_SNAP" load --raw -n in disk.qcow2 > loaded < /dev/null
expect_same state loaded
long=$(printf 'long%.0s' {1..50})
for i in {1..20}; do
    qemu_snap create -n "$long$i" disk.qcow2
done
./non-blocking "$QEMU_SNAP" list disk.qcow2 < /dev/null > table
expect_same <(qemu_snap list disk.qcow2) table
for i in {1..20}; do
    qemu_snap delete -n "$long$i" disk.qcow2
done

# Somebody else has the image.
hold_image disk.qcow2
"$QEMU_SNAP" save --raw --wait-lock -n waits disk.qcow2 < state &
pid=$!
sleep 0.1
expect_idle
release_image
wait $pid
expect_snapshots disk.qcow2 'state slow in waits'
