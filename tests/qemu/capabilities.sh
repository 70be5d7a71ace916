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

# carry_on CAPABILITY...
carry_on()
{
    rm -f states.qcow2
    guest_start source -uuid $uuid
    qemu_wait_serial source '^tick' $PATIENCE
    set_capabilities source "$@"
    # Slow enough for some pages to be sent more than once.
    qemu_qmp source migrate-set-parameters '{ "max-bandwidth": 30000000 }' \
        > /dev/null
    qemu_migrate_start source "$SNAP_COMMAND save --create states.qcow2"
    qemu_wait_migration source
    qemu_quit source
    expect_no_complaint source
    expect_clean states.qcow2

    guest_start target -uuid $uuid -incoming defer
    set_capabilities target "$@"
    qemu_qmp target migrate-incoming \
        "{ \"uri\": \"exec:$SNAP_COMMAND load states.qcow2\" }" > /dev/null
    guest_proves_itself target
    qemu_quit target
    guest_carried_on source target
    echo "carried on: $*"
}

guest_start asked
known=$(qemu_qmp asked query-migrate-capabilities |
    jq -r '.[].capability' | tr '\n' ' ')
qemu_quit asked

for capability in xbzrle compress auto-converge zero-blocks release-ram \
    return-path validate-uuid x-ignore-shared postcopy-ram; do
    case " $known" in
    *" $capability "*) carry_on $capability ;;
    esac
done
carry_on xbzrle return-path validate-uuid
