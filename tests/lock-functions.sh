# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The commands of qemu-snap by what they do to an image, for the tests that try
# all of them against somebody who has it open. A test sources this file behind
# functions.sh.

# shellcheck shell=bash

# What a command asks for, and the command; IMAGE stands for the image. In this
# order each of them works where nobody is in the way, and the image has in the
# end what it had before: a snapshot `state', whose VM state is no stream.
lock_commands='
read    list IMAGE
read    inspect IMAGE
read    check IMAGE
read    load --raw -n state IMAGE
read    snapshot -l IMAGE
nothing list -U IMAGE
nothing inspect -U IMAGE
nothing check -U IMAGE
nothing load --raw -U -n state IMAGE
nothing snapshot -U -l IMAGE
write   save --raw --wait-lock=0 -n new IMAGE
write   save --raw --wait-lock=0 --replace -n new IMAGE
write   save --raw --wait-lock=0 -n other spare.qcow2 --with=IMAGE
write   load --raw --apply -n new IMAGE
write   load --raw --apply -n state spare.qcow2 --with=IMAGE
write   create -n disk IMAGE
write   create --replace -n disk IMAGE
write   rename -n disk --to=renamed IMAGE
write   apply -n renamed IMAGE
write   delete -n renamed IMAGE
write   delete -n other IMAGE
write   delete -n new IMAGE
write   gc IMAGE
write   check -r leaks IMAGE
write   check -r all IMAGE
write   snapshot -c plain IMAGE
write   snapshot -a plain IMAGE
write   snapshot -d plain IMAGE
write   snapshot IMAGE'

# new_lock_image IMAGE: one for these commands.
new_lock_image()
{
    new_image "$1" 16M
    add_lock_state "$1"
}

# add_lock_state IMAGE: make it one for these commands.
add_lock_state()
{
    [ -e state ] || head -c 20000 /dev/urandom > state
    # shellcheck disable=SC2094
    qemu_snap save --raw -n state "$1" < state
    [ -e spare.base ] || cp "$1" spare.base
}

# expect_refused_by_lock IMAGE WORDS COMMAND...: an error of the class `locked'
# that names the image and says, as QEMU would, which lock it was. Of snapshot,
# which speaks like qemu-img, only the words. A load says its one byte.
expect_refused_by_lock()
{
    local image=$1 words="Failed to get $2 lock" class=
    shift 2
    if [ "$1" = snapshot ]; then
        expect_status 1 qemu_snap "$@"
        words="'$image': $words"
    else
        expect_status 1 qemu_snap "$@" --output=json < state
        words="$image: ${words//\"/\\\"}"
        class='"class":"locked"'
    fi
    [[ $(< err) = *"$class"*"$words"* ]] ||
        fail "$*: not '$words' but $(cat err)"
    [ ! -s out ] || [ "$1 $(wc -c < out)" = 'load 1' ] ||
        fail "$*: wrote $(wc -c < out) bytes"
}

# expect_access IMAGE HELD: what works while somebody holds the image, who lets
# nobody in (HELD is write), or readers only (read), or everybody (nothing). Our
# commands go by that, and qemu-img, for a judge.
expect_access()
{
    local image=$1 held=$2 wanted command words
    cp spare.base spare.qcow2
    while read -r wanted command; do
        [ -n "$command" ] || continue
        # shellcheck disable=SC2086
        set -- ${command//IMAGE/$image}
        case $wanted-$held in
        read-write) words='shared "write"' ;;
        write-write | write-read) words='"write"' ;;
        *) words= ;;
        esac
        if [ -n "$words" ]; then
            expect_refused_by_lock "$image" "$words" "$@"
        else
            expect_status 0 qemu_snap "$@" < state
            [[ $1 != load ]] || expect_same out state
        fi
    done <<< "$lock_commands"
    expect_same_from_qemu_img "$image" "$held"
}

# expect_same_from_qemu_img IMAGE HELD
expect_same_from_qemu_img()
{
    local image=$1 held=$2 read=0 write=0
    [ "$held" != write ] || read=1
    [ "$held" = nothing ] || write=1
    expect_status 0 qemu-img info -U "$image"
    expect_status $read qemu-img snapshot -l "$image"
    expect_status $write qemu-img snapshot -c theirs "$image"
    [ $write = 1 ] || qemu-img snapshot -d theirs "$image"
}

# has_image_locks PID: 203 is the last one that any of us takes.
has_image_locks()
{
    cat "/proc/$1/fdinfo/"* 2> /dev/null | grep -q '^lock:.* 203 203$'
}

# hold_locks PROGRAM...: start it, return when it has its locks. $lock_holder is
# its process, descriptor 7 leads to its input, 6 from its output.
hold_locks()
{
    rm -f input output
    mkfifo input output
    # Opened for both, no open waits, and nobody gets an end of file yet.
    exec 7<> input 6<> output
    "$@" < input > output 2> holder.err 7>&- 6>&- &
    lock_holder=$!
    on_exit "kill -KILL $lock_holder 2> /dev/null"
    wait_until $PATIENCE has_image_locks "$lock_holder" ||
        fail "$*: no locks: $(cat holder.err)"
}

# end_holder: its input ends, and it had better end as well.
end_holder()
{
    exec 7>&-
    wait "$lock_holder" || fail "status $?: $(cat holder.err)"
    exec 6>&-
}

kill_holder()
{
    kill -KILL "$lock_holder"
    wait "$lock_holder" 2> /dev/null || true
    exec 7>&- 6>&-
}
