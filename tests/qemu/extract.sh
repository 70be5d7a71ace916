#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What `extract' makes of a guest that was saved is what QEMU itself says of it:
# its memory byte for byte, whatever the source did to the pages of its stream,
# and the registers of its CPUs.

. "$(dirname "$0")/../functions.sh"

new_guest 4 16

# save_stopped CAPABILITY [ARGUMENTS...]: a guest that stands still. The
# capability may be empty.
save_stopped()
{
    local capability=$1
    shift
    rm -f states.qcow2
    guest_start guest "$@"
    qemu_wait_serial guest '^tick' $PATIENCE
    [ -z "$capability" ] || qemu_capability guest "$capability"
    qemu_hmp guest stop > /dev/null
    qemu_migrate guest "$SNAP_COMMAND save --create states.qcow2"
}

# The same of one that runs, which sends pages again and again. Now and then a
# busy QEMU does not notice a write of a running guest, and its own memory is not
# what it sends: so what the stream holds is asked of one that takes it.
save_running()
{
    local capability=$1
    rm -f states.qcow2
    guest_start source
    qemu_wait_serial source '^tick' $PATIENCE
    [ -z "$capability" ] || qemu_capability source "$capability"
    qemu_migrate_live source "$SNAP_COMMAND save --create states.qcow2"
    qemu_quit source
    guest_start guest -S -incoming defer
    [ -z "$capability" ] || qemu_capability guest "$capability"
    qemu_qmp guest migrate-incoming "{ \"uri\":
        $(json_string "exec:$SNAP_COMMAND load states.qcow2") }" > /dev/null
    qemu_wait_migration guest
}

# memory_of_guest ADDRESS BYTES FILE: as QEMU sees it.
memory_of_guest()
{
    qemu_qmp guest pmemsave "{ \"val\": $1, \"size\": $2,
        \"filename\": $(json_string "$PWD/$3") }" > /dev/null
}

extract()
{
    rm -f "${!#}"
    # shellcheck disable=SC2086
    expect_status 0 qemu_snap extract $extract_options "$@"
    [ ! -s err ] || fail "complaints: $(cat err)"
}

ram=$((16 << 20))
extract_options=

# Pages that are sent again and again; the same as differences; and packed.
some_of 'save_running xbzrle' save_running 'save_stopped compress' > ways
while read -r way; do
    read -r save capability <<< "$way"
    if [ "$capability" = compress ]; then
        guest_start asked
        ( qemu_capability asked compress ) 2> /dev/null ||
            { qemu_quit asked; echo 'not here: compress'; continue; }
        qemu_quit asked
    fi
    $save "$capability"
    memory_of_guest 0 $ram memory
    qemu_quit guest
    extract states.qcow2 raw
    expect_same memory raw
    rm -f piped
    qemu_snap extract states.qcow2 - > piped
    expect_same memory piped
    echo "the same: $way"
done < ways

# RAM above 4 GiB, which costs nothing: the machine's option has to be said.
save_stopped '' -machine pc,max-ram-below-4g=12M
memory_of_guest 0 $((12 << 20)) low
memory_of_guest $((4 << 30)) $((4 << 20)) high
qemu_quit guest
extract_options=--below-4g=12M
extract states.qcow2 raw
[ "$(stat -c %s raw)" = $(((4 << 30) + (4 << 20))) ] ||
    fail "length $(stat -c %s raw)"
[ "$(du -k raw | cut -f 1)" -lt 16384 ] || fail 'not sparse'
cmp -n $((12 << 20)) raw low >&2 || fail 'another memory below 4 GiB'
cmp -i $((4 << 30)):0 raw high >&2 || fail 'another memory above 4 GiB'

# A core file beside QEMU's own, of two CPUs.
save_stopped '' -smp 2
qemu_hmp guest 'info registers -a' > registers
memory_of_guest 0 $ram memory
qemu_qmp guest dump-guest-memory "{ \"paging\": false,
    \"protocol\": $(json_string "file:$PWD/theirs") }" > /dev/null
qemu_quit guest
extract_options=--format=elf
extract states.qcow2 core

# notes FILE: those of QEMU.
notes()
{
    readelf -n "$1" 2> /dev/null | grep -A 2 '^  QEMU'
}
notes theirs > theirs.notes
notes core > core.notes
expect_same theirs.notes core.notes
[ "$(grep -c QEMU core.notes)" = 2 ] || fail "notes: $(readelf -n core)"
[ "$(readelf -n core | grep -c NT_PRSTATUS)" = 2 ] ||
    fail "notes: $(readelf -n core)"
read -r offset address physical size < <(readelf -W -l core |
    awk '$1 == "LOAD" { print $2, $3, $4, $5 }')
[ $((address)) = 0 ] && [ $((physical)) = 0 ] && [ $((size)) = $ram ] ||
    fail "segments: $(readelf -W -l core)"
cmp -i $((offset)):0 core memory >&2 || fail 'another memory in the core file'

# The first CPU's instruction pointer, as debuggers find it: behind the head of
# the note and what Linux tells of a process, the seventeenth register.
read -r note < <(readelf -W -l core | awk '$1 == "NOTE" { print $2 }')
rip=$(od -A n -t x8 -j $((note + 20 + 112 + 16 * 8)) -N 8 core | tr -d ' ')
expected=$(sed -n -E '/^[ER]IP=/{s/^[ER]IP=([0-9a-f]+).*/\1/p;q}' registers)
[ $((0x$rip)) = $((0x$expected)) ] || fail "RIP $rip, not $expected"
if command -v gdb > /dev/null; then
    gdb -q -nx -batch -ex 'core-file core' -ex 'info registers rip' \
        -ex 'x/1xg 0x200000' > debugged 2> /dev/null
    grep -q "^rip *$(printf '0x%x' "0x$expected") " debugged ||
        fail "gdb: $(cat debugged)"
    grep -q "^0x200000:.0x$(od -A n -t x8 -j 0x200000 -N 8 memory |
        tr -d ' ')" debugged || fail "gdb: $(cat debugged)"
fi
