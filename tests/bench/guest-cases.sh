# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The cases of bench.sh that save and restore a whole guest. Built like those
# in stream-cases.sh.

# shellcheck shell=bash disable=SC2154

# --- save-guest: a stopped guest, until it can go on

prepare_save_guest()
{
    need_guest
    need_stream
}

# As qemu_migrate, with less around it.
migrate_to()
{
    qemu_migrate_start source "$1"
    qemu_wait_migration source
}

save_guest_ours()
{
    rm -f ours.qcow2
    sync
    timed migrate_to "$SNAP_COMMAND save $options --create -n bench ours.qcow2"
    expect_snapshots ours.qcow2 bench
}

save_guest_savevm()
{
    rm -f savevm.qcow2
    new_image savevm.qcow2 1M
    sync
    qemu_hmp source \
        'drive_add "" file=savevm.qcow2,if=none,cache=none,id=savevm' > answer
    timed qemu_hmp source 'savevm bench'
    qemu_hmp source 'drive_del savevm'
    expect_snapshots savevm.qcow2 bench
}

# A guest that was migrated has to be continued before it can be again.
run_save_guest()
{
    qemu_hmp source cont
    qemu_hmp source stop
    "save_guest_$1"
}

# --- load-guest: until the guest can run

prepare_load_guest()
{
    prepare_save_guest
    [ -e ours.qcow2 ] || run_save_guest ours > /dev/null
    [ -e savevm.qcow2 ] || run_save_guest savevm > /dev/null
}

# start_and_wait STATE ARGUMENTS...
start_and_wait()
{
    local state=$1
    shift
    guest_start target "$@"
    wait_until "$PATIENCE" qemu_is_in_state target "$state" ||
        fail "not restored: $(cat target.err)"
}

run_load_guest()
{
    forget ours.qcow2
    forget savevm.qcow2
    case $1 in
    ours)
        timed start_and_wait paused \
            -incoming "exec:$SNAP_COMMAND load $options ours.qcow2"
        ;;
    loadvm)
        # QEMU starts the guest here although it was stopped when it was saved.
        timed start_and_wait running -loadvm bench \
            -drive file=savevm.qcow2,if=none,cache=none
        ;;
    esac
    qemu_quit target
}
