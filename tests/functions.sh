# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What the tests in bash share: a scratch directory, expectations that say
# what went wrong, clean-up on every kind of exit, and machines under QEMU with
# a guest that can prove its memory (tests/guest/guest.S). A test sources this
# file first; it then stands in its own empty directory, which is removed when
# the test passes. Exit status 77 means skipped.
#
# From the environment:
#   QEMU, QEMU_SNAP   the programs under test
#   VG                what to put in front of qemu-snap, say valgrind
#   ACCEL             accelerator of the machines, tcg unless told otherwise
#   KEEP              not empty: keep the scratch directory

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
declare -A qemu_pid=()

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

# ---------------------------------------------------------------------------
# The program under test

qemu_snap()
{
    $VG "$QEMU_SNAP" "$@"
}

# The same for a shell that somebody else starts, such as `migrate exec:'.
SNAP_COMMAND="$VG $(printf '%q' "$QEMU_SNAP")"

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
    qemu-img info -U --output=json "$1" |
        jq -r '[.snapshots // [] | .[].name] | join(" ")'
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

# new_image FILE [SIZE [OPTIONS]]: an empty qcow2 image.
new_image()
{
    qemu-img create -q -f qcow2 ${3:+-o "$3"} "$1" "${2:-64M}"
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

# ---------------------------------------------------------------------------
# Machines. Each has a name; its files are NAME.serial, NAME.err, NAME.qmp.

# qemu_start NAME ARGUMENTS...
qemu_start()
{
    local name=$1
    shift
    rm -f "$name.qmp"
    : > "$name.serial"
    "$QEMU" -name "$name" -machine pc -accel "$ACCEL" \
        -nodefaults -no-user-config -display none \
        -serial "file:$name.serial" \
        -qmp "unix:$name.qmp,server=on,wait=off" \
        "$@" < /dev/null > "$name.out" 2> "$name.err" &
    qemu_pid[$name]=$!
    wait_until $PATIENCE qemu_is_up_or_gone "$name" ||
        fail "$name: no monitor socket after $PATIENCE seconds"
}

# guest_start NAME ARGUMENTS...
guest_start()
{
    local name=$1
    shift
    qemu_start "$name" -m "$guest_ram" \
        -drive file=guest.img,format=raw,if=floppy,readonly=on "$@"
}

qemu_is_running()
{
    kill -0 "${qemu_pid[$1]}" 2>/dev/null
}

qemu_is_gone()
{
    ! qemu_is_running "$1"
}

qemu_is_up_or_gone()
{
    [ -S "$1.qmp" ] || qemu_is_gone "$1"
}

# qemu_qmp NAME COMMAND [ARGUMENTS-AS-JSON]: prints the answer, as JSON.
qemu_qmp()
{
    local request line
    request=$(jq -n -c --arg execute "$2" --argjson arguments "${3:-{\}}" \
        '{ $execute, $arguments, id: "test" }')
    coproc MONITOR { exec socat - "UNIX-CONNECT:$1.qmp" 2>> "$1.err"; }
    # The variables of a coprocess vanish with it, in the midst of a command.
    local in=${MONITOR[1]} out=${MONITOR[0]} pid=$MONITOR_PID
    printf '%s\n' '{ "execute": "qmp_capabilities" }' "$request" >&"$in"
    while read -r -t $PATIENCE -u "$out" line; do
        case $line in
        *'"id": "test"'*) break ;;
        esac
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    case ${line:-} in
    *'"return"'*) jq -c .return <<< "$line" ;;
    *) fail "$1: $2: ${line:-no answer} $(cat "$1.err")" ;;
    esac
}

# qemu_hmp NAME 'COMMAND': prints what the human monitor prints.
qemu_hmp()
{
    qemu_qmp "$1" human-monitor-command \
        "$(jq -n -c --arg c "$2" '{ "command-line": $c }')" |
        jq -j . | tr -d '\r'
}

# qemu_capability NAME CAPABILITY: switches it on, for the next migration.
qemu_capability()
{
    qemu_qmp "$1" migrate-set-capabilities "$(jq -n -c --arg c "$2" \
        '{ capabilities: [ { capability: $c, state: true } ] }')" > /dev/null
}

# qemu_migrate_start NAME 'SHELL COMMAND'; the stream goes to its input.
qemu_migrate_start()
{
    qemu_qmp "$1" migrate \
        "$(jq -n -c --arg u "exec:$2" '{ uri: $u }')" > /dev/null
}

qemu_migration_status()
{
    qemu_qmp "$1" query-migrate | jq -r '.status // "none"'
}

qemu_migration_ended()
{
    local status
    status=$(qemu_migration_status "$1") || exit 1
    case $status in
    completed | failed | cancelled) ;;
    *) return 1 ;;
    esac
}

# qemu_wait_migration NAME [STATUS]: waits for the end, and for which one.
qemu_wait_migration()
{
    local status
    wait_until $PATIENCE qemu_migration_ended "$1" ||
        fail "$1: migration hangs: $(qemu_hmp "$1" 'info migrate')"
    status=$(qemu_migration_status "$1")
    [ "$status" = "${2:-completed}" ] ||
        fail "$1: migration $status: $(cat "$1.err")"
}

# At full speed. QEMU reports success whatever the command's fate was; the
# command's words are in NAME.err.
qemu_migrate()
{
    qemu_qmp "$1" migrate-set-parameters '{ "max-bandwidth": 0 }' > /dev/null
    qemu_migrate_start "$1" "$2"
    qemu_wait_migration "$1"
    expect_no_complaint "$1"
}

# Nothing on the standard error of QEMU and of the commands that it started,
# apart from QEMU's own warnings about the machine.
expect_no_complaint()
{
    ! grep -v '^[^:]*qemu-system[^:]*: warning: ' "$1.err" >&2 ||
        fail "$1 complained"
}

qemu_is_in_state()
{
    [ "$(qemu_qmp "$1" query-status | jq -r .status)" = "$2" ]
}

# qemu_wait_serial NAME PATTERN SECONDS
qemu_wait_serial()
{
    wait_until "$3" grep -q -a -E "$2" "$1.serial" ||
        fail "$1: no '$2' on the serial port: $(tail -n 3 "$1.serial")" \
            "$(cat "$1.err")"
}

# qemu_wait_exit NAME: waits until it ended of its own; prints its status.
qemu_wait_exit()
{
    local status=0
    wait_until $PATIENCE qemu_is_gone "$1" || fail "$1 still runs"
    wait "${qemu_pid[$1]}" || status=$?
    unset "qemu_pid[$1]"
    exit_status=$status
}

qemu_quit()
{
    qemu_qmp "$1" quit > /dev/null
    qemu_wait_exit "$1"
    [ "$exit_status" = 0 ] || fail "$1: status $exit_status: $(cat "$1.err")"
}

# ---------------------------------------------------------------------------
# What the guest says

# The last number that the guest counted; 0 before the first.
guest_tick()
{
    local number
    number=$(grep -a -E '^tick [0-9]{8}$' "$1.serial" | tail -n 1) || true
    number=${number#tick }
    echo $((10#${number:-0}))
}

guest_passes()
{
    grep -a -c -E '^pass [0-9]{8}$' "$1.serial" || true
}

guest_has_passes()
{
    ! grep -q -a BAD "$1.serial" || fail "$1: $(grep -a BAD "$1.serial")"
    qemu_is_running "$1" || fail "$1 died: $(cat "$1.err")"
    [ "$(guest_passes "$1")" -ge "$2" ]
}

# Waits until the guest has verified all of its memory from now on, and moved
# on meanwhile. A pass may be under way already, so only the second counts.
guest_proves_itself()
{
    local tick passes
    tick=$(guest_tick "$1")
    passes=$(guest_passes "$1")
    wait_until $PATIENCE guest_has_passes "$1" $((passes + 2)) ||
        fail "$1: stands still after $(tail -n 1 "$1.serial")" \
            "$(cat "$1.err")"
    [ "$(guest_tick "$1")" -gt "$tick" ] || fail "$1: does not count"
}

# guest_carried_on SOURCE TARGET: what both wrote, one after the other, is the
# unbroken output of one guest, down to a line cut in two at the seam. The very
# last line may be incomplete.
guest_carried_on()
{
    grep -q '^tick' "$2.serial" || fail "$2 never counted"
    cat "$1.serial" "$2.serial" | sed '$d' | awk '
        $1 == "ready" && NR == 1 { next }
        ($1 == "tick" || $1 == "pass") &&
            (!($1 in last) || $2 == last[$1] + 1) { last[$1] = $2; next }
        { print "line " NR ": " $0; exit 1 }' >&2 ||
        fail "$2 did not carry on where $1 ended"
}

begin
