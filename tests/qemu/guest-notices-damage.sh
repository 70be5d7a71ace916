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

# take_stream FILE: of a moment that is at least one pass later.
take_stream()
{
    local passes
    qemu_hmp source cont
    passes=$(guest_passes source)
    wait_until $PATIENCE guest_has_passes source $((passes + 1)) ||
        fail 'the guest does not count'
    qemu_hmp source stop
    qemu_migrate source "cat > $1"
}

# content_offset STREAM HEX-DIGITS: where the content of the page at that
# address of guest RAM is in the stream; nothing if the page is zero.
content_offset()
{
    local address=$2 at
    at=$(grep -a -b -o -P "\\x00{5}\\x${address:0:2}\\x${address:2:1}0\\x28" \
        "$1" | tr -d '\0') || return 0
    echo $((${at%%:*} + 8))
}

target_is_judged()
{
    grep -q -a '^BAD' target.serial || [ "$(guest_passes target)" -ge 3 ]
}

# guest_notices STREAM ADDRESS: whether the guest finds fault with that page.
guest_notices()
{
    local noticed=0
    guest_start target -incoming "exec:cat $1"
    wait_until $PATIENCE qemu_is_in_state target paused || fail "not loaded"
    qemu_hmp target cont
    wait_until $PATIENCE target_is_judged || fail 'the guest does not count'
    grep -q -a -E "^BAD at 00$2" target.serial || noticed=1
    qemu_quit target
    return $noticed
}

take_stream older
take_stream newer
cp newer wrong
at=$(content_offset wrong 210)
old=$(od -A n -t u1 -j "$at" -N 1 wrong)
printf '%b' "\\x$(printf '%x' $((old ^ 1)))" |
    dd of=wrong bs=1 seek="$at" conv=notrunc status=none
guest_notices wrong 210000 || fail 'a wrong byte goes unnoticed'

# Each page of the live set is zero at times: take those that are not, twice.
# The guest verifies all of it from the first page to the last and then writes
# it anew in that order, so of both ends one page is noticed, but for the moment
# in between: then another stream is taken.
make_stale()
{
    local page from at pages=0
    cp newer stale
    for page in 10{0..7} 1f{8,9} 1f{a..f}; do
        from=$(content_offset older $page)
        at=$(content_offset newer $page)
        if [ -n "$from" ] && [ -n "$at" ]; then
            dd if=older of=stale bs=4096 count=1 skip="$from" seek="$at" \
                iflag=skip_bytes oflag=seek_bytes conv=notrunc status=none
            pages=$((pages + 1))
        fi
    done
    [ $pages -ge 4 ] || fail "only $pages pages to make stale"
}

attempts=1
make_stale
until guest_notices stale '1[0f][0-9a-f]000'; do
    [ $attempts -lt 3 ] || fail 'stale pages go unnoticed'
    attempts=$((attempts + 1))
    take_stream newer
    make_stale
done
qemu_quit source
