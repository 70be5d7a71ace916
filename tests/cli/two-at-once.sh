#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Two commands for one image at nearly the same time: each does all of its work
# or none and says that the image is locked, and who waits for the lock gets it.
# ROUNDS says how often for each pair, SEED at which distances.

. "$(dirname "$0")/../functions.sh"

${CC:-cc} -D_GNU_SOURCE -shared -fPIC -o signal-at.so \
    "$TOP/tests/cli/signal-at.c"
rounds=${ROUNDS:-1}
RANDOM=${SEED:-20213}

for name in old a b; do
    head -c 300000 /dev/urandom > $name
done
new_image base.qcow2 16M
qemu-io -c 'write -q -P 1 0 1M' base.qcow2
qemu_snap save --raw -n old base.qcow2 < old
qemu-io -c 'write -q -P 2 512k 1M' base.qcow2

export SIGNAL_CALLS=calls
SIGNAL_NUMBER=$(kill -l STOP)
export SIGNAL_NUMBER

# run NUMBER COMMAND...: leaves status.NUMBER, and what it said.
run()
{
    local number=$1 input=/dev/null status=0
    shift
    case $* in
    save*' a '*) input=a ;;
    save*' b '*) input=b ;;
    esac
    # As QEMU would give it; waiting for a file has ways of its own.
    "$QEMU_SNAP" "$@" disk.qcow2 < <(exec cat $input) \
        > out.$number 2> err.$number || status=$?
    echo $status > status.$number
}

# add NAME if NUMBER | unless NUMBER: to the names of what must be there.
names=()
add()
{
    if succeeded "$3"; then
        [ "$2" = unless ] || names+=("$1")
    else
        [ "$2" = if ] || names+=("$1")
    fi
}

# succeeded NUMBER: or was it refused for the lock?
succeeded()
{
    [ "$(cat "status.$1")" != 0 ] || return 0
    grep -q 'Failed to get .* lock' "err.$1" ||
        fail "$what: $(cat "err.$1")"
    return 1
}

# race BASE COMMAND COMMAND: each a line of words.
race()
{
    rm -f disk.qcow2
    [ -z "$1" ] || cp "$1" disk.qcow2
    local distance=$((RANDOM % 8000)) first=1 second=2
    local -a commands=('' "$2" "$3")
    if [ $((RANDOM % 2)) = 0 ]; then
        first=2 second=1
    fi
    what="$2 | $3, $first first by $distance us"
    # shellcheck disable=SC2086
    run $first ${commands[first]} &
    sleep "$(printf '0.%06d' $distance)"
    # shellcheck disable=SC2086
    run $second ${commands[second]}
    wait
}

is_stopped_or_gone()
{
    ! grep -q '^State:.[^TZ]' "/proc/$1/status" 2> /dev/null
}

# overtake MOMENT BASE COMMAND COMMAND: the first one stands still just before
# one of its system calls, see signal-at.c, until the second one is through. Both
# read a file; waiting for that is another way than waiting for the image.
overtake()
{
    rm -f disk.qcow2
    [ -z "$2" ] || cp "$2" disk.qcow2
    what="$3 at $1 | $4"
    # shellcheck disable=SC2086
    SIGNAL_AT=$1 LD_PRELOAD=./signal-at.so \
        "$QEMU_SNAP" $3 disk.qcow2 < a > out.1 2> err.1 &
    pid=$!
    wait_until $PATIENCE is_stopped_or_gone $pid || fail "$what: runs for ever"
    echo 0 > status.2
    # shellcheck disable=SC2086
    "$QEMU_SNAP" $4 disk.qcow2 < b > out.2 2> err.2 || echo $? > status.2
    kill -CONT $pid 2> /dev/null || true
    echo 0 > status.1
    wait $pid || echo $? > status.1
}

# expect_names NAME...: these snapshots, in any order.
expect_names()
{
    local names
    expect_clean disk.qcow2
    names=$(snapshot_names disk.qcow2 | tr ' ' '\n' | sort | xargs)
    [ "$names" = "$(printf '%s\n' "$@" | sort | xargs)" ] ||
        fail "$what: snapshots '$names', not '$*'"
}

# expect_state NAME...: these, each with its VM state, and nothing besides.
expect_state()
{
    local name
    expect_names "$@"
    for name; do
        qemu_snap load --raw -n "$name" disk.qcow2 > loaded
        cmp loaded "$name" || fail "$what: $name is damaged"
    done
    [ -z "$(find . -name '*qemu-snap*')" ] || fail "$what: left: $(ls -A)"
}

waited='--wait-lock=60'
for ((round = 0; round < rounds; round++)); do
    race base.qcow2 "save --raw -n a $waited" "save --raw -n b $waited"
    succeeded 1 && succeeded 2 || fail "$what: $(cat err.?)"
    expect_state old a b

    race base.qcow2 "save --raw -n a $waited" 'delete -n old'
    succeeded 1 || fail "$what: $(cat err.1)"
    names=(a)
    add old unless 2
    expect_state "${names[@]}"

    race base.qcow2 'load --raw -n old' 'delete -n old'
    grep -q "no snapshot 'old'" err.1 || ! succeeded 1 || expect_same out.1 old
    names=()
    add old unless 2
    expect_state "${names[@]}"

    race base.qcow2 'save --raw -n a --wait-lock' 'check -r all'
    succeeded 1 || fail "$what: $(cat err.1)"
    succeeded 2 || true
    expect_state old a

    race base.qcow2 'create -n c' 'create -n d'
    names=(old)
    add c if 1
    add d if 2
    expect_names "${names[@]}"

    race '' "save --raw --create -n a $waited" "save --raw --create -n b $waited"
    succeeded 1 && succeeded 2 || fail "$what: $(cat err.?)"
    expect_state a b
done

# Whoever is overtaken finds the lock taken, or things changed, or neither.
step=$((rounds > 4 ? 1 : 4))
for ((at = 1; at <= 24; at += step)); do
    overtake $at '' 'save --raw --create -n a --wait-lock=0' \
        'save --raw --create -n b --wait-lock=0'
    names=()
    add a if 1
    add b if 2
    expect_state "${names[@]}"
    succeeded 1 || succeeded 2 || fail "$what: neither"
done
for ((at = 1; at <= 60; at += 4 * step)); do
    overtake $at base.qcow2 'save --raw -n a --wait-lock=0' 'delete -n old'
    names=()
    add a if 1
    add old unless 2
    expect_state "${names[@]}"
    succeeded 1 || succeeded 2 || fail "$what: neither"

    overtake $at base.qcow2 'load --raw -n old' 'delete -n old'
    names=()
    add old unless 2
    expect_state "${names[@]}"
    grep -q "no snapshot 'old'" err.1 || ! succeeded 1 || expect_same out.1 old
done
