#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Whatever happens to images, by qemu-snap, by a guest, by qemu-img and by a
# machine's own savevm, in whatever order: each snapshot's disk and VM state
# are bit for bit what they were, and no check finds anything.
#
# ROUNDS says how many images there are, each with CHANGES of its own; past one
# of each shape they live longer instead. SEED repeats a run; SHAPE takes
# only the shapes that match it.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/random-operations.sh"

rounds=${ROUNDS:-5}
seed=${SEED:-$((10#$(date +%N)))}
echo "SEED=$seed"
RANDOM=$seed

CHANGES=5

for i in "${!shapes[@]}"; do
    [[ ${shapes[i]} =~ ${SHAPE:-} ]] || unset "shapes[i]"
done
shapes=("${shapes[@]}")

# In random order.
for ((i = ${#shapes[@]}; i > 1; i--)); do
    random $i
    shape=${shapes[i - 1]}
    shapes[i - 1]=${shapes[drawn]}
    shapes[drawn]=$shape
done

for shape in "${shapes[@]::rounds}"; do
    # shellcheck disable=SC2086
    begin_life $shape
    expect_all
    for ((i = 0; i < CHANGES * (1 + rounds / ${#shapes[@]}); i++)); do
        change_image
        expect_all
    done
    expect_all_apply
done
echo "$operations changes, $refusals of them refused"
