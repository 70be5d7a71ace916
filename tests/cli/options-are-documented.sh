#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The help, the manual and the completion know the same options and commands.

. "$(dirname "$0")/../functions.sh"
. "$TOP/completion/qemu-snap"

# The long options of a help, at the beginning of a line.
options_of()
{
    sed -n -E -e 's/^ +(-[A-Za-z], )?(--[a-z][-a-z0-9]*).*/\2/p' | sort -u
}

# What the shell offers of `qemu-snap COMMAND --', without the signs behind.
offered_options()
{
    COMP_WORDS=(qemu-snap "$1" --)
    COMP_CWORD=2
    COMP_LINE="qemu-snap $1 --"
    COMP_POINT=${#COMP_LINE}
    _qemu_snap "$QEMU_SNAP"
    printf '%s\n' "${COMPREPLY[@]}" | sed -e 's/=$//' | sort -u
}

expect_status 0 qemu_snap --help
[ ! -s err ] || fail 'help goes to standard error'
cp out help
[ "$(wc -L < help)" -le 90 ] || fail 'long lines in the help'
sed -n -e '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' help > commands
[ "$(wc -l < commands)" -ge 10 ] || fail "few commands: $(cat commands)"

# Each command's own help is part of the whole, and what is offered is that.
while read -r command; do
    expect_status 0 qemu_snap "$command" --help
    cp out "$command.help"
    options_of < "$command.help" > "$command.options"
    [ -s "$command.options" ] || fail "no options of $command"
    offered_options "$command" | diff "$command.options" - >&2 ||
        fail "$command: options differ (< help, > completion)"
    for heading in Cm 'It Cm'; do
        grep -q "^\\.$heading $command\$" "$TOP/docs/qemu-snap.1" ||
            fail "$command is not in the manual (.$heading)"
    done
done < commands
sort -u ./*.options > of-commands
sort -u snapshot.options <(options_of < help) | diff of-commands - >&2 ||
    fail 'options differ (< of the commands, > of the whole)'

# In the mdoc language of manuals, `Fl -size' is the option --size.
grep -o -E 'Fl -[a-z][-a-z0-9]*' "$TOP/docs/qemu-snap.1" | sed -e 's/Fl -/--/' |
    sort -u | diff of-commands - >&2 || fail 'options differ (< help, > manual)'

# Misuse prints to standard error and fails. (A zero byte of `load' is for an
# incoming QEMU.)
for misuse in '' 'frobnicate' '--nosuch list' 'list' 'list a b' 'save -s' \
    '--cache=fast list x' '--aio=fast list x' '--depth=0 load x' \
    '--depth=x load x' '--output=yaml list x' '-r some check x' \
    '-r all list x'; do
    # The arguments are words.
    # shellcheck disable=SC2086
    expect_status 1 qemu_snap $misuse
    [ -s err ] || fail "no word about '$misuse'"
    [ "$(wc -c < out)" -le 1 ] || fail "output for '$misuse'"
done

expect_status 0 qemu_snap --version
grep -q '^qemu-snap' out || fail "version: $(cat out)"
