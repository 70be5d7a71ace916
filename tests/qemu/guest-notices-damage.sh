#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The other tests trust the guest to notice. This one proves that it does: a
# stream with one wrong byte in the random data, and a stream with one page of
# the live set that is older than the rest.

. "$(dirname "$0")/../functions.sh"

new_guest 8 16
guest_start source
for stream in older newer; do
    passes=$(guest_passes source)
    wait_until $PATIENCE guest_has_passes source $((passes + 1)) ||
        fail 'the guest does not count'
    qemu_hmp source stop
    qemu_migrate source "cat > $stream"
    qemu_hmp source cont
done
qemu_quit source

# content_offset STREAM HEX-DIGITS: where the content of the page at that
# address of guest RAM is in the stream; nothing if the page is zero.
content_offset()
{
    local address=$2 at
    at=$(grep -a -b -o -P "\\x00{5}\\x${address:0:2}\\x${address:2:1}0\\x28" \
        "$1" | tr -d '\0') || return 0
    echo $((${at%%:*} + 8))
}

# expect_bad STREAM ADDRESS
expect_bad()
{
    guest_start target -incoming "exec:cat $1"
    wait_until $PATIENCE qemu_is_in_state target paused || fail "not loaded"
    qemu_hmp target cont
    qemu_wait_serial target "^BAD at 00$2" $PATIENCE
    qemu_quit target
}

cp newer wrong
at=$(content_offset wrong 210)
old=$(od -A n -t u1 -j "$at" -N 1 wrong)
printf '%b' "\\x$(printf '%x' $((old ^ 1)))" |
    dd of=wrong bs=1 seek="$at" conv=notrunc status=none
expect_bad wrong 210000

# Each page of the live set is zero at times: take those that are not, twice.
# The guest may write one anew before it looks at it, but hardly all.
cp newer stale
stale=0
for page in 10{0..9} 10{a..f}; do
    from=$(content_offset older $page)
    at=$(content_offset newer $page)
    if [ -n "$from" ] && [ -n "$at" ]; then
        dd if=older of=stale bs=4096 count=1 skip="$from" seek="$at" \
            iflag=skip_bytes oflag=seek_bytes conv=notrunc status=none
        stale=$((stale + 1))
    fi
done
[ $stale -ge 2 ] || fail "only $stale pages to make stale"
expect_bad stale '10[0-9a-f]000'
