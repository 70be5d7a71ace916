#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# create makes a snapshot in several images or in none, whichever of them fails
# and when: before the first commit, or in one of them.

. "$(dirname "$0")/../functions.sh"

images=(first.qcow2 second.qcow2 third.qcow2)
for image in "${images[@]}"; do
    new_image "$image" 4M
    qemu-io -c 'write -q -P 0x11 1M 1M' "$image"
    remember_image "$image"
done
qemu-img snapshot -c other third.qcow2
remember_image third.qcow2

# With options it is called by refuse.
# shellcheck disable=SC2120
create_all()
{
    qemu_snap create -n all "$@" first.qcow2 --with=second.qcow2 \
        --with third.qcow2
}

# refuse PATTERN COMMAND...: and nothing is changed.
refuse()
{
    expect_refusal first.qcow2 "$@"
    for image in "${images[@]}"; do
        expect_untouched "$image"
    done
}

refuse 'given twice' create_all --with first.qcow2
refuse 'replace' create_all --replace
refuse 'missing.qcow2: .*No such file' create_all --with missing.qcow2
new_image taken.qcow2
qemu-img snapshot -c all taken.qcow2
refuse "taken.qcow2: .*'all' already exists" create_all --with taken.qcow2
new_image used.qcow2
hold_image used.qcow2
refuse 'used.qcow2: .*lock' create_all --with used.qcow2
release_image

# A flush that fails. The last one is that of the first image, which may have
# the snapshot then, and so all have; else nowhere is anything left, but where
# the failing disk keeps it, which is said.
has_all()
{
    qemu_snap list "$1" | grep -q ' all '
}

flushes=0
kept=0
while failing_call flush $((flushes + 1)) 5 "$QEMU_SNAP" create -n all \
    first.qcow2 --with=second.qcow2 --with third.qcow2 2> err; [ -s err ]; do
    flushes=$((flushes + 1))
    made_first=no
    ! has_all first.qcow2 || made_first=$flushes
    for image in "${images[@]}"; do
        qemu_snap check -q "$image" || fail "flush $flushes: $image"
        if grep -q "; '$image' keeps snapshot [12]: " err; then
            kept=$((kept + 1))
            has_all "$image" || fail "$image keeps nothing"
        elif has_all "$image"; then
            [ "$made_first" != no ] || fail "flush $flushes: $image is left over"
        else
            [ "$made_first" = no ] || fail "flush $flushes: $image lacks it"
        fi
        cp "$image.before" "$image"
    done
done
[ $flushes -ge 6 ] || fail "only $flushes flushes"
[ $kept = 2 ] || fail "kept $kept times, not once for each further image"
[ "$made_first" = $flushes ] || fail 'not the first image comes last'

# With none that failed, all have it.
expect_snapshots first.qcow2 all
expect_snapshots second.qcow2 all
expect_snapshots third.qcow2 'other all'
for image in "${images[@]}"; do
    expect_clean "$image"
done
