#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The capabilities of a migration that change its stream: each is saved with
# the guest running, loaded into a QEMU with the same one, and carries on.

. "$(dirname "$0")/../functions.sh"

new_guest 4 16
uuid=4a1f6a1e-5b1d-4b0f-8d1c-0b9a5c2f7e33

# set_capabilities NAME CAPABILITY...
set_capabilities()
{
    local name=$1 capability
    shift
    for capability; do
        qemu_capability "$name" "$capability"
    done
}

# carry_on MIGRATE CAPABILITY...; MIGRATE is a function.
carry_on()
{
    local migrate=$1
    shift
    rm -f states.qcow2
    guest_start source -uuid $uuid
    qemu_wait_serial source '^tick' $PATIENCE
    set_capabilities source "$@"
    $migrate source "$SNAP_COMMAND save --create states.qcow2"
    qemu_qmp source query-migrate > migration.json
    qemu_quit source
    expect_clean states.qcow2

    guest_start target -uuid $uuid -incoming defer
    set_capabilities target "$@"
    qemu_qmp target migrate-incoming "{ \"uri\":
        $(json_string "exec:$SNAP_COMMAND load states.qcow2") }" > /dev/null
    guest_proves_itself target
    qemu_quit target
    guest_carried_on source target
    echo "carried on: $*"
}

# used CAPABILITY: whether the last migration has such pages in its stream.
used()
{
    case $1 in
    xbzrle) jq -e '.["xbzrle-cache"].pages > 0' migration.json &&
        qemu_snap inspect -n "$(snapshot_names states.qcow2)" --output=json \
            states.qcow2 | jq -e '.["xbzrle-pages"] >= 0' ;;
    compress) jq -e '.compression.pages > 0' migration.json &&
        qemu_snap inspect -n "$(snapshot_names states.qcow2)" --output=json \
            states.qcow2 | jq -e '.["compressed-pages"] > 0' ;;
    esac > /dev/null
}

# Older and newer versions of QEMU know others, and one asks for userfaultfd,
# which not everybody may use.
guest_start asked -incoming defer
for capability in xbzrle compress validate-uuid x-ignore-shared \
    postcopy-ram; do
    ( qemu_capability asked $capability ) 2> /dev/null ||
        { echo "not here: $capability"; continue; }
    qemu_capability asked $capability false
    case $capability in
    # Only pages that are sent again can be sent as a difference.
    xbzrle) carry_on qemu_migrate_live xbzrle return-path validate-uuid ;;
    *) carry_on qemu_migrate $capability ;;
    esac
    used $capability || fail "$capability did not show: $(cat migration.json)"
done
qemu_quit asked
