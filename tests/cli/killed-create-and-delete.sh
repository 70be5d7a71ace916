#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# SIGKILL at random moments of a create or a delete: the snapshot is there or
# not, and the image is clean either way. ROUNDS says how often, SEED which
# moments.

. "$(dirname "$0")/../functions.sh"

rounds=${ROUNDS:-5}
RANDOM=${SEED:-20212}

# Many L2 tables, so that there is something to be in the middle of.
new_image create.base 1G cluster_size=4k,preallocation=metadata
qemu-io -c 'write -q -P 1 0 1M' create.base
cp --sparse=always create.base delete.base
qemu_snap create -n snapshot delete.base
qemu-io -c 'write -q -P 2 512k 1M' delete.base

# As in killed-save.sh: the window follows what a change takes.
window=50000
old=0
new=0
for ((round = 0; old < rounds; round++)); do
    [ $round -lt $((rounds * 20)) ] || fail "only $old kills in time"
    verb=$([ $((round % 2)) = 0 ] && echo create || echo delete)
    before=$([ $verb = create ] || echo snapshot)
    after=$([ $verb = delete ] || echo snapshot)
    cp --sparse=always $verb.base image
    "$QEMU_SNAP" $verb -n snapshot image &
    pid=$!
    sleep "$(printf '0.%06d' $((RANDOM * window / 32768)))"
    kill -KILL $pid 2> /dev/null || true
    wait $pid 2> /dev/null || true

    expect_clean image
    names=$(snapshot_names image)
    if [ "$names" = "$before" ]; then
        old=$((old + 1))
        window=$((window < 900000 ? window * 21 / 20 : window))
    elif [ "$names" = "$after" ]; then
        new=$((new + 1))
        window=$((window * 19 / 20))
    else
        fail "round $round, $verb: snapshots '$names'"
    fi
    qemu-img compare -q image $verb.base || fail "round $round: other disk"
done
echo "$old kills in time and $new too late, window $window us"
