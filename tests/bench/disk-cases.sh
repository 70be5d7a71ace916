# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The cases of bench.sh that work on the metadata of a large disk. Built like
# those in stream-cases.sh.

# shellcheck shell=bash disable=SC2034,SC2154

# A disk whose metadata is as large as it gets, though it holds no data.
new_full_disk()
{
    qemu-img create -q -f qcow2 -o preallocation=metadata "$1" "$disk"
}

# --- list-*, inspect-*: what is in a disk with many snapshots

# A snapshot of a full disk takes QEMU's tools long, so all but one are of the
# time when the disk was still empty. Each has a table as large as the last
# one's. A disk gets its metadata when it grows, so it shrinks first.
need_disk_with_snapshots()
{
    local i
    [ ! -e many.qcow2 ] || return 0
    qemu-img create -q -f qcow2 many.qcow2 "$disk"
    for ((i = 1; i < snapshots; i++)); do
        qemu-img snapshot -c "empty-$i" many.qcow2
    done
    qemu-img resize -q --shrink many.qcow2 1M
    qemu-img resize -q --preallocation=metadata many.qcow2 "$disk"
    qemu-img snapshot -c full many.qcow2
    [ "$("$QEMU_SNAP" list --output=json many.qcow2 |
        jq '.snapshots | length')" = "$snapshots" ] ||
        fail "there are not $snapshots snapshots"
}

prepare_list_cold()
{
    need_disk_with_snapshots
    used=
}

prepare_list_warm()
{
    need_disk_with_snapshots
    used=
}

prepare_inspect_cold()
{
    need_disk_with_snapshots
    used=
}

prepare_inspect_warm()
{
    need_disk_with_snapshots
    used=
}

look()
{
    measured "$@" many.qcow2 > /dev/null
    cat report
}

run_list_warm()
{
    case $1 in
    ours) look "$QEMU_SNAP" list ;;
    qemu-img) look qemu-img snapshot -l ;;
    esac
}

run_inspect_warm()
{
    case $1 in
    ours) look "$QEMU_SNAP" inspect ;;
    qemu-img) look qemu-img info ;;
    esac
}

run_list_cold()
{
    forget many.qcow2
    run_list_warm "$1"
}

run_inspect_cold()
{
    forget many.qcow2
    run_inspect_warm "$1"
}

# --- create-1t, delete-1t: a snapshot of the disk alone

# Each contender has a disk of its own, and undoes what it did, so that all
# runs but the first find the disk in the same state. That one is made here.
# What a contender itself left in the page cache stays there, which is the better
# case for qemu-img.
prepare_create_1t()
{
    local contender
    used=
    for contender in ours qemu-img; do
        [ -e "full-$contender.qcow2" ] && continue
        new_full_disk "full-$contender.qcow2"
        create_disk_snapshot $contender
        delete_disk_snapshot $contender
    done
}

prepare_delete_1t()
{
    prepare_create_1t
}

create_disk_snapshot()
{
    case $1 in
    ours) measured "$QEMU_SNAP" create -n bench full-ours.qcow2 ;;
    qemu-img) measured qemu-img snapshot -c bench full-qemu-img.qcow2 ;;
    esac
}

delete_disk_snapshot()
{
    case $1 in
    ours) measured "$QEMU_SNAP" delete -n bench full-ours.qcow2 ;;
    qemu-img) measured qemu-img snapshot -d bench full-qemu-img.qcow2 ;;
    esac
}

run_create_1t()
{
    create_disk_snapshot "$1"
    cat report
    delete_disk_snapshot "$1"
}

run_delete_1t()
{
    create_disk_snapshot "$1"
    delete_disk_snapshot "$1"
    cat report
}
