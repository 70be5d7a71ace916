# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The cases of bench.sh that look inside a stored stream, in the form of those
# in stream-cases.sh. What reads all of it is measured beside what reads the
# same bytes and does nothing with them.

# Options are words.
# shellcheck shell=bash disable=SC2002,SC2086,SC2034,SC2154

# --- save-indexed: what following the stream, the index and checksums cost

prepare_save_indexed()
{
    need_stream
}

run_save_indexed()
{
    local more=
    [ "$1" = ours ] || more=$1
    rm -f saved
    sync
    cat stream | measured "$QEMU_SNAP" save $options $more --create -n bench \
        saved
    cat report
    rm saved
}

# --- scan, verify: all of a stream from the cold disk

# The same stream without an index, so that it has to be read.
need_bare_stream()
{
    need_stored_stream
    [ -e bare.qcow2 ] || "$QEMU_SNAP" save --create --cache=none --no-index \
        -n bench bare.qcow2 < stream
}

prepare_scan()
{
    need_bare_stream
}

prepare_verify()
{
    need_stored_stream
}

read_all()
{
    forget plain
    measured cat plain > /dev/null
}

run_scan()
{
    case $1 in
    ours)
        forget bare.qcow2
        measured "$QEMU_SNAP" inspect $options -n bench bare.qcow2 > /dev/null
        ;;
    cat) read_all ;;
    esac
    cat report
}

run_verify()
{
    case $1 in
    ours)
        forget stored.qcow2
        measured "$QEMU_SNAP" verify $options -n bench stored.qcow2 > /dev/null
        ;;
    cat) read_all ;;
    esac
    cat report
}

# --- inspect-indexed: the same question as scan, to an index

prepare_inspect_indexed()
{
    need_stored_stream
    bytes=
}

run_inspect_indexed()
{
    forget stored.qcow2
    case $1 in
    ours) measured "$QEMU_SNAP" inspect -n bench stored.qcow2 > /dev/null ;;
    qemu-img) measured qemu-img info stored.qcow2 > /dev/null ;;
    esac
    cat report
}

# --- extract-raw: memory into a file

prepare_extract_raw()
{
    need_stored_stream
}

run_extract_raw()
{
    rm -f memory
    sync
    case $1 in
    ours)
        forget stored.qcow2
        measured "$QEMU_SNAP" extract $options -n bench stored.qcow2 memory
        ;;
    cp)
        forget plain
        measured cp --reflink=never plain memory
        ;;
    dd)
        forget plain
        measured dd bs=1M iflag=direct oflag=direct if=plain of=memory \
            status=none
        ;;
    esac
    cat report
    rm -f memory
}
