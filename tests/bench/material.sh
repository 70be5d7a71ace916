# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What the cases of bench.sh work with, made when the first case needs it, and
# how things are timed. The variables come from the script that includes this
# one, or go there.

# shellcheck shell=bash disable=SC2034,SC2154

# measured COMMAND...: its seconds, processor time and peak memory go to the
# file `report'.
measured()
{
    "$programs/measure" report "$@"
}

# timed COMMAND...: prints its seconds as an object; its output is lost. For
# shell functions, which are too slow for anything short.
timed()
{
    local start=${EPOCHREALTIME/.}
    "$@" > /dev/null
    jq -n -c --argjson us $((${EPOCHREALTIME/.} - start)) \
        '{ seconds: ($us / 1e6) }'
}

# The disk, not the page cache, answers for this file from now on. Only what
# has been written back can be dropped.
forget()
{
    sync
    dd if="$1" iflag=nocache count=0 status=none
}

# The page cache answers.
remember()
{
    cat "$1" > /dev/null
}

# A stopped guest, full of random data.
need_guest()
{
    [ -z "${qemu_pid[source]:-}" ] || return 0
    new_guest "$size" $((size + 16))
    guest_start source
    qemu_wait_serial source '^ready' "$PATIENCE"
    qemu_hmp source stop
    qemu_qmp source migrate-set-parameters '{ "max-bandwidth": 0 }' > /dev/null
}

# Its stream, in the file `stream' and the page cache.
need_stream()
{
    if [ ! -e stream ]; then
        need_guest
        qemu_migrate source 'cat > stream'
    fi
    bytes=$(stat -c %s stream)
    remember stream
}

# The same in an image, and in a plain file that was written in the same way, so
# that the two lie equally well on the disk.
need_stored_stream()
{
    need_stream
    if [ ! -e stored.qcow2 ]; then
        "$QEMU_SNAP" save --create --cache=none -n bench stored.qcow2 < stream
        "$QEMU_SNAP" load stored.qcow2 | cmp - stream
        # It wants a pipe.
        # shellcheck disable=SC2002
        cat stream | "$programs/reference-ring" plain
        cmp plain stream
    fi
}
