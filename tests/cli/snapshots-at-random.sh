#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Snapshots made, deleted, applied, renamed and replaced in random order, by
# qemu-snap and, what it can, by qemu-img, with writes in between: each holds
# what it held, nothing leaks.
#
# ROUNDS says how many changes each image sees; SEED repeats a run.

. "$(dirname "$0")/../functions.sh"

rounds=${ROUNDS:-8}
seed=${SEED:-$((10#$(date +%N)))}
echo "SEED=$seed"
RANDOM=$seed

# qemu-io does not compress into a cluster that is in use: no harm done then.
write_something()
{
    local at=$((RANDOM % 31 * 256)) pattern=$((RANDOM % 255 + 1))
    case $((RANDOM % 3)) in
    0) qemu-io -c "write -q -z ${at}k 256k" disk.qcow2 ;;
    1) qemu-io -c "write -q -P $pattern ${at}k 256k" disk.qcow2 ;;
    2) qemu-io -c "write -q -c -P $pattern ${at}k 256k" disk.qcow2 > err 2>&1 ||
        grep -q 'Input/output error' err ;;
    esac
}

# any NAME...
any()
{
    local names=("$@")
    echo "${names[RANDOM % ${#names[@]}]}"
}

forget()
{
    local rest=() other
    for other in "${names[@]}"; do
        [ "$other" = "$1" ] || rest+=("$other")
    done
    names=("${rest[@]}")
}

expect_all()
{
    local name
    expect_clean disk.qcow2
    expect_snapshots disk.qcow2 "${names[*]}"
    qemu-img convert -O raw disk.qcow2 now
    for name in "${names[@]}"; do
        qemu-img convert -l "snapshot.name=$name" -O raw disk.qcow2 kept
        expect_same "disk-$name" kept
    done
}

for options in cluster_size=64k cluster_size=4k,refcount_bits=32 compat=0.10; do
    rm -f disk.qcow2 disk-*
    new_image disk.qcow2 8M $options
    names=()
    for ((round = 0; round < rounds; round++)); do
        write_something
        qemu-img convert -O raw disk.qcow2 now
        tool=$((RANDOM % 2))
        action=$((RANDOM % 6))
        name=s$round
        [ ${#names[@]} = 0 ] || old=$(any "${names[@]}")
        [ ${#names[@]} -gt 0 ] || action=0
        [ ${#names[@]} -lt 4 ] || [ $action -gt 1 ] || action=2
        if [ $action -le 1 ]; then
            if [ $tool = 0 ]; then
                qemu_snap create -n $name disk.qcow2
            else
                qemu-img snapshot -c $name disk.qcow2
            fi
            cp now "disk-$name"
            names+=("$name")
        elif [ $action -le 2 ]; then
            if [ $tool = 0 ]; then
                qemu_snap delete -n "$old" disk.qcow2
            else
                qemu-img snapshot -d "$old" disk.qcow2
            fi
            forget "$old"
        elif [ $action = 3 ]; then
            if [ $tool = 0 ]; then
                qemu_snap apply -n "$old" disk.qcow2
            else
                qemu-img snapshot -a "$old" disk.qcow2
            fi
            cp "disk-$old" now
        elif [ $action = 4 ]; then
            qemu_snap rename -n "$old" --to=$name disk.qcow2
            mv "disk-$old" "disk-$name"
            for i in "${!names[@]}"; do
                [ "${names[i]}" != "$old" ] || names[i]=$name
            done
        else
            qemu_snap create --replace -n "$old" disk.qcow2
            cp now "disk-$old"
            forget "$old"
            names+=("$old")
        fi
        cp now before
        expect_all
        expect_same before now
    done
done
