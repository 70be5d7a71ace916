#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# delete and apply with several images: a snapshot of that name in each of them,
# or nothing happens. When a disk fails half-way, there are disks wherever there
# is VM state.

. "$(dirname "$0")/../functions.sh"

images=(first.qcow2 second.qcow2 third.qcow2)
with=(--with=second.qcow2 --with third.qcow2)
for image in "${images[@]}"; do
    new_image "$image" 4M
    qemu-img snapshot -c other "$image"
    qemu-io -c 'write -q -P 0x11 1M 1M' "$image"
done
qemu_snap save --raw -n all first.qcow2 "${with[@]}" <<< 'a state'
for image in "${images[@]}"; do
    cp "$image" "$image.saved"
    qemu-io -c 'write -q -P 0x22 1M 1M' "$image"
    remember_image "$image"
done

expect_all_untouched()
{
    for image in "${images[@]}"; do
        expect_untouched "$image"
    done
}

restore_all()
{
    for image in "${images[@]}"; do
        cp "$image.before" "$image"
    done
}

went_back()
{
    qemu-img compare -q "$1" "$1.saved"
}

# refuse PATTERN [OPTION...]: for both commands, and nothing is changed.
refuse()
{
    local pattern=$1 command
    shift
    for command in delete apply; do
        expect_refusal first.qcow2 "$pattern" \
            qemu_snap "$command" -n all first.qcow2 "$@"
        expect_all_untouched
    done
}

refuse 'given twice' "${with[@]}" --with ./second.qcow2
refuse 'missing.qcow2: .*No such file' "${with[@]}" --with missing.qcow2
new_image lacking.qcow2
refuse "lacking.qcow2: there is no snapshot called 'all'$" "${with[@]}" \
    --with lacking.qcow2
new_image twice.qcow2
qemu-img snapshot -c all twice.qcow2
qemu-img snapshot -c all twice.qcow2
refuse "twice.qcow2: .*may be any of these: 1 \(all\), 2 \(all\)$" \
    "${with[@]}" --with twice.qcow2
hold_image third.qcow2
for command in delete apply; do
    expect_refusal first.qcow2 'third.qcow2: .*lock' \
        qemu_snap $command -n all first.qcow2 "${with[@]}"
done
release_image
expect_all_untouched

# IDs are each image's own business: the further ones are asked for the name.
new_image numbers.qcow2 4M
qemu-img snapshot -c 1 numbers.qcow2
for command in apply delete; do
    expect_refusal numbers.qcow2 "first.qcow2: .*no snapshot called '1'" \
        qemu_snap $command --id=1 numbers.qcow2 --with first.qcow2
done
expect_all_untouched

# All of them, by an ID that is another one in the further images.
qemu-img snapshot -d other first.qcow2
qemu-img snapshot -c other first.qcow2
qemu_snap apply --id=2 first.qcow2 "${with[@]}"
for image in "${images[@]}"; do
    went_back "$image" || fail "$image did not go back"
    expect_clean "$image"
done
qemu_snap delete --id=3 --no-discard first.qcow2 "${with[@]}"
for image in "${images[@]}"; do
    expect_snapshots "$image" all
    expect_clean "$image"
done

# A flush that fails. The image with VM state is the first to lose it, also when
# it is given as a further one.
has_all()
{
    qemu_snap list "$1" | grep -q ' all '
}

# fail_flushes VERDICT COMMAND...: the verdict looks at what is left and adds to
# `changed'; the file `err' is what was said.
fail_flushes()
{
    local verdict=$1 flushes=0
    shift
    changed=0
    restore_all
    while failing_call flush $((flushes + 1)) 5 "$QEMU_SNAP" "$@" 2> err
        [ -s err ]; do
        flushes=$((flushes + 1))
        for image in "${images[@]}"; do
            qemu_snap check -q "$image" || fail "flush $flushes: $image"
        done
        $verdict
        restore_all
    done
    [ $flushes -ge 6 ] || fail "only $flushes flushes"
    [ $changed -ge 6 ] || fail "only $changed images were changed half-way"
}

# expect_told N: how many images have changed is said.
expect_told()
{
    if [ "$1" = 0 ]; then
        ! grep 'of 3 disks' err || fail 'nothing has changed'
    else
        grep -q "; $1 of 3 disks " err || fail "$1 have changed: $(cat err)"
    fi
    changed=$((changed + $1))
}

no_state_without_disks()
{
    local left=0
    for image in "${images[@]}"; do
        has_all "$image" && left=$((left + 1))
    done
    has_all first.qcow2 && [ $left != 3 ] && fail "$left of 3 disks are left"
    expect_told $((3 - left))
}

fail_flushes no_state_without_disks delete -n all first.qcow2 "${with[@]}"
fail_flushes no_state_without_disks delete -n all second.qcow2 \
    --with third.qcow2 --with first.qcow2

# Once more, and all of them have gone back.
again()
{
    local back=0
    for image in "${images[@]}"; do
        went_back "$image" && back=$((back + 1))
    done
    expect_told $back
    qemu_snap apply -n all first.qcow2 "${with[@]}"
    went_back first.qcow2 || fail 'the first image did not go back'
}

fail_flushes again apply -n all first.qcow2 "${with[@]}"
