# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Machines under QEMU, for functions.sh, which includes this file: start and
# stop them, talk to their monitors, migrate them, and hear from the guest
# whether its memory is what it should be.
#
# Each machine has a name; NAME.serial is what the guest said, NAME.err what
# QEMU and the commands that it started complained about, NAME.qmp its monitor.

# shellcheck shell=bash
declare -A qemu_pid=()

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

# The monitor is asked so often that starting jq each time, once to ask and once
# to understand, was a good part of all tests.

# json_string TEXT: as a JSON string; the text has no control characters.
json_string()
{
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# json_member NAME: the value of that member of the JSON text on the standard
# input, when it is a word or a number. No other member may have that name.
json_member()
{
    sed -n -E "s/.*\"$1\": \"?([^\",}]+).*/\1/p"
}

# qemu_qmp NAME COMMAND [ARGUMENTS-AS-JSON]: prints the answer, as JSON.
qemu_qmp()
{
    local line request
    request="{ \"execute\": \"$2\", \"arguments\": ${3:-{\}}, \"id\": \"test\" }"
    coproc MONITOR { exec socat - "UNIX-CONNECT:$1.qmp" 2>> "$1.err"; }
    # The variables of a coprocess vanish with it, in the midst of a command.
    local in=${MONITOR[1]} out=${MONITOR[0]} pid=$MONITOR_PID
    printf '%s\n' '{ "execute": "qmp_capabilities" }' "$request" >&"$in"
    while read -r -t $PATIENCE -u "$out" line; do
        line=${line%$'\r'}
        case $line in
        # That of an error comes first.
        *'"id": "test"}' | '{"id": "test"'*) break ;;
        esac
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    case ${line:-} in
    '{"return": '*', "id": "test"}'*)
        line=${line#*: }
        printf '%s\n' "${line%, \"id\": *}"
        ;;
    *) fail "$1: $2: ${line:-no answer} $(cat "$1.err")" ;;
    esac
}

# qemu_hmp NAME 'COMMAND': prints what the human monitor prints.
qemu_hmp()
{
    local answer
    answer=$(qemu_qmp "$1" human-monitor-command \
        "{ \"command-line\": $(json_string "$2") }")
    answer=${answer#\"}
    printf '%b' "${answer%\"}" | tr -d '\r'
}

# qemu_capability NAME CAPABILITY [true|false]: for the next migration.
qemu_capability()
{
    qemu_qmp "$1" migrate-set-capabilities "{ \"capabilities\":
        [ { \"capability\": \"$2\", \"state\": ${3:-true} } ] }" > /dev/null
}

# qemu_migrate_start NAME 'SHELL COMMAND'; the stream goes to its input.
qemu_migrate_start()
{
    qemu_qmp "$1" migrate "{ \"uri\": $(json_string "exec:$2") }" > /dev/null
}

qemu_migration_status()
{
    local status
    status=$(qemu_qmp "$1" query-migrate | json_member status)
    echo "${status:-none}"
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

qemu_has_sent_rounds()
{
    local rounds
    ! qemu_migration_ended "$1" ||
        fail "$1: migration ended early: $(qemu_hmp "$1" 'info migrate')"
    rounds=$(qemu_qmp "$1" query-migrate | json_member dirty-sync-count)
    [ "${rounds:-0}" -ge "$2" ]
}

# The same with a guest that runs and dirties its memory faster than a slow
# channel takes it, until all of that was sent several times over. At this speed
# not even one page fits into the downtime, so it cannot end by itself.
qemu_migrate_live()
{
    qemu_qmp "$1" migrate-set-parameters \
        '{ "max-bandwidth": 4000000, "downtime-limit": 1 }' > /dev/null
    qemu_migrate_start "$1" "$2"
    wait_until $PATIENCE qemu_has_sent_rounds "$1" 5 ||
        fail "$1: no rounds: $(qemu_hmp "$1" 'info migrate')"
    qemu_qmp "$1" migrate-set-parameters \
        '{ "max-bandwidth": 0, "downtime-limit": 2000 }' > /dev/null
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
    [ "$(qemu_qmp "$1" query-status | json_member status)" = "$2" ]
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

# qemu_disk_holds NAME DRIVE PATTERN OFFSET BYTES: as the QEMU that runs the
# machine reads it, which says so on its standard output.
qemu_disk_holds()
{
    local answers
    answers=$(grep -c '^read ' "$1.out") || true
    qemu_hmp "$1" "qemu-io $2 \"read -P $3 $4 $5\"" > hmp
    [ ! -s hmp ] || fail "$1: $2: $(cat hmp)"
    ! grep -q 'verification failed' "$1.out" ||
        fail "$1: $2 does not hold $3 at $4: $(cat "$1.out")"
    [ "$(grep -c '^read ' "$1.out")" -gt "$answers" ] ||
        fail "$1: $2 cannot be read at $4: $(cat "$1.out")"
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

guest_ticks()
{
    grep -a -c -E '^tick [0-9]{8}$' "$1.serial" || true
}

# Waits until the guest has verified all of its memory from now on, and moved
# on meanwhile. A pass may be under way already, so only the second counts. The
# numbers may be smaller than before: those of a snapshot that was loaded.
guest_proves_itself()
{
    local ticks passes
    ticks=$(guest_ticks "$1")
    passes=$(guest_passes "$1")
    wait_until $PATIENCE guest_has_passes "$1" $((passes + 2)) ||
        fail "$1: stands still after $(tail -n 1 "$1.serial")" \
            "$(cat "$1.err")"
    [ "$(guest_ticks "$1")" -gt "$ticks" ] || fail "$1: does not count"
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
