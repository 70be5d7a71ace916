#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `snapshot' can stand in for `qemu-img snapshot': the same output, messages
# and exit statuses, and the same snapshots and disk content afterwards.

. "$(dirname "$0")/../functions.sh"
QEMU_SNAP=$(realpath "$QEMU_SNAP")

qemu-img --version | grep -q 'version 7\.2' ||
    skip 'other versions print other columns'

mkdir theirs ours

# What may differ: the program's name, and when a snapshot was made.
same_words()
{
    sed -E -e 's/qemu-img/qemu-snap/g' \
        -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}/DATE/'
}

# both ARGUMENT...: qemu-img and qemu-snap do it to their own copies.
both()
{
    local theirs=0 ours=0
    (cd theirs && qemu-img snapshot "$@") > their.out 2> their.err || theirs=$?
    (cd ours && qemu_snap snapshot "$@") > our.out 2> our.err || ours=$?
    diff <(same_words < their.out) <(same_words < our.out) >&2 ||
        fail "other output: $*"
    # A raw image is warned about as often as it is opened.
    diff <(same_words < their.err | uniq_blocks) <(same_words < our.err) >&2 ||
        fail "other messages: $*"
    [ $theirs = $ours ] || fail "status $ours instead of $theirs: $*"
}

# Without a warning of three lines that stands there a second time.
uniq_blocks()
{
    awk '!/^(WARNING|         )/ || !seen[$0]++'
}

# expect_alike IMAGE: both copies have the same snapshots and disk content.
expect_alike()
{
    diff <(qemu-img snapshot -l "theirs/$1" | same_words) \
        <(qemu-img snapshot -l "ours/$1" | same_words) >&2 ||
        fail "$1: other snapshots"
    expect_clean "ours/$1"
    qemu-img compare -q "theirs/$1" "ours/$1" || fail "$1: other content"
    # But for the moments when they were made.
    diff <(facts "theirs/$1") <(facts "ours/$1") >&2 || fail "$1: other facts"
}

facts()
{
    qemu-img info --output=json "$1" |
        jq -S '[."virtual-size", (.snapshots // [] |
            map(del(."date-sec", ."date-nsec")))]'
}

# write PATTERN OFFSET BYTES IMAGE: the same to both.
write()
{
    local side
    for side in theirs ours; do
        qemu-io -c "write -P $1 $2 $3" "$side/$4" > /dev/null
    done
}

image()
{
    new_image "theirs/$1" "${2:-4M}" "${3:-}"
    cp "theirs/$1" "ours/$1"
}

# A life with all verbs; names that `create' refuses are taken.
image disk
both disk
both -l disk
write 1 0 64k disk
both -c one disk
write 2 32k 1M disk
both -c one disk
both -c '' disk
both -c 1 disk
both -c 4 disk
both -c "$(printf 'x%.0s' {1..255})" disk
both -c "$(printf 'y%.0s' {1..300})" disk
both -q -c quiet disk
both -c 'ü and spaces' disk
expect_alike disk
both -l disk
both disk -l
both -Ul disk
both disk

# An ID comes first for -a and is nothing to -d.
write 3 0 2M disk
both -a 1 disk
expect_alike disk
both -a one disk
expect_alike disk
both -a 4 disk
both -d 3 disk
both -d 1 disk
both -d one disk
expect_alike disk
both -d one disk
both -d one disk
both -a nothing disk
both -a '' disk
both -d '' disk
both -d "$(printf 'y%.0s' {1..300})" disk
both -d "$(printf 'y%.0s' {1..255})" disk
both -d "$(printf 'x%.0s' {1..255})" disk
both disk -d quiet
both -c --again -- disk
expect_alike disk
both -d--again disk
expect_alike disk

# Other shapes of images.
image old 1M compat=0.10,cluster_size=512
write 4 0 512k old
both -c first old
write 5 256k 512k old
both -a first old
expect_alike old
both -d first old
expect_alike old

image grown 1M
both -c small grown
for side in theirs ours; do
    qemu-img resize -q "$side/grown" 3M
done
both -a small grown
expect_alike grown

image bitmap 1M
both -c before bitmap
for side in theirs ours; do
    qemu-img bitmap --add "$side/bitmap" b
done
both -c with-bitmap bitmap
both -d with-bitmap bitmap
both -a before bitmap
expect_alike bitmap

# VM state goes with its snapshot.
sample_stream stream
image state
qemu_snap save -n state theirs/state < stream
cp theirs/state ours/state
both -l state
both -a state state
both -d state state
expect_alike state

# Wrong command lines.
both
both -l
both -a
both -c
both -l disk other
both -l -l disk
both -l -a one disk
both -c one -d one disk
both -Z disk
both -lZ disk
both --frob disk
both -f qcow2 -l disk
both --force-share=1 -l disk
both --force -l disk
both -U -c one disk
both -U -a one disk
both -U -d one disk
both -U disk
expect_status 0 qemu_snap snapshot --help
expect_status 0 qemu_snap snapshot -h -Z
for refused in --image-opts --object=secret,id=s; do
    expect_status 1 qemu_snap snapshot "$refused" -l ours/disk
    grep -q '^qemu-snap: .*not supported' err || fail "$refused: $(cat err)"
done

# Files that are none, or no qcow2 images.
for action in '-l' '-c x' '-a x' '-d x' ''; do
    # Two words or one or none.
    # shellcheck disable=SC2086
    {
        both $action missing
        both $action missing/image
        both $action .
        both $action ''
    }
done
for side in theirs ours; do
    truncate -s 1M $side/raw
    : > $side/empty
done
for action in '-l' '-c x' '-a x' '-d x' '-q -c x' ''; do
    # shellcheck disable=SC2086
    {
        both $action raw
        both $action empty
    }
done

# Images that somebody else uses, for writing and for reading.
both -c locked disk
for holder_options in '' -r; do
    for side in theirs ours; do
        rm -f "$side.hold"
        mkfifo "$side.hold"
        # shellcheck disable=SC2086,SC2094
        qemu-io $holder_options "$side/disk" <> "$side.hold" \
            > "$side.held" 2>&1 &
        on_exit "kill $! 2> /dev/null"
        declare "${side}_holder=$!"
        wait_until $PATIENCE grep -s -q 'qemu-io>' "$side.held" ||
            fail "no lock: $(cat "$side.held")"
    done
    both -l disk
    both -U -l disk
    both disk
    both -c more disk
    both -a locked disk
    both -d locked disk
    # shellcheck disable=SC2154
    for pid in "$theirs_holder" "$ours_holder"; do
        kill "$pid"
        wait "$pid" 2> /dev/null || true
    done
done
expect_alike disk
