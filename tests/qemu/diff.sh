#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `diff' finds exactly the pages that differ between two machines that never run,
# whose RAM somebody has written to, as their own dumps show it.

. "$(dirname "$0")/../functions.sh"

has_answers()
{
    [ "$(grep -c '^OK' answers)" = "$(wc -l < commands)" ]
}

# save_machine NAME: after commands of QEMU's test protocol, lines of the
# standard input. What it holds then goes to NAME.ram as well.
save_machine()
{
    cat > commands
    : > answers
    qemu_start "$1" -m 16 -S -qtest-log /dev/null \
        -qtest "unix:$1.qtest,server=on,wait=off"
    wait_until "$PATIENCE" test -S "$1.qtest"
    socat -t "$PATIENCE" - "UNIX-CONNECT:$1.qtest" < commands > answers &
    wait_until "$PATIENCE" has_answers || fail "$1: $(cat answers)"
    kill $! 2> /dev/null || true
    qemu_migrate "$1" "$SNAP_COMMAND save -n $1 states.qcow2"
    qemu_hmp "$1" "pmemsave 0 0x1000000 $1.ram" > hmp
    [ ! -s hmp ] || fail "$1: $(cat hmp)"
    qemu_quit "$1"
}

new_image states.qcow2
save_machine one << END
memset 0x100000 0x10000 0xaa
memset 0x200000 0x5000 0x33
END
save_machine two << END
memset 0x100000 0x10000 0xaa
write 0x105003 0x1 0x01
memset 0x2fffff 0x1002 0x44
memset 0xffffff 0x1 0x1
END

expect_status 1 qemu_snap diff -a one -b two --output=json states.qcow2
jq -e '.["changed-pages"] == 1 and .["only-in-a-pages"] == 5 and
    .["only-in-b-pages"] == 4 and .["different-bytes"] == 40960' out \
    > /dev/null || fail "$(cat out)"
expect_status 1 qemu_snap diff -a one -b two --ranges states.qcow2
{ cmp -l one.ram two.ram || true; } | awk '
    { page = int(($1 - 1) / 4096) }
    count && page > first + count { print_range() }
    !count { first = page }
    { count = page - first + 1 }
    function print_range() {
        printf "pc.ram\t%d\t%d\n", first * 4096, count * 4096
        count = 0
    }
    END { print_range() }' > expected
expect_same expected out
[ "$(wc -l < out)" = 4 ] || fail "$(cat out)"
