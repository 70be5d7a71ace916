# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What the tests in bash share: a scratch directory, expectations that say
# what went wrong, clean-up on every kind of exit, images and streams, and (in
# machine-functions.sh) machines with a guest that can prove its memory. A test
# sources this file first; it then stands in its own empty directory, which is
# removed when the test passes. Exit status 77 means skipped.
#
# From the environment:
#   QEMU, QEMU_SNAP   the programs under test
#   VG                what to put in front of qemu-snap, say valgrind
#   ACCEL             accelerator of the machines, tcg unless told otherwise
#   KEEP              not empty: keep the scratch directory

# shellcheck shell=bash
set -E -e -u -o pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
QEMU=${QEMU:-qemu-system-x86_64}
QEMU_SNAP=${QEMU_SNAP:-$TOP/qemu-snap}
VG=${VG:-}
ACCEL=${ACCEL:-tcg}
TEST_NAME=$(basename "$(dirname "$0")")-$(basename "$0" .sh)
TESTS_DIR=$TOP/build/tests

# Longer than anything takes on a busy machine; a limit, not a measurement.
PATIENCE=60

# Tables and dates must not depend on who runs the test.
export LC_ALL=C

# ---------------------------------------------------------------------------
# Beginning, end and verdict

declare -a exit_actions=()

on_exit()
{
    exit_actions+=("$1")
}

finish()
{
    local status=$? action name
    trap - EXIT ERR
    set +e
    for name in "${!qemu_pid[@]}"; do
        kill -KILL "${qemu_pid[$name]}" 2>/dev/null
        wait "${qemu_pid[$name]}" 2>/dev/null
    done
    for action in "${exit_actions[@]}"; do
        eval "$action"
    done
    cd "$TOP" || exit 1
    if [ -z "${KEEP:-}" ] && { [ $status = 0 ] || [ $status = 77 ]; }; then
        rm -rf "$SCRATCH"
    fi
    exit $status
}

begin()
{
    mkdir -p "$TESTS_DIR"
    SCRATCH=$(mktemp -d "${TMPDIR:-$TESTS_DIR}/$TEST_NAME.XXXXXX")
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'echo "${BASH_SOURCE[0]##*/}:$LINENO: failed: $BASH_COMMAND" >&2' ERR
    cd "$SCRATCH"
}

fail()
{
    trap - ERR
    echo "$TEST_NAME: $*" >&2
    exit 1
}

skip()
{
    trap - ERR
    echo "$TEST_NAME: skipped: $*" >&2
    exit 77
}

requires()
{
    local command
    for command; do
        command -v "$command" > /dev/null || skip "needs $command"
    done
}

# wait_until SECONDS COMMAND...: whether the command succeeded in time.
wait_until()
{
    local limit=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $limit ] || return 1
        sleep 0.02
    done
}

# some_of WORD...: every second one; with many ROUNDS all of them.
some_of()
{
    local word take=true
    for word; do
        ! $take || echo "$word"
        [ "${ROUNDS:-0}" -ge 100 ] || { $take && take=false; } || take=true
    done
}

# ---------------------------------------------------------------------------
# The program under test

qemu_snap()
{
    $VG "$QEMU_SNAP" "$@"
}

# The same for a shell that somebody else starts, such as `migrate exec:'.
# shellcheck disable=SC2034
SNAP_COMMAND="$VG $(printf '%q' "$QEMU_SNAP")"

# What lets calls go wrong, to be preloaded; see tests/cli/fail-call.c.
build_fail_call()
{
    [ -e "$SCRATCH/fail-call.so" ] ||
        ${CC:-cc} -shared -fPIC -o "$SCRATCH/fail-call.so" \
            "$TOP"/tests/cli/{fail-call,fail-request,left-open}.c -ldl
}

# failing_call KIND NTH ERRNO COMMAND...: a command for which one call of the
# operating system goes wrong, as tests/cli/fail-call.c says. If it did, there
# is a file `failed'. Who hangs then is stopped, with status 124. Who leaves a
# descriptor open has status 125 instead of his own.
failing_call()
{
    local kind=$1 nth=$2 errno=$3 status=0
    shift 3
    build_fail_call
    rm -f "$SCRATCH/failed" "$SCRATCH/left-open"
    timeout "$PATIENCE" env FAIL_CALL="$kind" FAIL_NTH="$nth" \
        FAIL_ERROR="$errno" FAIL_FILE="$SCRATCH/failed" \
        FAIL_COUNTS="$SCRATCH/counts" LEFT_OPEN="$SCRATCH/left-open" \
        LD_PRELOAD="$SCRATCH/fail-call.so" "$@" || status=$?
    [ ! -s "$SCRATCH/left-open" ] || {
        echo "left open: $(cat "$SCRATCH/left-open")" >&2
        status=125
    }
    return $status
}

# expect_status N COMMAND...: leaves files `out' and `err' behind.
expect_status()
{
    local expected=$1 status=0
    shift
    "$@" > out 2> err || status=$?
    if [ $status != "$expected" ]; then
        cat err >&2
        fail "exit status $status instead of $expected: $*"
    fi
}

# The output of the last expect_status, as text without the final newline.
expect_output()
{
    [ "$(cat out)" = "$1" ] || fail "output is '$(cat out)', not '$1'"
}

# expect_refusal IMAGE PATTERN COMMAND...: status 1 and one line that names
# the image and what is wrong (an extended regular expression). Nothing goes
# to standard output but the zero byte of a load that failed.
expect_refusal()
{
    local image=$1 pattern=$2
    shift 2
    expect_status 1 "$@"
    if [ "$(wc -l < err)" != 1 ] ||
        ! grep -q -i -E "^qemu-snap: $image: .*($pattern)" err; then
        fail "not one line with '$pattern' about $image: $(cat err)"
    fi
    [ "$(wc -c < out)" -le 1 ] || fail "wrote $(wc -c < out) bytes: $*"
}

expect_same()
{
    cmp -- "$1" "$2" >&2 || fail "$1 and $2 differ"
}

# ---------------------------------------------------------------------------
# Images and streams, judged by QEMU's own tools

# The names of an image's snapshots in one line.
snapshot_names()
{
    qemu-img info -U --output=json "$1" | sed -n -E \
        '/^    "snapshots"/,/^    ]/ s/^ {12}"name": "(.*)",?$/\1/p' |
        paste -s -d ' '
}

# expect_snapshots IMAGE "NAME..."
expect_snapshots()
{
    local names
    names=$(snapshot_names "$1")
    [ "$names" = "$2" ] || fail "$1 has snapshots '$names', not '$2'"
}

# poke FILE OFFSET HEX-DIGITS: overwrites bytes in place.
poke()
{
    printf '%b' "$(sed 's/../\\x&/g' <<< "$3")" |
        dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# number FILE OFFSET: 8 bytes, big-endian, without the flags of a table entry.
number()
{
    local hex
    hex=$(od -A n -t x1 -j "$2" -N 8 "$1" | tr -d ' ')
    echo $((0x$hex & 0x00fffffffffffe00))
}

# What a save that failed may change in an image: nothing that anybody sees.
remember_image()
{
    qemu-img snapshot -l "$1" > "${1##*/}.table"
    cp "$1" "${1##*/}.before"
}

expect_untouched()
{
    expect_clean "$1"
    qemu-img snapshot -l "$1" | cmp - "${1##*/}.table" >&2 ||
        fail "$1 lists other snapshots than before"
    qemu-img compare -q "$1" "${1##*/}.before" || fail "$1: the disk changed"
    [ "$(stat -c %s "$1")" -le "$(stat -c %s "${1##*/}.before")" ] ||
        fail "$1 grew to $(stat -c %s "$1") bytes"
}

expect_clean()
{
    qemu-img check "$1" > check.log 2>&1 ||
        fail "qemu-img check $1: $(cat check.log)"
}

# Leaked clusters cost space, never data: all that a crash may leave.
expect_no_corruption()
{
    local status=0
    qemu-img check "$1" > check.log 2>&1 || status=$?
    [ $status = 0 ] || [ $status = 3 ] ||
        fail "qemu-img check $1, status $status: $(cat check.log)"
}

# expect_intact IMAGE [ARGUMENTS...]: the VM state matches its checksums, and
# its index, made while the stream passed, is what the stream says.
expect_intact()
{
    local image=$1
    shift
    qemu_snap verify "$@" "$image" > verify.log 2>&1 ||
        fail "verify $* $image: $(cat verify.log)"
    grep -q ', intact$' verify.log || fail "not verified: $(cat verify.log)"
}

# new_image FILE [SIZE [OPTIONS]]: an empty qcow2 image.
new_image()
{
    qemu-img create -q -f qcow2 ${3:+-o "$3"} "$1" "${2:-64M}"
}

# hold_image FILE: somebody has it open for writing, until release_image.
hold_image()
{
    rm -f hold held
    mkfifo hold
    # shellcheck disable=SC2094
    qemu-io "$1" <> hold > held 2>&1 &
    holder=$!
    on_exit "kill $holder 2>/dev/null"
    wait_until $PATIENCE grep -s -q 'qemu-io>' held ||
        fail "$1: no lock: $(cat held)"
}

release_image()
{
    kill "$holder"
    wait "$holder" 2> /dev/null || true
}

# guest_image MIB FILE: a raw disk whose guest keeps MIB MiB of random data.
guest_image()
{
    as --32 --defsym "FILL_MIB=$1" -o "$2.o" "$TOP/tests/guest/guest.S"
    ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$2" "$2.o"
    rm -f "$2.o"
    chmod -x "$2"
    # The firmware does not boot from a virtio disk of a single sector.
    truncate -s 1M "$2"
}

# new_guest FILL_MIB RAM_MIB: the guest that guest_start boots, from a floppy
# disk, so that any other drive of the machine is free for snapshots.
new_guest()
{
    guest_image "$1" guest.img
    guest_ram=$2
}

# guest_disk MIB FILE: the same as a qcow2 disk that `savevm' can write to.
guest_disk()
{
    guest_image "$1" "$2.raw"
    qemu-img convert -f raw -O qcow2 "$2.raw" "$2"
    qemu-img resize -q "$2" 64M
    rm -f "$2.raw"
}

# sample_stream FILE [NUMBER]: makes FILE a link to a real stream of some 10 MB.
# It is made once and kept; each number is another moment of the guest's life.
sample_stream()
{
    local number=${2:-1} cached=$TESTS_DIR/cache/stream-${2:-1}
    mkdir -p "$TESTS_DIR/cache"
    exec 9> "$cached.lock"
    flock 9
    if [ "$cached" -ot "$TOP/tests/guest/guest.S" ]; then
        new_guest 8 16
        guest_start sample
        qemu_wait_serial sample "^pass 0*$number" $PATIENCE
        qemu_migrate sample "cat > $(printf '%q' "$cached.part")"
        qemu_quit sample
        mv "$cached.part" "$cached"
    fi
    exec 9>&-
    ln -s "$cached" "$1"
}

. "$TOP/tests/machine-functions.sh"
begin
