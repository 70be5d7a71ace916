#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Whichever call of the operating system fails, in whichever command: it ends
# soon, with an error of one line or with all done that was asked for, and the
# image is what it was or what it was to become. Calls that were interrupted or
# did only a part are gone on with. A stream that had come to its end is in the
# image or in a file, wherever the image was locked before. No descriptor stays
# open.
#
# ROUNDS says how many calls fail, from 200 on every one in turn; SEED repeats
# a run.

. "$(dirname "$0")/../functions.sh"

rounds=${ROUNDS:-10}
seed=${SEED:-$((10#$(date +%N)))}
echo "SEED=$seed"
RANDOM=$seed

# ---------------------------------------------------------------------------
# What is done, and to what

# stored FILE OFFSET BYTES: a big-endian number.
stored()
{
    echo $((16#$(od -A n -v -t x1 -j "$2" -N "$3" "$1" | tr -d ' \n')))
}

# set_l1_refcount FILE DIGITS: that of the active L1 table.
set_l1_refcount()
{
    local block cluster
    block=$(stored "$1" "$(stored "$1" 48 8)" 8)
    cluster=$(($(stored "$1" 40 8) / 65536))
    poke "$1" $((block + cluster * 2)) "$2"
}

# Pages of RAM, for a stream: block "ram", 64 different ones, page by page.
pages()
{
    local page high low
    printf '\0\0\0\0\0\0\0\10\3ram'
    head -c 4096 /dev/urandom
    for ((page = 1; page < 64; page++)); do
        high=$(printf '\\x%x' $((page >> 4)))
        low=$(printf '\\x%x' $((page % 16 * 16)))
        printf '\0\0\0\0\0%b%b\x28' "$high" "$low"
        head -c 4096 /dev/urandom
    done
}

# make_stream TIMES: as small as may be, sections of RAM, sent so often.
make_stream()
{
    local end='\0\0\0\0\0\0\0\20' i
    {
        printf 'QEVM\0\0\0\3\1\0\0\0\2\3ram\0\0\0\0\0\0\0\4'
        printf '\0\0\0\0\0\4\0\4\3ram\0\0\0\0\0\4\0\0%b' "$end"
        printf '\2\0\0\0\2'
        for ((i = 0; i < $1; i++)); do
            cat block
        done
        printf '%b\3\0\0\0\2%b\0' "$end" "$end"
    }
}

make_images()
{
    pages > block
    make_stream 5 > stream
    # What is cloned is cloned by pieces of 2 MiB.
    make_stream 9 > long
    new_image sound.qcow2 8M
    qemu-io -c 'write -q -P 1 0 300k' -c 'write -q -c -P 2 4M 64k' sound.qcow2
    qemu_snap save -q -n one sound.qcow2 < stream 2> err
    qemu-io -c 'write -q -P 3 100k 300k' sound.qcow2
    qemu_snap create -n two sound.qcow2
    qemu-img snapshot -a one sound.qcow2
    qemu-io -c 'write -q -P 4 200k 100k' sound.qcow2
    cp sound.qcow2 leaky.qcow2
    new_image bare.qcow2 8M
    qemu_snap save -q -n one --no-index bare.qcow2 < stream
    # A terabyte in small clusters has long tables.
    new_image wide.qcow2 1T cluster_size=4k
    qemu-io -c 'write -q -P 1 0 300k' wide.qcow2
    qemu_snap save -q -n one wide.qcow2 < stream
    qemu-io -c 'write -q -P 2 100k 300k' wide.qcow2
    set_l1_refcount leaky.qcow2 0003
    cp sound.qcow2 damaged.qcow2
    set_l1_refcount damaged.qcow2 0000
}

# The words behind the name of each are the command. Behind a colon is the
# engine, if it is not threads.
commands=(
    'sound save -q -n new image.qcow2'
    'sound save -q -n one --replace image.qcow2'
    'sound save -q -n new --with other.qcow2 image.qcow2'
    'sound save -q -n new --create made.qcow2'
    'sound load -n one image.qcow2'
    'sound load -n one --apply image.qcow2'
    'sound list image.qcow2'
    'sound inspect -n one image.qcow2'
    'bare index -n one image.qcow2'
    'sound extract -n one --block=ram image.qcow2 ram'
    'sound extract -n one --format=blocks image.qcow2 blocks'
    'sound create -n new image.qcow2'
    'sound delete -n one image.qcow2'
    'sound apply -n two image.qcow2'
    'sound rename -n one --to=new image.qcow2'
    'sound create -n new --with other.qcow2 image.qcow2'
    'sound delete -n one --with other.qcow2 image.qcow2'
    'sound apply -n two --with other.qcow2 image.qcow2'
    'sound gc image.qcow2'
    'sound check image.qcow2'
    'wide save -q -n new image.qcow2'
    'wide create -n new image.qcow2'
    'wide delete -n one image.qcow2'
    'wide apply -n one image.qcow2'
    'wide check -r all image.qcow2'
    'sound snapshot -d two image.qcow2'
    'sound snapshot -a one image.qcow2'
    'leaky check -r leaks image.qcow2'
    'damaged check -r all image.qcow2'
    'sound:native save -q -n new image.qcow2'
    'sound:native load -n one image.qcow2'
    'sound:io_uring save -q -n new image.qcow2'
    'sound:io_uring load -n one image.qcow2'
)

# The image is locked: the stream takes the way round. Behind the colon is what
# else fail-call.c makes of the system.
detours=(
    'sound:locked save -q -n new image.qcow2'
    'sound:locked,named save -q -n one --replace image.qcow2'
    'sound:locked,clones save -q -n new --with other.qcow2 image.qcow2'
    'sound:held save -q -n new --wait-lock=0 image.qcow2'
    'sound:held,named save -q -n new --wait-lock=0 image.qcow2'
)

# prepare IMAGE[:SYSTEM] ARGUMENT...: what is there before, in the directory
# `old', and `input', which is for a pipe where the image is locked.
prepare()
{
    rm -rf old good now
    mkdir old
    system=
    [[ $1 != *:* ]] || system=${1#*:}
    cp "${1%%:*}.qcow2" old/image.qcow2
    [[ " $* " != *other.qcow2* ]] || cp sound.qcow2 old/other.qcow2
    shift
    arguments=("$@")
    case $1:$system in
    snapshot:*) ;;
    *:native | *:io_uring) arguments+=(--aio="$system" --cache=none) ;;
    *) arguments+=(--aio=threads --cache=writeback) ;;
    esac
    ! is_detour || arguments+=(-T 'snap_stream_in,file=trace')
    input=stream
    [[ $system != *clones* ]] || input=long
}

is_detour()
{
    [[ $system = @(locked|held)* ]]
}

# run_with KIND NTH ERRNO: leaves $status, `out', `err' and the images behind,
# these in the directory `now'.
run_with()
{
    rm -rf now
    cp -r old now
    status=0
    (
        ! is_detour || exec < <(exec cat $input)
        cd now
        FAIL_SYSTEM=$system failing_call "$@" "$QEMU_SNAP" "${arguments[@]}"
    ) < $input > out 2> err || status=$?
}

# ---------------------------------------------------------------------------
# What is there afterwards

# All that users see in an image, but for times.
content()
{
    local name
    [ -e "$1" ] || return 0
    qemu-img info --output=json "$1" |
        jq -c '[.snapshots // [] | .[] | {id, name, "vm-state-size"}]'
    # A terabyte takes its time.
    [[ $description != wide* ]] || return 0
    qemu-img convert -O raw "$1" disk.raw
    md5sum < disk.raw
    for name in $(snapshot_names "$1"); do
        qemu-img convert -l "snapshot.name=$name" -O raw "$1" disk.raw
        md5sum < disk.raw
        # A snapshot without VM state has nothing to load.
        qemu_snap load -q -n "$name" "$1" 2> /dev/null | md5sum || true
    done
}

# contents STATE: `old', `good' or `now', all images together.
contents()
{
    local file
    for file in image made other; do
        echo "$file:"
        content "$1/$file.qcow2"
    done
}

# is_like STATE BYTES: there are the same images, but for so many bytes. Two
# runs write the same ones, but for the times of a snapshot.
is_like()
{
    local file
    for file in image made other; do
        if [ -e "$1/$file.qcow2" ] || [ -e now/$file.qcow2 ]; then
            cmp -l "$1/$file.qcow2" now/$file.qcow2 > differences 2>&1 || true
            [ "$(wc -l < differences)" -le "$2" ] || return 1
            ! grep -q -E 'EOF|No such' differences || return 1
        fi
    done
}

expect_sound()
{
    local image
    for image in now/*.qcow2; do
        expect_clean "$image"
    done
}

# ---------------------------------------------------------------------------
# The judgement

# What succeeded has done all, and nothing is wrong.
expect_success()
{
    [ $status = "$good_status" ] || fail "$what: status $status: $(cat err)"
    if ! cmp -s out good.out; then
        # Where an index cannot be read, one is told so, and nobody may be able
        # to tell any more that it is none of the stream. QEMU reads no further
        # than its end.
        grep -q 'warning: the index of snapshot .* was not used: ' err &&
            cmp -s -n "$(stat -c %s good.out)" out \
                <(sed 's/^trailer: valid/trailer: damaged/' good.out) ||
            fail "$what: another output"
    fi
    is_like good 8 && return
    expect_sound
    [ "$(contents now)" = "$(contents good)" ] || fail "$what: another result"
}

# Findings of a check stand before the error; `snapshot' talks like qemu-img.
expect_words()
{
    local lines=1 begin='[^ ]+: .'
    case $description in
    *' check '*) lines=$(wc -l < err) ;;
    *' snapshot '*)
        lines=$(wc -l < err)
        begin='Could not '
        ;;
    esac
    if [ "$(wc -l < err)" != "$lines" ] ||
        ! grep -q -E "^qemu-snap: $begin" err; then
        fail "$what: not an error of one line: $(cat err)"
    fi
    case $kind in
    read | write | allocate)
        cmp -s err good.err ||
            grep -q -E '0x[0-9a-f]+|offset [0-9]+|cluster [0-9]+|room for' \
                err || fail "$what: no offset: $(cat err)"
        ;;
    esac
}

expect_error()
{
    local undecided='' file
    [ $status = 1 ] || fail "$what: status $status: $(cat err)"
    expect_words
    is_like old 0 && return
    # A damaged image may be half repaired.
    [[ $description != sound* ]] || expect_sound
    ! grep -q 'decides whether\|went back\|have lost it' err || undecided=good
    for file in image made other; do
        # shellcheck disable=SC2086
        expect_one_of $file.qcow2 old $undecided
    done
}

# expect_one_of IMAGE STATE...: made but empty is well, too.
expect_one_of()
{
    local image=$1 state
    shift
    for state; do
        [ "$(content now/"$image")" != "$(content "$state/$image")" ] || return 0
    done
    [ "$image" = made.qcow2 ] && [ $# = 2 ] ||
        fail "$what: $image is not as in '$*': $(cat err)"
}

# What had come to its end is in the image, or in a file whose name is told. It
# is lost only if it is the name that it cannot get, and that is told, too.
expect_stream()
{
    local kept
    kept=$(find now -name '*qemu-snap*')
    if [ $status = 0 ] || ! grep -s -q snap_stream_in now/trace; then
        [ -z "$kept" ] || fail "$what: left: $kept"
    elif [ -z "$kept" ]; then
        [[ $kind = @(name|open) ]] && grep -q 'the stream is lost: ' err ||
            fail "$what: nothing is kept: $(cat err)"
    else
        grep -q -F "the stream is kept in '$PWD/$kept'" err ||
            fail "$what: not the name of $kept: $(cat err)"
        # What was taken ahead may still be there behind it.
        cmp -n "$(stat -c %s $input)" "$kept" $input ||
            fail "$what: another stream is kept"
    fi
}

# let_fail KIND NTH ERRNO
let_fail()
{
    kind=$1
    what="$description: $1 number $2 returns errno $3"
    run_with "$@"
    if [ ! -e failed ]; then
        # Not all runs make the same number of calls.
        expect_success
        return
    fi
    [ $status != 124 ] || fail "$what: it hangs"
    [ $status != 125 ] || fail "$what: $(cat err)"
    ! is_detour || expect_stream
    if [ $status = "$good_status" ]; then
        expect_success
        [ $status != 1 ] || expect_words
        [ "$3" != 4 ] || cmp err good.err ||
            fail "$what: other words: $(cat err)"
        return
    fi
    # EINTR or a short transfer
    [ "$3" != 0 ] && [ "$3" != 4 ] || fail "$what: not gone on with: $(cat err)"
    expect_error
}

# good_run DESCRIPTION: once as it should be.
good_run()
{
    local words
    description=$1
    read -r -a words <<< "$description"
    prepare "${words[@]}"
    run_with none 0 0
    [ $status != 125 ] || fail "$description: $(cat err)"
    [ $status != 1 ] || [[ $system = held* ]] || fail "$description: $(cat err)"
    expect_sound
    good_status=$status
    mv now good
    mv out good.out
    mv err good.err
    mv counts good.counts
}

# In words of errno.h: EIO, ENOSPC, EINTR, EAGAIN, ENOMEM; 0 is a short one.
errors_of()
{
    case $1 in
    read | write | input | output) echo 0 4 5 11 28 ;;
    allocate | discard) echo 4 5 28 95 ;;
    flush | truncate | clone) echo 4 5 28 ;;
    open) echo 4 5 28 95 ;;
    name) echo 4 5 17 22 28 ;;
    lock) echo 5 11 37 ;;
    status) echo 5 ;;
    memory) echo 12 ;;
    esac
}

# Sets `kinds' to lines that say how often there are such calls. What takes so
# long with wide images is tried with others, but for their memory.
kinds_of_interest()
{
    local pattern=.
    [[ $description != wide* ]] || pattern='^memory'
    mapfile -t kinds < <(grep -v ' 0$' good.counts | grep -E "$pattern")
}

# Not every file system has O_DIRECT, and not every sandbox io_uring.
forget_missing_engines()
{
    local engine command
    for engine in native io_uring; do
        qemu_snap load -q -n one --aio=$engine --cache=none sound.qcow2 \
            > /dev/null 2> err && continue
        echo "without $engine: $(cat err)"
        for command in "${!commands[@]}"; do
            [[ ${commands[command]} != sound:$engine* ]] ||
                unset "commands[$command]"
        done
        commands=("${commands[@]}")
    done
}

make_images
forget_missing_engines
if [ "$rounds" -ge 200 ]; then
    for description in "${commands[@]}" "${detours[@]}"; do
        good_run "$description"
        kinds_of_interest
        for counted in "${kinds[@]}"; do
            read -r kind count <<< "$counted"
            for ((nth = 1; nth <= count; nth++)); do
                for error in $(errors_of "$kind"); do
                    let_fail "$kind" $nth "$error"
                done
            done
        done
    done
else
    for ((round = 0; round < rounds; round++)); do
        case $((round % 10)) in
        0) good_run "${commands[RANDOM % ${#commands[@]}]}" ;;
        5) good_run "${detours[RANDOM % ${#detours[@]}]}" ;;
        esac
        kinds_of_interest
        read -r kind count <<< "${kinds[RANDOM % ${#kinds[@]}]}"
        read -r -a errors <<< "$(errors_of "$kind")"
        let_fail "$kind" $((RANDOM % count + 1)) \
            "${errors[RANDOM % ${#errors[@]}]}"
    done
fi
