# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Sourced by tests that want to know whether an image of some shape can live:
# everything is done to it that qemu-snap can do, and after each step it holds
# what it should, as QEMU's tools see it.

# shellcheck shell=bash

# VM state that QEMU's tools can verify: position and content in sectors.
vmstate_half=75264
{
    head -c $vmstate_half /dev/zero | tr '\0' '\241'
    head -c $vmstate_half /dev/zero | tr '\0' '\262'
} > vmstate

# What has a backing file must do without: nobody needs to open it.
without_backing()
{
    local status=0
    [ ! -e base.qcow2 ] || mv base.qcow2 hidden.qcow2
    qemu_snap "$@" || status=$?
    [ ! -e hidden.qcow2 ] || mv hidden.qcow2 base.qcow2
    return $status
}

# expect_io IMAGE WHAT COMMAND...
expect_io()
{
    local image=$1 what=$2 command arguments=()
    shift 2
    for command; do
        arguments+=(-c "$command")
    done
    [ $# = 0 ] || qemu-io -f qcow2 "${arguments[@]}" "$image" > io.log 2>&1 ||
        fail "$what: $(cat io.log)"
}

expect_vmstate()
{
    without_backing load --raw -n "$2" "$1" > loaded
    expect_same vmstate loaded
}

# live_through IMAGE OFFSET: of a disk in which at least 512 KiB follow OFFSET,
# a multiple of 512 KiB; without OFFSET, the disk is not looked at.
live_through()
{
    local image=$1 at=${2:-} write=() then=() kept=() now=()
    if [ -n "$at" ]; then
        write=("write -P 1 $at 70k" "write -P 2 $((at + 300 * 1024)) 3k"
            "write -z $((at + 200 * 1024)) 20k")
        then=("write -P 3 $((at + 1024)) 20k" "discard $((at + 301 * 1024)) 2k"
            "write -P 4 $((at + 200 * 1024)) 130k")
        kept=("read -P 1 $at 70k" "read -P 0 $((at + 200 * 1024)) 20k"
            "read -P 2 $((at + 300 * 1024)) 3k")
        now=("read -P 1 $at 1k" "read -P 3 $((at + 1024)) 20k"
            "read -P 4 $((at + 200 * 1024)) 130k")
    fi
    expect_io "$image" 'first writes' "${write[@]}"
    without_backing save -q --raw -n first "$image" < vmstate
    expect_vmstate "$image" first
    expect_io "$image" 'later writes' "${then[@]}"
    without_backing create -q -n second "$image"
    without_backing rename -n second --to=third "$image"
    expect_clean "$image"
    without_backing apply -n first "$image"
    expect_io "$image" "$image: first applied" "${kept[@]}"
    without_backing apply -n third "$image"
    expect_io "$image" "$image: third applied" "${now[@]}"
    without_backing save -q --raw --replace -n third "$image" < vmstate
    without_backing delete -n first "$image"
    expect_clean "$image"

    # What QEMU finds when it loads the snapshot, and leaves behind.
    qemu-img snapshot -a third "$image"
    expect_io "$image" "$image: VM state" "read -b -P 161 0 $vmstate_half" \
        "read -b -P 178 $vmstate_half $vmstate_half"
    without_backing gc "$image"
    expect_vmstate "$image" third
    expect_clean "$image"
    without_backing delete -n third "$image"
    expect_io "$image" "$image: at the end" "${now[@]}"
    without_backing check "$image" > check.log ||
        fail "$image: $(cat check.log)"
}
