#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What `make demo' shows: a running guest is saved through a pipe, the snapshot
# is looked at, and a second QEMU carries on with it. Everything on the screen
# is real output of this run; what makes a test fail ends the demo too.

. "$(dirname "$0")/functions.sh"
PATH=$(dirname "$QEMU_SNAP"):$PATH

say()
{
    printf '\n== %s\n' "$*"
}

# Prints a command as a user would type it, then runs it.
show()
{
    echo "\$ $*"
    "$@"
}

# last_words NAME COUNT
last_words()
{
    grep -a -E '^(tick|pass) [0-9]{8}$' "$1.serial" | tail -n "$2" |
        sed 's/^/    /'
}

say 'A guest boots. It fills 64 MiB of its memory with random data, checks them'
echo '   over and over, rewrites another 1 MiB all the time, and counts.'
new_guest 64 128
echo "\$ $(basename "$QEMU") -m 128 -drive file=guest.img,if=floppy ..."
guest_start first
guest_proves_itself first
last_words first 3

say 'The running guest is saved through a pipe into a new image.'
save='qemu-snap save --create -n demo states.qcow2'
echo "(qemu) migrate \"exec:$save\""
start=${EPOCHREALTIME/.}
qemu_migrate first "$save"
echo "   done in $(((${EPOCHREALTIME/.} - start) / 1000)) ms; the last words:"
qemu_quit first
last_words first 2

say 'What is in the image now?'
show qemu-snap list states.qcow2
show qemu-snap inspect -n demo states.qcow2 | head -n 17
echo '    ...'
show qemu-snap verify states.qcow2
show qemu-img check states.qcow2

say 'A second QEMU takes the snapshot. First words:'
load='qemu-snap load -n demo states.qcow2'
echo "\$ $(basename "$QEMU") -m 128 ... -incoming \"exec:$load\""
guest_start second -incoming "exec:$load"
guest_proves_itself second
guest_carried_on first second
grep -a -E '^(tick|pass) [0-9]{8}$' second.serial | head -n 3 | sed 's/^/    /'
echo '    ...'
last_words second 1
qemu_quit second

say "Not one tick is missing, and $(guest_passes second) passes over the" \
    'memory found every byte.'
