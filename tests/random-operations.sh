# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Sourced by tests that change images at random: what can happen to an image,
# see random-life.sh for what is expected then.

# shellcheck shell=bash disable=SC2154
. "$TOP/tests/random-life.sh"

# How often each is drawn.
changes=(write write write write write save save replace create create recreate
    delete delete apply apply apply rename gc savevm savevm_again loadvm
    loadvm_savevm resize resize repair)

# any_old: leaves the name of one of the snapshots in `old'.
any_old()
{
    choose "${names[@]}"
    old=$chosen
}

# any_old_of KIND: whether there is one with such VM state.
any_old_of()
{
    local name found=()
    for name in "${names[@]}"; do
        [ "${kind[$name]}" != "$1" ] || found+=("$name")
    done
    [ ${#found[@]} -gt 0 ] || return 1
    choose "${found[@]}"
    old=$chosen
}

# QEMU may use the image of this shape for a machine.
is_for_machines()
{
    is_for_qemu && ! has_bitmaps
}

# by_some_tool LETTER VERB NAME: the same by one of three.
by_some_tool()
{
    local letter=$1 verb=$2 name=$3
    choose snap snapshot qemu-img
    if [ $chosen = qemu-img ] && is_for_qemu; then
        say "qemu-img snapshot -$letter $name"
        attempt qemu-img snapshot "-$letter" "$name" disk.qcow2
    elif [ $chosen = snap ]; then
        random 2
        set -- "$verb" -n "$name"
        [ $drawn = 0 ] || set -- "$@" --no-discard
        say "$*"
        attempt qemu_snap "$@" disk.qcow2
    else
        say "snapshot -$letter $name"
        attempt qemu_snap snapshot "-$letter" "$name" disk.qcow2
    fi
}

# ---------------------------------------------------------------------------
# The guest

# Where there is something to write to: position and length in sectors.
draw_range()
{
    local sectors=$((size / 512)) align most
    choose 1 8 128
    align=$chosen
    random $sectors
    at=$((drawn / align * align))
    random 512
    most=$((sectors - at))
    count=$((drawn + 1 < most ? drawn + 1 : most))
}

# Compressed are whole clusters, and none that are in use.
draw_clusters()
{
    local clusters=$((size / cluster))
    [ $clusters -gt 0 ] || return 1
    random $clusters
    at=$((drawn * cluster / 512))
    random $((1 + 200000 / cluster))
    count=$((drawn + 1 < clusters - at * 512 / cluster ?
        drawn + 1 : clusters - at * 512 / cluster))
    count=$((count * cluster / 512))
}

change_write()
{
    [ "$size" -gt 0 ] || return 0
    local pattern range
    draw_range
    random 255
    pattern=$((drawn + 1))
    choose write write write zero unmap discard compress
    case $features in
    *refcount_bits=[48]*) [ $shape = compressed-narrow ] || chosen='write' ;;
    esac
    if [ $chosen = compress ]; then
        draw_clusters || return 0
    fi
    range="$((at * 512)) $((count * 512))"
    case $chosen in
    write) set -- "write -q -P $pattern $range" ;;
    zero) set -- "write -q -z $range" ;;
    unmap) set -- "write -q -z -u $range" ;;
    discard) set -- "discard -q $range" ;;
    compress) set -- "write -q -c -P $pattern $range" ;;
    esac
    say "$1"
    qemu-io -f qcow2 -c "$1" disk.qcow2 > said 2>&1 ||
        { [ "$chosen" = compress ] && grep -q 'Input/output error' said; } ||
        fail "$shape: $1: $(cat said)"
    read_disk disk.qcow2 now
}

change_resize()
{
    local new options=()
    # What QEMU does not do to version 2.
    case $shape,$features in
    over-*,*compat=0.10*) return 0 ;;
    *compat=0.10*) [ ${#names[@]} = 0 ] || return 0 ;;
    esac
    random 16384
    # Both are multiples of that.
    # shellcheck disable=SC2017
    new=$((max_size / 16384 * drawn))
    before_qemu_resizes
    say "resize to $new"
    [ $new -ge "$size" ] || options=(--shrink)
    attempt qemu-img resize -q -f qcow2 "${options[@]}" disk.qcow2 $new ||
        return 0
    truncate -s $new now
    [ $new -le "$size" ] || keep_tail $new
    size=$new
}

# Where a disk has shrunk and grows again, QEMU lets the rest of what was its
# last cluster come back; all else is zeros.
keep_tail()
{
    local end=$(((size + cluster - 1) / cluster * cluster))
    [ $end -lt "$1" ] || end=$1
    read_disk disk.qcow2 found
    dd if=found of=now bs=512 skip=$((size / 512)) seek=$((size / 512)) \
        count=$(((end - size) / 512)) conv=notrunc status=none
}

# ---------------------------------------------------------------------------
# qemu-snap, and what `qemu-img snapshot' can do as well

# save_stream NAME [OPTION]: by a pipe, which is what QEMU gives, or a file.
save_stream()
{
    new_stream
    set -- "${stream_options[@]}" -n "$@" disk.qcow2
    choose pipe file
    say "save $* < $chosen of $(stat -L -c %s stream) bytes"
    if [ $chosen = file ]; then
        attempt qemu_snap save "$@" < stream
    else
        attempt qemu_snap save "$@" < <(exec cat stream)
    fi
}

change_save()
{
    save_stream "$name" || return 0
    remember "$name" $stream_kind
}

change_replace()
{
    any_old
    save_stream "$old" --replace || return 0
    forget "$old"
    remember "$old" $stream_kind
}

change_create()
{
    by_some_tool c create "$name" || return 0
    remember "$name" none
}

change_recreate()
{
    any_old
    say "create --replace $old"
    attempt qemu_snap create --replace -n "$old" disk.qcow2 || return 0
    forget "$old"
    remember "$old" none
}

change_delete()
{
    any_old
    random 3
    if [ $drawn = 0 ] && is_for_machines; then
        say "delvm $old"
        machine "delvm $old"
    else
        by_some_tool d delete "$old" || return 0
    fi
    forget "$old"
}

change_apply()
{
    any_old
    random 3
    if [ $drawn = 0 ] && [ "${kind[$old]}" != none ] &&
        [ "${length[$old]}" = "$size" ]; then
        say "load --apply $old"
        attempt load_and_apply "$old" || return 0
        expect_same "state-$old" loaded
    else
        [ "${length[$old]}" = "$size" ] || before_qemu_resizes
        by_some_tool a apply "$old" || return 0
    fi
    went_back_to "$old"
}

load_and_apply()
{
    qemu_snap load --raw --apply -n "$1" disk.qcow2 > loaded
}

change_rename()
{
    local i
    any_old
    say "rename $old to $name"
    attempt qemu_snap rename -n "$old" --to="$name" disk.qcow2 || return 0
    for i in "${!names[@]}"; do
        [ "${names[i]}" != "$old" ] || names[i]=$name
    done
    kind[$name]=${kind[$old]}
    length[$name]=${length[$old]}
    row[$name]=${row[$old]}
    mv "disk-$old" "disk-$name"
    [ "${kind[$name]}" = none ] || mv "state-$old" "state-$name"
    [ "${kind[$name]}" != machine ] || mv "memory-$old" "memory-$name"
}

change_gc()
{
    say 'gc'
    attempt qemu_snap gc disk.qcow2 || return 0
    ! qemu_snap inspect disk.qcow2 | grep 'stale VM state' ||
        fail "$shape: gc leaves VM state"
}

change_repair()
{
    say 'check -r all'
    qemu_snap check -q -r all disk.qcow2
}

# ---------------------------------------------------------------------------
# The machine's own

change_savevm()
{
    is_for_machines || return 0
    say "savevm $name"
    machine "savevm $name"
    remember_machine "$name"
}

# The monitor's savevm deletes what has the name.
change_savevm_again()
{
    is_for_machines || return 0
    any_old
    say "savevm $old once more"
    machine "savevm $old"
    forget "$old"
    remember_machine "$old"
}

# From now on it is what was read right after it was made.
remember_machine()
{
    rm -f stream
    qemu_snap load -n "$1" disk.qcow2 > stream
    remember "$1" machine
}

change_loadvm()
{
    load_by_machine || return 0
}

# A machine saves what it has just loaded.
change_loadvm_savevm()
{
    load_by_machine "savevm $name" || return 0
    remember_machine "$name"
}

# load_by_machine COMMAND...: the rest is for the same machine. What it has
# loaded is not only known to be the same stream, but understood.
load_by_machine()
{
    is_for_machines && any_old_of machine || return 1
    [ "${length[$old]}" = "$size" ] || before_qemu_resizes
    say "loadvm $old" "$@"
    machine "loadvm $old" "pmemsave 0 $((MACHINE_MIB << 20)) memory.new" "$@"
    expect_same "memory-$old" memory.new
    mv memory.new memory
    went_back_to "$old"
}

# ---------------------------------------------------------------------------

# Something happens to the image. What is not possible is drawn anew.
change_image()
{
    local before=$operations
    while [ $operations = $before ]; do
        name=s$((operations + 1))
        choose "${changes[@]}"
        case ${#names[@]},$chosen in
        0,replace | 0,recreate | 0,delete | 0,apply | 0,rename) continue ;;
        0,savevm_again) continue ;;
        "$MAX_SNAPSHOTS,save" | "$MAX_SNAPSHOTS,create") chosen=delete ;;
        "$MAX_SNAPSHOTS,savevm" | "$MAX_SNAPSHOTS,loadvm_savevm")
            chosen=delete
            ;;
        esac
        change_$chosen
    done
}
