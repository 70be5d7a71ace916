#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `check' says what `qemu-img check' says: word for word about sound images of
# many shapes, in verdict and numbers about images with one damaged field. What
# `check -r' calls repaired, qemu-img finds sound; disk and snapshots are
# what they were if only refcounts were wrong. ROUNDS and SEED choose damages.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/sample-images.sh"

rounds=${ROUNDS:-4}
first_seed=${SEED:-1}

${CC:-cc} -O1 -o damage-image "$TOP/tests/cli/damage-image.c"
sample_images

# judge PREFIX COMMAND...: PREFIX.status, PREFIX.out and PREFIX.err.
judge()
{
    local prefix=$1 status=0
    shift
    timeout $PATIENCE "$@" > "$prefix.out" 2> "$prefix.err" || status=$?
    echo $status > "$prefix.status"
}

# Is this a question that qemu-img can answer? It wants keys of encrypted
# images, and it does not survive some damages.
has_answer()
{
    [ "$(cat theirs.status)" -le 3 ] && ! grep -q key-secret theirs.err
}

# expect_same_words IMAGE OPTIONS...
expect_same_words()
{
    judge theirs qemu-img check "$@"
    judge ours $VG "$QEMU_SNAP" check "$@"
    for file in status out err; do
        cmp -s ours.$file theirs.$file ||
            fail "$file of check $*: $(diff theirs.$file ours.$file)"
    done
}

# expect_same_numbers IMAGE WHAT: the same JSON members in the same order.
expect_same_numbers()
{
    judge theirs qemu-img check --output=json "$1"
    judge ours $VG "$QEMU_SNAP" check --output=json "$1"
    has_answer || return 0
    cmp -s ours.status theirs.status ||
        fail "$2: status $(cat ours.status), not $(cat theirs.status)"
    [ "$(cat ours.status)" != 1 ] || return 0
    jq -c . < theirs.out > expected.json
    jq -c . < ours.out > found.json
    cmp -s found.json expected.json ||
        fail "$2: $(diff expected.json found.json)"
}

# expect_repair WHAT IMAGE DAMAGE
expect_repair()
{
    local image=$2 status
    cp --sparse=always "$image" repaired.qcow2
    judge ours $VG "$QEMU_SNAP" check -r "$1" repaired.qcow2
    judge theirs qemu-img check repaired.qcow2
    status=$(cat ours.status)
    [ "$status" = 1 ] || ! has_answer || cmp -s ours.status theirs.status ||
        fail "-r $1, $3: status $status, but $(cat theirs.status)"
    case $3 in
    *": refcount"*)
        [ "$1" = leaks ] || [ "$status" = 0 ] ||
            fail "$3: not repaired: $(cat ours.out ours.err)"
        expect_same_content repaired.qcow2 "${image#damaged-}" "$3"
        ;;
    esac
}

# expect_same_content IMAGE SOUND-IMAGE WHAT
expect_same_content()
{
    local name
    # A data file belongs to one image at a time.
    [ "$2" != data-file.qcow2 ] || return 0
    qemu-img compare -q "$1" "$2" || fail "$3: the disk changed"
    for name in $(snapshot_names "$2"); do
        qemu-img convert -l "snapshot.name=$name" -O raw "$1" one
        qemu-img convert -l "snapshot.name=$name" -O raw "$2" other
        cmp -s one other || fail "$3: snapshot $name changed"
    done
}

for name in "${sample_names[@]}"; do
    expect_same_words "$name"
    expect_same_numbers "$name" "$name"
    cp --sparse=always "$name" repaired.qcow2
    expect_status 0 qemu_snap check -r all repaired.qcow2
    expect_same "$name" repaired.qcow2
done

for ((seed = first_seed; seed < first_seed + rounds; seed++)); do
    name=${sample_names[$((seed % ${#sample_names[@]}))]}
    cp --sparse=always "$name" "damaged-$name"
    damage="seed $seed, $name: $(./damage-image "damaged-$name" $seed)"
    expect_same_numbers "damaged-$name" "$damage"
    if [ "$(cat ours.status)" != 0 ]; then
        expect_repair leaks "damaged-$name" "$damage"
        expect_repair all "damaged-$name" "$damage"
    fi
    rm -f "damaged-$name"
done
