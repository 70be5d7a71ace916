# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# For tests/machines: streams of a machine are understood to the last byte, and
# all that is said of them is what QEMU says: page size, RAM blocks, how many
# pages were sent, sections in their order, and how long the state of each
# device is. They are loaded as they were sent; the same QEMU takes them, and
# has the same RAM then.
#
# A test sources functions.sh, then this file; it sets QEMU and
#   machine   arguments of both QEMU
#   guest     arguments of the one that is saved: what puts something into RAM
#   ram       the address of RAM
# and calls `adds_up' for each way to save, which prints a line of a table.

# shellcheck shell=bash
ACCOUNT=${ACCOUNT:-$TOP/build/tests/machines/account}
requires "$QEMU" "$ACCOUNT"

# Machines that have a sound card make none of it.
export QEMU_AUDIO_DRV=none

# What the programs below leave alone, up to 7 MiB.
head -c 1M /dev/urandom > random

# Does this QEMU still have that type of machine?
has_machine()
{
    "$QEMU" -machine help > types
    grep -q "^$1 " types
}

# program HEX-DIGITS...: a program for the machine, in the file `program'. It
# writes to each page from 4 to 6 MiB, for ever, and each time something else:
# (page + times) % 8 * address. So each eighth page is zero, one after another.
# It empties the TLB each time: TCG misses writes to a page that it has at hand
# already when the page is sent.
program()
{
    printf '%b' "$(printf '%s' "$@" | sed 's/../\\x&/g')" > program
}

# loader FILE OFFSET-IN-RAM [cpu-num=0]
loader()
{
    printf -- '-device loader,file=%s,addr=%#x,force-raw=on%s ' \
        "$1" $((ram + $2)) "${3:+,$3}"
}

# Has the program been around once?
program_runs()
{
    qemu_hmp "$1" "xp /2wx $((ram + 0x5ff000))" | grep -q '0x0*[1-9a-f]'
}

# Then it is in the state in which the other one was.
is_loaded()
{
    ! qemu_is_in_state "$1" inmigrate
}

# ---------------------------------------------------------------------------
# What QEMU says, in the words of tests/machines/account.c

# Names of blocks are shown aligned to the right.
qemu_blocks()
{
    local name used
    qemu_hmp "$1" 'info ramblock' | sed '1d; s/ KiB / /; s/ MiB / /' |
        while read -r name _ _ used _; do
            echo "block $name $((used))"
        done
}

qemu_pages()
{
    jq -r '"pages \(.ram.normal) \(.ram.duplicate)"' "$1.migration"
}

# As the target has found them.
qemu_sections()
{
    sed -n -E 's/^qemu_loadvm[^ ]* [0-9]+\((.*)\) /section \1 /p' "$1.trace"
}

# Of each device, the length of its state: of all fields, and of subsections,
# which begin with a type, their name and a version. FILE is the description.
# It does not list all pointers of an array if the first one is null.
described_devices()
{
    jq -r '
        def body: ([.fields[]? | .size * (.array_len // 1)] | add // 0) +
            ([.subsections[]? | 6 + (.vmsd_name | length) + body] | add // 0);
        .devices[] | select(.name != "s390_css") |
            "device \(.name) \(.instance_id) \(.size // body)"' "$1"
}

# ---------------------------------------------------------------------------

# Every page is there: once, or often if the guest ran meanwhile.
enough_pages()
{
    awk -v way="$1" '
        $1 == "page-size" { size = $2 }
        $1 == "pages" { pages = $2 + $3 }
        $1 == "block" { bytes += $3 }
        END {
            if (way ~ /^(live|background)/) {
                exit !(pages * size > bytes || way ~ /^background/)
            }
            exit pages * size != bytes
        }' account
}

# Those of the capability.
has_packed_pages()
{
    case $1 in
    *xbzrle*) jq -e '.["xbzrle-cache"].pages > 0' source.migration ;;
    *compress*) jq -e '.compression.pages > 0' source.migration ;;
    esac > /dev/null
}

# agree WHAT [sort]: the account has those lines that are on standard input.
agree()
{
    grep "^$1 " account | grep -v '^device s390_css ' | ${2:-cat} > ours ||
        true
    ${2:-cat} > theirs
    diff theirs ours >&2 || fail "not what QEMU says of: $1"
}

# compare_with_qemu WAY
compare_with_qemu()
{
    local offset
    grep -q "^page-size $(json_member page-size < source.migration)$" \
        account || fail "wrong page size"
    qemu_blocks target | agree block sort
    has_packed_pages "$1" || fail "no such pages: $(cat source.migration)"
    enough_pages "$1" || fail "not all pages, or not repeated: $(cat account)"
    # Otherwise QEMU counts pages that it tried to pack, too.
    [ -n "$(capability_of "$1")" ] || qemu_pages source | agree pages
    qemu_sections target | agree section
    offset=$(sed -n 's/^description //p' account)
    case $1 in
    *no-*) ;;
    *)
        tail -c "+$((offset + 1))" stream > description
        described_devices description | agree device
        ;;
    esac
}

# start_source WAY ARGUMENTS...
start_source()
{
    local way=$1
    shift
    case $way in
    *stopped*) qemu_start source $machine "$@" -S ;;
    *)
        qemu_start source $machine $guest "$@"
        wait_until $PATIENCE ${guest_runs:-program_runs} source ||
            fail "the guest does not run: $(cat source.err)"
        ;;
    esac
}

# capability_of WAY: prints the one it takes.
capability_of()
{
    case $1 in
    *xbzrle*) echo xbzrle ;;
    *compress*) echo compress ;;
    *background*) echo background-snapshot ;;
    esac
}

has_sent_some_twice()
{
    local rounds
    rounds=$(qemu_qmp "$1" query-migrate | json_member dirty-sync-count)
    [ "${rounds:-0}" -ge 4 ] || qemu_migration_ended "$1"
}

# While the guest writes; it ends by itself when the guest has no time to.
migrate_slowly()
{
    qemu_qmp "$1" migrate-set-parameters \
        '{ "max-bandwidth": 4000000, "downtime-limit": 1 }' > /dev/null
    qemu_migrate_start "$1" "$2"
    wait_until $PATIENCE has_sent_some_twice "$1" ||
        fail "$1: no rounds: $(qemu_hmp "$1" 'info migrate')"
    qemu_qmp "$1" migrate-set-parameters \
        '{ "max-bandwidth": 0, "downtime-limit": 2000 }' > /dev/null
    qemu_wait_migration "$1"
    expect_no_complaint "$1"
}

# save_source WAY
save_source()
{
    local save="tee sent | $SNAP_COMMAND save --create states.qcow2"
    case $1 in
    live*) migrate_slowly source "$save" ;;
    background*) qemu_migrate source "$save" ;;
    *)
        qemu_qmp source stop > /dev/null
        qemu_migrate source "$save"
        ;;
    esac
    qemu_qmp source query-migrate > source.migration
}

# load_target WAY ARGUMENTS...
load_target()
{
    local way=$1
    shift
    qemu_start target $machine "$@" -S -incoming defer \
        -D target.trace -trace qemu_loadvm_state_section_startfull
    case $way in
    *xbzrle* | *compress*) qemu_capability target "$(capability_of "$way")" ;;
    esac
    qemu_qmp target migrate-incoming "{ \"uri\":
        $(json_string "exec:$SNAP_COMMAND load states.qcow2") }" > /dev/null
    wait_until $PATIENCE is_loaded target ||
        fail "not loaded: $(cat target.err)"
    expect_no_complaint target
}

# adds_up WAY ARGUMENTS...: WAY is what of stopped, paused, live, background,
# xbzrle, compress, no-footers and no-description there is. The guest runs when
# it is saved live or in the background.
adds_up()
{
    local way=$1 capability bytes unaccounted
    shift
    rm -f states.qcow2 stream
    start_source "$way" "$@"
    capability=$(capability_of "$way")
    # Other versions know others, and one is not for everybody.
    if [ -n "$capability" ] &&
        ! ( qemu_capability source "$capability" ) 2> /dev/null; then
        qemu_quit source
        echo "not here: $way"
        return
    fi
    save_source "$way"
    qemu_hmp source "pmemsave $ram 0x1000000 source.ram" > /dev/null
    qemu_quit source
    expect_clean states.qcow2

    qemu_snap load states.qcow2 > stream
    expect_same sent stream
    "$ACCOUNT" stream > account || fail "$way: no account"
    load_target "$way" "$@"
    compare_with_qemu "$way"
    qemu_hmp target "pmemsave $ram 0x1000000 target.ram" > /dev/null
    # A guest that is saved in the background goes on. Of one that runs, TCG may
    # still miss the last write to a page.
    [[ $way = background* || $way = live* ]] ||
        expect_same source.ram target.ram
    qemu_quit target

    read -r _ bytes unaccounted <<< "$(grep '^bytes ' account)"
    [ "$bytes" = "$(stat -c %s stream)" ] || fail "the stream has $bytes bytes"
    table_line "$way $*" "$bytes" "$unaccounted"
    [ "$unaccounted" = 0 ] || fail "$unaccounted bytes are in no section"
}

table_row()
{
    printf '%-22s %9s %6s %7s %10s %11s  %s\n' "$@"
}

# table_line WHAT BYTES UNACCOUNTED
table_line()
{
    if [ -z "${table_begun:-}" ]; then
        table_begun=true
        table_row machine page-size blocks devices bytes unaccounted way
    fi
    table_row "$(sed -n 's/^machine //p' account)" \
        "$(sed -n 's/^page-size //p' account)" "$(grep -c ^block account)" \
        "$(grep -c ^device account)" "$2" "$3" "$1"
}

# In all ways that there are, and with all that a source can leave out.
all_ways_add_up()
{
    local no_description='-machine suppress-vmdesc=on'
    local no_footers='-global migration.send-section-footer=off'
    local no_configuration='-global migration.send-configuration=off'
    adds_up stopped
    adds_up live
    adds_up live-xbzrle
    adds_up compress
    adds_up no-footers $no_footers
    adds_up no-description $no_description
    adds_up paused $no_configuration
    adds_up no-description $no_description $no_configuration
    adds_up background
}
