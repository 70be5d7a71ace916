# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The cases of bench.sh that move a guest's stream between a pipe and the disk.
# Per case: what it needs once, and one run of the named contender. A run
# starts with new files and a cold cache, or a warm one where the case is about
# that, which does not count; it prints its result as an object.

# A pipe is what is measured, not a file (SC2002), and options are words.
# shellcheck shell=bash disable=SC2002,SC2086,SC2034,SC2154

# --- save-stream, save-ring: from a pipe to a new file

prepare_save_stream()
{
    need_stream
}

prepare_save_ring()
{
    need_stream
}

run_save_stream()
{
    rm -f saved
    sync
    case $1 in
    ours)
        cat stream | measured "$QEMU_SNAP" save $options --create -n bench \
            saved
        ;;
    dd)
        cat stream | measured dd bs=1M iflag=fullblock oflag=direct of=saved \
            status=none
        ;;
    ring)
        cat stream | measured "$programs/reference-ring" saved
        ;;
    esac
    cat report
    rm saved
}

run_save_ring()
{
    run_save_stream "$1"
}

# --- load-stream: from the cold disk to a pipe

prepare_load_stream()
{
    need_stored_stream
}

load_to_pipe()
{
    measured "$QEMU_SNAP" load "$@" stored.qcow2 | cat > /dev/null
}

run_load_stream()
{
    forget stored.qcow2
    forget plain
    case $1 in
    ours) load_to_pipe $options ;;
    dd) measured dd bs=1M iflag=direct if=plain status=none | cat > /dev/null ;;
    esac
    cat report
}

# --- load-fio: the same; fio reads and throws away

prepare_load_fio()
{
    command -v fio > /dev/null || fail 'fio is missing: run make bench-deps'
    need_stored_stream
}

# What fio itself measured: it takes long to start and to end.
run_fio()
{
    fio --name=read --filename=plain --rw=read --bs=1M --iodepth=8 \
        --direct=1 --ioengine=libaio --output-format=json |
        jq '.jobs[0].read | { seconds: ([.runtime, 1] | max / 1000) }'
}

run_load_fio()
{
    forget plain
    case $1 in
    ours) run_load_stream ours ;;
    fio) run_fio ;;
    esac
}

# --- load-cached: from the page cache, without any option

prepare_load_cached()
{
    need_stored_stream
    used=
}

run_load_cached()
{
    remember stored.qcow2
    remember plain
    case $1 in
    ours) load_to_pipe ;;
    cat) measured cat plain | cat > /dev/null ;;
    esac
    cat report
}

# --- load-cold-automatic, load-half-cached: is the choice the right one?

prepare_load_cold_automatic()
{
    need_stored_stream
    used=
}

prepare_load_half_cached()
{
    need_stored_stream
    used=
}

load_by_policy()
{
    case $1 in
    ours) load_to_pipe ;;
    *) load_to_pipe "$1" ;;
    esac
    cat report
}

run_load_cold_automatic()
{
    forget stored.qcow2
    load_by_policy "$1"
}

run_load_half_cached()
{
    forget stored.qcow2
    head -c $((bytes / 2)) stored.qcow2 > /dev/null
    load_by_policy "$1"
}

# --- load-depth, load-depth-delayed: many requests in flight, or one

prepare_load_depth()
{
    need_stored_stream
    used='--cache=none --depth=8'
}

prepare_load_depth_delayed()
{
    need_stored_stream
    used=
}

load_with_depth()
{
    forget stored.qcow2
    load_to_pipe --cache=none --depth="$1"
    cat report
}

# From the page cache, so that the delay is what there is to wait for.
load_delayed()
{
    remember stored.qcow2
    measured "$programs/delayed-load" stored.qcow2 1000 "$1" "$1" > /dev/null
    cat report
}

run_load_depth()
{
    case $1 in
    ours) load_with_depth 8 ;;
    --depth=1) load_with_depth 1 ;;
    esac
}

run_load_depth_delayed()
{
    case $1 in
    ours) load_delayed 8 ;;
    --depth=1) load_delayed 1 ;;
    esac
}
