#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What the shell offers: commands, the options of each, what an option takes,
# files, and the names of snapshots, in words that the shell reads as they are.
# What bash makes of it is tried in completion-in-bash.sh.

. "$(dirname "$0")/../functions.sh"
. "$TOP/completion/qemu-snap"

# complete_line WORD...: the last word is the one to be completed. Bash makes
# words of their own of = and :.
complete_line()
{
    local word
    COMP_LINE=qemu-snap
    COMP_WORDS=(qemu-snap)
    for word; do
        COMP_LINE+=" $word"
        while [[ $word =~ ^([^=:]+)([=:].*)$ || $word =~ ^([=:])(.+)$ ]]; do
            COMP_WORDS+=("${BASH_REMATCH[1]}")
            word=${BASH_REMATCH[2]}
        done
        COMP_WORDS+=("$word")
    done
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMP_POINT=${#COMP_LINE}
    COMPREPLY=()
    _qemu_snap "$QEMU_SNAP"
}

# offers "EXPECTED..." WORD...
offers()
{
    local expected=$1
    shift
    complete_line "$@"
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
    complete_line "$@"
    [[ " ${COMPREPLY[*]} " == *" $wanted "* ]]
}

mkdir directory
new_image disk.qcow2
for name in one 'two words' 'a"b\c' ünlaut date:12:30 'date:12:45 h' eq=al \
    who@here; do
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

offers 'writeback' load --cache=w
offers 'io_uring native threads' load --aio=
offers 'threads' load --aio th
offers 'all leaks' check -r ''
offers 'human json' list --output=
offers '' save --depth=
offers '' save --wait-lock=
offers 'directory disk.qcow2' save --wait-lock d
offers 'directory' save --spool-dir=d
offers 'directory disk.qcow2' save --result=d
offers 'directory disk.qcow2' list d
offers '' list nothing

offers 'one' load disk.qcow2 -n o
offers 'one' load disk.qcow2 --name=o
offers '2' load disk.qcow2 --id=2
offers 'two\ words' load disk.qcow2 -n two
offers 'two\ words' load disk.qcow2 -n 'two\ w'
offers 'two words' load disk.qcow2 -n '"two w'
offers 'two words' load disk.qcow2 -n "'t"
offers 'a\"b\\c' load disk.qcow2 -n '"a'
offers 'a\"b\\c' load disk.qcow2 -n a
offers 'one' snapshot disk.qcow2 -d o
! among 'line' load disk.qcow2 -n '' || fail 'half a name'
among one load disk.qcow2 -n '' || fail 'no name'

# Bash replaces what is behind the last character that makes a new word.
offers 'date:12:30 date:12:45\ h' load disk.qcow2 -n da
offers '30 45\ h' load disk.qcow2 -n date:12:
offers '45\ h' load disk.qcow2 --name=date:12:4
offers '45\ h' load disk.qcow2 -n 'date:12:45\ '
offers 'date:12:45 h' load disk.qcow2 -n '"date:12:45 '
offers 'al' load disk.qcow2 --name=eq=
offers '@here' load disk.qcow2 -n who@
cp disk.qcow2 with:colon.qcow2
offers 'colon.qcow2' list with:
offers '30 45\ h' load with:colon.qcow2 -n date:12:
offers 'one' load './with\:colon.qcow2' -n o
offers 'one' load '"disk.qcow2"' -n o
rm with:colon.qcow2

# What is behind the cursor does not count.
complete_line load disk.qcow2 --name=date:12
COMP_POINT=$((COMP_POINT - 5))
COMP_CWORD=$((COMP_CWORD - 2))
COMPREPLY=()
_qemu_snap "$QEMU_SNAP"
[ "${#COMPREPLY[@]}" = 2 ] || fail "offered: ${COMPREPLY[*]}"

# A new name is not one of the old ones.
offers '' save disk.qcow2 -n o
offers 'one' save --replace disk.qcow2 -n o
offers '' rename disk.qcow2 -n one --to=o

# Not what the program would refuse, so that nobody is led astray.
cp disk.qcow2 broken.qcow2
poke broken.qcow2 0 00
offers '' load broken.qcow2 -n o
