#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# SIGTERM, SIGINT and SIGHUP at any moment of any command that changes an image
# or streams: it dies by that signal or had done its work; the image is what it
# was or what it was to become, and clean; what is new and half made is gone.
# ROUNDS says how many moments of each command, spread over all of them.

. "$(dirname "$0")/../functions.sh"

${CC:-cc} -D_GNU_SOURCE -shared -fPIC -o signal-at.so \
    "$TOP/tests/cli/signal-at.c"
rounds=${ROUNDS:-4}
judge=expect_clean
signals=(TERM INT HUP)

head -c 3000000 /dev/urandom > state
new_image base.qcow2 64M cluster_size=4k
qemu-io -c 'write -q -P 1 0 1M' base.qcow2
qemu_snap save --raw -n state base.qcow2 < state
qemu-io -c 'write -q -P 2 512k 1M' base.qcow2
mkdir place

# run_with_signal NUMBER SIGNAL ARGUMENTS...: leaves the status in $status. What
# $also is is preloaded besides.
also=
run_with_signal()
{
    status=0
    # A pipe, as QEMU would use one. In the background SIGINT is ignored.
    env --default-signal=INT LD_PRELOAD="$SCRATCH/signal-at.so $also" \
        SIGNAL_AT="$1" SIGNAL_NUMBER="$(kill -l "$2")" SIGNAL_CALLS=calls \
        "$QEMU_SNAP" "${@:3}" < <(exec cat state) > out 2> err || status=$?
} 2> /dev/null

# at_any_moment BASE BEFORE AFTER COMMAND...: from an image with the snapshots
# BEFORE to one with AFTER.
at_any_moment()
{
    local base=$1 before=$2 after=$3 calls=1 most=1
    local at names signal
    shift 3
    for ((round = 0; round <= most; round++)); do
        signal=${signals[round % 3]}
        rm -f place/*
        [ -z "$base" ] || cp "$base" place/disk.qcow2
        # The first one is not disturbed; it tells how many moments there are.
        at=$((round == 0 ? 0 : 1 + (round - 1) * calls / most))
        run_with_signal $at $signal "$@" place/disk.qcow2
        if [ $round = 0 ]; then
            calls=$(cat calls)
            most=$((calls < rounds ? calls : rounds))
        fi
        what="$* with SIG$signal at $at of $calls: status $status, $(cat err)"
        [ $status = 0 ] || [ $status = $((128 + $(kill -l $signal))) ] ||
            fail "$what"
        if [ -e place/disk.qcow2 ]; then
            $judge place/disk.qcow2
            names=$(snapshot_names place/disk.qcow2)
        else
            names=none
        fi
        [ "$names" = "$after" ] ||
            { [ "$names" = "$before" ] && [ $status != 0 ]; } ||
            fail "$what: snapshots '$names'"
        [ -z "$(find place -name '*qemu-snap*')" ] ||
            fail "$what: $(ls -A place)"
    done
    echo "$calls moments of $*"
}

at_any_moment base.qcow2 state 'state new' save --raw -n new
at_any_moment '' none new save --raw --create -n new
at_any_moment base.qcow2 state state load --raw --apply -n state
at_any_moment base.qcow2 state 'state new' create -n new
at_any_moment base.qcow2 state '' delete -n state
at_any_moment base.qcow2 state state apply -n state
at_any_moment base.qcow2 state renamed rename -n state --to=renamed

# What is extracted is there, all of it, or nothing is.
extract_at_any_moment()
{
    local format=$1 calls=1 most=1 at signal
    qemu_snap extract --format="$format" memory.qcow2 "whole-$format"
    for ((round = 0; round <= most; round++)); do
        signal=${signals[round % 3]}
        rm -r -f place/output
        at=$((round == 0 ? 0 : 1 + (round - 1) * calls / most))
        run_with_signal $at $signal extract --format="$format" memory.qcow2 \
            place/output
        if [ $round = 0 ]; then
            calls=$(cat calls)
            most=$((calls < rounds ? calls : rounds))
        fi
        what="extract with SIG$signal at $at of $calls: status $status"
        [ $status = 0 ] || [ $status = $((128 + $(kill -l $signal))) ] ||
            fail "$what, $(cat err)"
        [ $status != 0 ] || [ -e place/output ] || fail "$what: no output"
        [ ! -e place/output ] || diff -r "whole-$format" place/output >&2 ||
            fail "$what: another output"
        rm -r -f place/output
        [ -z "$(ls -A place)" ] || fail "$what: $(ls -A place)"
    done
    echo "$calls moments of extract --format=$format"
}
rm -f place/*
sample_stream stream
qemu_snap save --create -n ram memory.qcow2 < stream
extract_at_any_moment raw
extract_at_any_moment blocks

# A repair may end with some of the leaks still there.
new_image leaks.qcow2 64M cluster_size=4k
truncate -s 1M leaks.qcow2
for ((cluster = 100; cluster < 200; cluster += 3)); do
    poke leaks.qcow2 $((2 * 4096 + 2 * cluster)) 0001
done
judge=expect_no_corruption
at_any_moment leaks.qcow2 '' '' check -r all

# It is the signal that it dies of, not only the number. A pipe without reader
# is none.
cp base.qcow2 place/disk.qcow2
export SIGNAL_AT=20 SIGNAL_NUMBER=15 SIGNAL_CALLS=calls
(LD_PRELOAD=./signal-at.so "$QEMU_SNAP" \
    save --raw -n new place/disk.qcow2 < state > out || true) 2> words
grep -q Terminated words || fail "$(cat words)"
run_with_signal 20 PIPE save --raw -n new place/disk.qcow2
[ $status = 0 ] || fail "status $status after SIGPIPE"

# A load that says nothing would let QEMU wait for ever. Its first few calls
# come before it knows where it has to say that.
for ((at = 5; at <= 25; at += 1 + 60 / rounds)); do
    run_with_signal $at TERM load --raw base.qcow2
    [ -s out ] || fail "SIGTERM at $at: status $status without a word"
done

# The image is locked when the stream begins, and free when it has come. From
# its end on, it is saved, or kept under a name that is told.
expect_saved_or_kept()
{
    local kept names
    kept=$(find place -name '*qemu-snap*')
    names=$(snapshot_names place/disk.qcow2)
    expect_clean place/disk.qcow2
    if [ $status = 0 ]; then
        [ "$names" = 'state new' ] || fail "$what: snapshots '$names'"
        [ -z "$kept" ] || fail "$what: left $kept"
    else
        [ $status = $((128 + $(kill -l $signal))) ] || fail "$what"
        [ "$names" = state ] || fail "$what: snapshots '$names'"
        ! grep -q snap_stream_in trace || [ -n "$kept" ] || fail "$what: lost"
    fi
    if [ -n "$kept" ]; then
        kept_some=yes
        grep -q "interrupted.*; the stream is kept in '.*$kept'" err ||
            fail "$what"
        expect_same state "$kept"
    fi
}

build_fail_call
also=$SCRATCH/fail-call.so
export FAIL_SYSTEM=locked
kept_some=no
calls=1
for ((round = 0; round <= 2 * rounds && round <= calls; round++)); do
    at=$((round * calls / (2 * rounds)))
    signal=${signals[round % 3]}
    rm -f place/* trace
    cp base.qcow2 place/disk.qcow2
    run_with_signal $at $signal save --raw -n new -T snap_stream_in,file=trace \
        place/disk.qcow2
    [ $round != 0 ] || calls=$(cat calls)
    what="a detour with SIG$signal at $at of $calls: $status, $(cat err)"
    expect_saved_or_kept
done
[ $kept_some = yes ] || fail 'never kept on the way into the image'
also=

# The image stays locked. From the end of the stream on, it is kept in a file
# whose name is told; until then nothing is.
rm place/*
cp base.qcow2 place/disk.qcow2
hold_image place/disk.qcow2
kept=0
for ((at = 1; at <= 201; at += 1 + 200 / rounds)); do
    run_with_signal $at TERM save --raw --wait-lock -n new place/disk.qcow2
    [ $status = 143 ] || fail "at $at: status $status: $(cat err)"
    if [ -s err ]; then
        kept=$((kept + 1))
        grep -q 'interrupted.*; the stream is kept in' err ||
            fail "at $at: $(cat err)"
        expect_same state place/disk.qcow2.new.qemu-snap-stream
        rm place/*stream
    fi
    [ "$(ls -A place)" = disk.qcow2 ] || fail "at $at, left: $(ls -A place)"
done
[ $kept -gt 0 ] || fail 'never kept'
release_image
