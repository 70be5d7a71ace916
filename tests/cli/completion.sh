#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What the shell offers: commands, the options of each, what an option takes,
# files, and the names of snapshots, in words that the shell reads as they are.

. "$(dirname "$0")/../functions.sh"
. "$TOP/completion/qemu-snap"

# offers "EXPECTED..." WORD...: the last word is the one to be completed, and
# bash makes a word of each =.
offers()
{
    local expected=$1
    shift
    COMP_WORDS=(qemu-snap "$@")
    COMP_CWORD=$#
    COMPREPLY=()
    _qemu_snap "$QEMU_SNAP"
    # In the order in which bash shows them.
    mapfile -t COMPREPLY < <(printf '%s\n' "${COMPREPLY[@]}" | sort)
    [ "${COMPREPLY[*]}" = "$expected" ] ||
        fail "'$*' is offered '${COMPREPLY[*]}', not '$expected'"
}

# among WANTED WORD...: whether it is one of many.
among()
{
    local wanted=$1
    shift
    COMP_WORDS=(qemu-snap "$@")
    COMP_CWORD=$#
    COMPREPLY=()
    _qemu_snap "$QEMU_SNAP"
    [[ " ${COMPREPLY[*]} " == *" $wanted "* ]]
}

mkdir directory
new_image disk.qcow2
for name in one 'two words' 'a"b\c' ünlaut; do
    qemu-img snapshot -c "$name" disk.qcow2
done
qemu-img snapshot -c $'line\nend' disk.qcow2

offers 'save snapshot' s
offers 'list load' l
offers 'list' li
among inspect '' || fail 'no commands'
offers '--repair=' check --re
offers '--force-share' list --fo
! among --repair= load -- || fail 'load is offered --repair'
among --wait-lock save -- || fail 'save is not offered --wait-lock'
among -a snapshot - || fail 'snapshot is not offered -a'
! among --depth= snapshot - || fail 'snapshot is offered --depth'

offers 'writeback' load --cache = w
offers 'io_uring native threads' load --aio =
offers 'threads' load --aio th
offers 'all leaks' check -r ''
offers 'human json' list --output = ''
offers '' save --depth = ''
offers '' save --wait-lock = ''
offers 'directory disk.qcow2' save --wait-lock d
offers 'directory' save --spool-dir = d
offers 'directory disk.qcow2' save --result = d
offers 'directory disk.qcow2' list d
offers '' list nothing

offers 'one' load disk.qcow2 -n o
offers 'one' load disk.qcow2 --name = o
offers '2' load disk.qcow2 --id = 2
offers 'two\ words' load disk.qcow2 -n two
offers 'two\ words' load disk.qcow2 -n 'two\ w'
offers 'a\"b\\c' load disk.qcow2 -n a
offers 'one' snapshot disk.qcow2 -d o
! among 'line' load disk.qcow2 -n '' || fail 'half a name'
among one load disk.qcow2 -n '' || fail 'no name'

# A new name is not one of the old ones.
offers '' save disk.qcow2 -n o
offers 'one' save --replace disk.qcow2 -n o
offers '' rename disk.qcow2 -n one --to = o

# Not what the program would refuse, so that nobody is led astray.
cp disk.qcow2 broken.qcow2
poke broken.qcow2 0 00
offers '' load broken.qcow2 -n o
