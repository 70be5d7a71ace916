# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The cases of bench.sh that compare nobody: points of a curve. Built like those
# in stream-cases.sh; the contender is where the point is on the axis.

# Options are words.
# shellcheck shell=bash disable=SC2086,SC2034,SC2154

# --- pipe: the ways to get a file of the page cache into a pipe

prepare_pipe()
{
    need_stored_stream
    used=
}

run_pipe()
{
    remember plain
    "$programs/pipe-ways" "$1" plain
}

# --- load-by-depth, load-by-depth-delayed

prepare_load_by_depth()
{
    need_stored_stream
    used=--cache=none
}

prepare_load_by_depth_delayed()
{
    need_stored_stream
    used=
}

run_load_by_depth()
{
    load_with_depth "$1"
}

run_load_by_depth_delayed()
{
    load_delayed "$1"
}

# --- save-by-size, load-by-size: streams of so many MiB, made on the way

# Those sizes that leave half of the free space free.
fitting_sizes()
{
    local mib sum=0 room
    room=$(($(df --output=avail -B1M . | tail -n 1) / 2))
    for mib in $sizes; do
        sum=$((sum + mib))
        [ $sum -ge $room ] || echo "$mib"
    done | xargs
}

# Two runs say enough of what takes long.
is_run_enough()
{
    [ "$1" -gt 4000 ] && [ "${run:-0}" -ge 2 ]
}

prepare_save_by_size()
{
    :
}

with_state_size()
{
    "$QEMU_SNAP" list --output=json "$1" |
        jq '{ bytes: .snapshots[0]."vm-state-size" } + $report' \
            --argjson report "$(cat report)"
}

run_save_by_size()
{
    local image=size-$1.qcow2
    is_run_enough "$1" && return
    rm -f "$image"
    sync
    "$programs/make-stream" "$1" |
        measured "$QEMU_SNAP" save $options --create -n bench "$image"
    with_state_size "$image"
}

prepare_load_by_size()
{
    local mib
    for mib in $(fitting_sizes); do
        [ -e "size-$mib.qcow2" ] || run_save_by_size "$mib" > /dev/null
    done
}

run_load_by_size()
{
    local image=size-$1.qcow2
    is_run_enough "$1" && return
    forget "$image"
    measured "$QEMU_SNAP" load $options "$image" | cat > /dev/null
    with_state_size "$image"
}
