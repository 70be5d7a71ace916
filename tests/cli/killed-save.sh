#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# SIGKILL at random moments of a save, again and again: the image is never
# worse than leaking, all that it held is there, and a snapshot is there either
# whole or not at all. ROUNDS says how often, SEED which moments.

. "$(dirname "$0")/../functions.sh"

rounds=${ROUNDS:-6}
RANDOM=${SEED:-20211}
sample_stream earlier.stream 1
sample_stream stream 2

# Disk data that is shared by a snapshot, and some that is not yet.
new_base()
{
    new_image "$1" 64M "$2"
    qemu-io -c 'write -q -P 1 0 1M' "$1"
    qemu_snap save -n earlier "$1" < earlier.stream
    qemu-io -c 'write -q -P 2 512k 3M' "$1"
}
kinds=(compat=1.1 compat=0.10 cluster_size=4k cluster_size=2M)
for kind in "${kinds[@]}"; do
    new_base "$kind.base" "$kind"
done

# Moments are drawn from a window that follows what a save takes: it shrinks
# when a kill comes too late and grows when it came in time.
window=50000
killed=0
late=0
for ((round = 0; killed < rounds; round++)); do
    [ $round -lt $((rounds * 20)) ] || fail "only $killed kills in time"
    base=${kinds[round % ${#kinds[@]}]}.base
    cp "$base" image
    "$QEMU_SNAP" save -n new image < <(exec cat stream) &
    pid=$!
    sleep "$(printf '0.%06d' $((RANDOM * window / 32768)))"
    kill -KILL $pid 2> /dev/null || true
    wait $pid 2> /dev/null || true

    expect_no_corruption image
    names=$(snapshot_names image)
    case $names in
    earlier)
        killed=$((killed + 1))
        window=$((window < 900000 ? window * 21 / 20 : window))
        ;;
    'earlier new')
        late=$((late + 1))
        window=$((window * 19 / 20))
        qemu_snap load -n new image > loaded
        expect_same stream loaded
        ;;
    *) fail "round $round, $base: snapshots '$names'" ;;
    esac
    qemu_snap load -n earlier image > loaded
    expect_same earlier.stream loaded
    qemu-img compare -q image "$base" || fail "round $round: other disk"
    qemu-img check -q -r leaks image > /dev/null 2>&1
    expect_clean image
done
echo "$killed kills in time and $late too late, window $window us"
