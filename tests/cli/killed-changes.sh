#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# SIGKILL in the midst of whatever changes an image: it is what it was or what
# it was to become, without leaks, and the same command can be given again. A
# repair that is killed has not made anything worse.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/killed.sh"

new_base()
{
    rm -f base
    new_image base 3M "$1"
    qemu-io -c 'write -q -P 1 0 1M' -c 'write -q -P 2 2M 100k' base
    qemu_snap save -q --raw -n old base < earlier
    qemu-io -c 'write -q -P 3 512k 1M' base
    qemu_snap create -n other base
    qemu-io -c 'write -q -P 4 1M 300k' base
}

# All that anybody sees of an image, but IDs and dates.
describe()
{
    local image=$1 name size
    qemu-img snapshot -l "$image" | awk 'NR > 2 { print $2, $3 }' > list
    cat list
    qemu_snap inspect "$image" | grep 'stale VM state' || true
    qemu-img convert -O raw "$image" disk
    cat disk
    while read -r name size; do
        qemu-img convert -l "snapshot.name=$name" -O raw "$image" disk
        cat disk
        [ "$size" = 0 ] || qemu_snap load --raw -n "$name" "$image"
    done < list
}

copy_base()
{
    cp base image
}

judge_change()
{
    expect_clean image
    describe image > found
    if cmp -s old found; then
        qemu_snap "$@" < stream || fail "not once more, $killed_at"
    elif ! cmp -s new found; then
        fail "$killed_at: neither old nor new: $(cat list)"
    elif ! qemu_snap "$@" < stream 2> err; then
        grep -q -E "image: .*(already exists|there is no snapshot)" err ||
            fail "once more, $killed_at: $(cat err)"
    fi
    expect_clean image
    describe image > found
    expect_same new found
}

# kill_change ARGUMENTS...: for the image called so.
kill_change()
{
    copy_base
    describe image > old
    qemu_snap "$@" < stream
    describe image > new
    ! cmp -s old new || fail "nothing to do: $*"
    for_each_kill copy_base judge_change "$@"
}

# findings IMAGE: numbers of corruptions and leaks.
findings()
{
    { qemu-img check --output=json "$1" 2> err || true; } |
        jq -r '"\(.corruptions // 0) \(.leaks // 0)"'
}

judge_repair()
{
    local corruptions leaks
    read -r corruptions leaks < <(findings image)
    [ "$corruptions" -le "$corruptions_before" ] &&
        [ "$leaks" -le "$leaks_before" ] ||
        fail "$corruptions corruptions, $leaks leaks, $killed_at"
    qemu_snap "$@" 2> err || fail "not once more, $killed_at: $(cat err)"
    expect_clean image
    describe image > found
    expect_same old found
}

# kill_repair REFCOUNT: of the active L1 table, which has one reference.
kill_repair()
{
    local cluster entries l1 block
    cluster=$((1 << $(od -A n -t u1 -j 23 -N 1 base)))
    entries=$((cluster / 2))
    l1=$(($(number base 40) / cluster))
    # Rounded down on purpose.
    # shellcheck disable=SC2017
    block=$(number base $(($(number base 48) + l1 / entries * 8)))
    describe base > old
    cp base sound
    poke base $((block + l1 % entries * 2)) "$1"
    read -r corruptions_before leaks_before < <(findings base)
    [ $((corruptions_before + leaks_before)) -gt 0 ] || fail 'no damage'
    for_each_kill copy_base judge_repair check -q -r all image
    mv sound base
}

seq 20000 > earlier
seq 20000 50000 > stream

shapes=(cluster_size=4k cluster_size=512 compat=0.10 cluster_size=64k)
if [ $kill_step = 1 ]; then
    kill_step=2
else
    shapes=("${shapes[RANDOM % ${#shapes[@]}]}")
fi
for shape in "${shapes[@]}"; do
    new_base "$shape"
    kill_change save -q --raw -n new image
    kill_change save -q --raw --replace -n old image
    kill_change create -n new image
    kill_change create --replace -n old image
    kill_change delete -n old image
    kill_change rename -n old --to=new image
    kill_change apply -n old image

    kill_repair 0000
    kill_repair 0009

    qemu-img snapshot -a old base
    kill_change gc image
done
echo "killed $killed times"
