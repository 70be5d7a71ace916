#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# SIGKILL in the midst of a save or create for several images: where there is VM
# state, its disks are there (docs/design.md, invariant 14). What is in the way of
# the same command is named, and when that is deleted, it works.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/killed.sh"

images=(first second third)
kinds=(cluster_size=4k compat=0.10 cluster_size=64k)
for i in 0 1 2; do
    new_image "${images[i]}" 3M "${kinds[i]}"
    qemu-io -c "write -q -P $((i + 1)) 0 1M" "${images[i]}"
    qemu_snap create -n earlier "${images[i]}"
    cp "${images[i]}" "${images[i]}.base"
done

copy_bases()
{
    local image
    for image in "${images[@]}"; do
        cp "$image.base" "$image"
    done
}

# The state is in the first image alone, and the disks are what they were.
expect_saved()
{
    local image
    for image in "${images[@]}"; do
        expect_clean "$image"
        expect_snapshots "$image" 'earlier all'
        qemu-img compare -q "$image" "$image.base" || fail "$image changed"
    done
    [ "$verb" = create ] || qemu_snap load --raw -n all first | cmp - stream ||
        fail "another stream, $killed_at"
}

judge_save()
{
    local image has
    names=$(snapshot_names first)
    for image in "${images[@]}"; do
        expect_clean "$image"
        has=$(snapshot_names "$image")
        case $names,$has in
        'earlier all,earlier all' | earlier,earlier) ;;
        'earlier,earlier all') halves=$((halves + 1)) ;;
        *) fail "first has '$names', $image '$has', $killed_at" ;;
        esac
    done
    while [ "$names" = earlier ] && ! qemu_snap "$@" < stream 2> err; do
        image=$(sed -n 's/.*: \([a-z]*\): .*already exists.*/\1/p' err)
        [ -n "$image" ] || fail "once more, $killed_at: $(cat err)"
        qemu_snap delete -n all "$image"
    done
    expect_saved
}

seq 20000 50000 > stream
halves=0
for verb in 'save -q --raw' create; do
    # shellcheck disable=SC2086
    for_each_kill copy_bases judge_save \
        $verb -n all first --with=second --with=third
    killed_at='not killed'
    expect_saved
done
[ $kill_step -gt 1 ] || [ $halves -gt 0 ] ||
    fail 'never killed between two commits'
echo "killed $killed times, $halves snapshots without that of the first image"
