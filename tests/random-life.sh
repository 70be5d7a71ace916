# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Sourced by tests that change images at random: what an image is expected to
# hold, the changes that qemu-snap and QEMU can make, and the comparison.
#
# The image is disk.qcow2, its disk `now', each snapshot's disk `disk-NAME', its
# VM state `state-NAME', and a machine's memory in that `memory-NAME'. All
# numbers are drawn in this very shell, because a subshell would draw others
# each time: functions leave theirs in variables.

# The files that this belongs to use each other's variables.
# shellcheck shell=bash disable=SC2034,SC2154
. "$TOP/tests/random-shapes.sh"

# What a machine without devices has for memory, and what is kept of an image.
MACHINE_MIB=1
MAX_SNAPSHOTS=5

declare -a names=()  # of the snapshots, as they are listed
declare -A kind=()   # of their VM state: none, bytes or machine
declare -A length=() # of their disks, bytes
declare -A row=()    # how they were listed before
operations=0
refusals=0

# random N: a number from 0 to N - 1.
random()
{
    drawn=$(((RANDOM << 15 | RANDOM) % $1))
}

# choose WORD...
choose()
{
    random $#
    shift $drawn
    chosen=$1
}

# ---------------------------------------------------------------------------
# What is expected

read_disk()
{
    qemu-img convert -T none -t unsafe -O raw "$@"
}

# expect_same_disk EXPECTED [BYTES]: is that what was found, as far as BYTES?
# The disk may be a terabyte, of which QEMU only looks at what is there.
expect_same_disk()
{
    if [ "$max_size" -lt 100000000 ]; then
        cmp ${2:+-n "$2"} "$1" found || fail "$shape: $1: another disk"
    else
        cp --sparse=always "$1" expected
        [ -z "${2:-}" ] || truncate -s "$2" expected found
        [ "$(stat -c %s expected)" = "$(stat -c %s found)" ] &&
            qemu-img compare -q -f raw -F raw expected found ||
            fail "$shape: $1: another disk"
    fi
}

# begin_life NAME SIZE [OPTIONS]
begin_life()
{
    shape=$1
    features=${3:-}
    rm -f disk-* state-* memory-*
    names=()
    row=()
    make_shape "$@"
    cluster=$((1 << $(od -A n -t u1 -j 23 -N 1 disk.qcow2)))
    read_disk disk.qcow2 now
    size=$(stat -c %s now)
    max_size=$((size < 4 << 20 ? 8 << 20 : 2 * size))
    case $shape in
    bitmaps-*) may_refuse=bitmap ;;
    refcount-1 | refcount-2 | compressed-narrow) may_refuse=refcount ;;
    *) may_refuse= ;;
    esac
}

# Refcounts that are too narrow are found by QEMU when it is too late.
is_for_qemu()
{
    [ "$may_refuse" != refcount ]
}

has_bitmaps()
{
    [ "$may_refuse" = bitmap ]
}

# remember NAME KIND: a snapshot of the disk as it is, after all others.
remember()
{
    names+=("$1")
    kind[$1]=$2
    length[$1]=$size
    unset "row[$1]"
    cp --sparse=always now "disk-$1"
    [ "$2" = none ] || cp stream "state-$1"
    [ "$2" != machine ] || cp memory "memory-$1"
}

forget()
{
    local other rest=()
    for other in "${names[@]}"; do
        [ "$other" = "$1" ] || rest+=("$other")
    done
    names=("${rest[@]}")
    rm -f "disk-$1" "state-$1" "memory-$1"
}

went_back_to()
{
    cp --sparse=always "disk-$1" now
    size=${length[$1]}
}

# say WORDS...: what is done next, to know what led to a failure.
say()
{
    operations=$((operations + 1))
    echo "$shape $operations: $*"
}

# attempt COMMAND...: whether it was done. It may be refused for what is known
# of the shape; then all must be as it was.
attempt()
{
    ! "$@" > said 2>&1 || return 0
    if [ -z "$may_refuse" ] || ! grep -q -i "$may_refuse" said; then
        fail "$shape: $*: $(cat said)"
    fi
    echo "    refused: $(tail -n 1 said)"
    refusals=$((refusals + 1))
    return 1
}

expect_listed()
{
    local id tag rest listed=()
    qemu-img snapshot -l disk.qcow2 > table
    while read -r id tag rest; do
        [ "${row[$tag]:-$id $rest}" = "$id $rest" ] ||
            fail "$tag was '${row[$tag]}', is '$id $rest'"
        row[$tag]="$id $rest"
        listed+=("$tag")
    done < <(tail -n +3 table)
    [ "${listed[*]}" = "${names[*]}" ] ||
        fail "snapshots '${listed[*]}', not '${names[*]}'"
}

# Everything is what it should be, as QEMU's tools read it. Those read of each
# snapshot's disk as much as the image's disk has now.
expect_all()
{
    local name
    expect_clean disk.qcow2
    qemu_snap check -q disk.qcow2 || fail "$shape: qemu-snap finds errors"
    expect_listed
    read_disk disk.qcow2 found
    expect_same_disk now
    for name in "${names[@]}"; do
        read_disk -l "snapshot.name=$name" disk.qcow2 found
        expect_same_disk "disk-$name" \
            $((length[$name] < size ? length[$name] : size))
        [ "${kind[$name]}" != none ] || continue
        qemu_snap load --raw -n "$name" disk.qcow2 > found
        expect_same "state-$name" found
    done
}

# The same once more, when the image is not needed any longer: all of each
# snapshot's disk.
expect_all_apply()
{
    local old
    ! has_bitmaps || return 0
    for old in "${names[@]}"; do
        before_qemu_resizes
        if is_for_qemu; then
            qemu-img snapshot -a "$old" disk.qcow2
        else
            qemu_snap apply -n "$old" disk.qcow2
        fi
        read_disk disk.qcow2 found
        expect_same_disk "disk-$old"
    done
    expect_clean disk.qcow2
}

# What QEMU leaves behind the disk when it loads VM state, it loses track of
# when the disk gets another size.
before_qemu_resizes()
{
    ! is_for_qemu || qemu_snap gc disk.qcow2
}

# ---------------------------------------------------------------------------
# Streams and machines

# new_text LIMIT FILE: fewer bytes, of which no two places are alike.
new_text()
{
    local from
    random 8000000
    from=$((1000000 + drawn))
    random "$1"
    seq $from $((from + drawn / 8)) > "$2"
    truncate -s $((drawn + 1)) "$2"
}

# run_machine ARGUMENTS...: QEMU with a machine that does not run, with other
# memory each time; on standard input comes what its monitor is asked.
run_machine()
{
    new_text 300000 memory
    truncate -s ${MACHINE_MIB}M memory
    { echo '{ "execute": "qmp_capabilities" }' && cat &&
        echo '{ "execute": "quit" }'; } |
        "$QEMU" -machine none -m $MACHINE_MIB -accel "$ACCEL" -S \
            -nodefaults -no-user-config -display none -qmp stdio \
            -device loader,file=memory,addr=0,force-raw=on "$@" > answers
    ! grep -q -E '"(error|return": "[^"])' answers ||
        fail "$shape: $(cat answers)"
}

# machine COMMAND...: of the human monitor, where disk.qcow2 is there.
machine()
{
    local command
    for command; do
        echo '{ "execute": "human-monitor-command",' \
            "\"arguments\": { \"command-line\": \"$command\" } }"
    done > questions
    run_machine -drive file=disk.qcow2,format=qcow2,if=none < questions
}

# What such a machine sends, another one each time.
machine_stream()
{
    run_machine < <(
        echo '{ "execute": "migrate", "arguments":' \
            '{ "uri": "exec:cat > part && mv part stream" } }'
        wait_until $PATIENCE [ -e stream ]
    )
}

# A stream for a save; leaves its kind and how it is saved in variables.
new_stream()
{
    rm -f stream
    choose bytes bytes bytes zeros machine machine guest
    stream_kind=bytes
    stream_options=(--raw)
    case $chosen in
    bytes) new_text 200000 stream ;;
    zeros)
        random 200000
        head -c $((drawn + 1)) /dev/zero > stream
        ;;
    machine)
        machine_stream
        stream_kind=machine
        stream_options=()
        ;;
    guest)
        sample_stream stream
        stream_options=()
        ;;
    esac
}
