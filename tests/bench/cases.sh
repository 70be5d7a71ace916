# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The cases of bench.sh: per case what both sides need once, and one run of
# ours and of the other. A run starts with new files or a cold cache, which
# does not count, and prints its result as an object. The guest `source' is
# stopped, and `stream' is its stream.

# The variables come from the script that includes this one.
# shellcheck shell=bash disable=SC2154

# --- save-stream

prepare_save_stream()
{
    cat stream > /dev/null
}

ours_save_stream()
{
    rm -f ours.qcow2
    sync
    cat stream | ./measure report "$QEMU_SNAP" save $options --create \
        -n bench ours.qcow2
    cat report
}

other_save_stream()
{
    rm -f other.raw
    sync
    cat stream | ./measure report dd bs=1M iflag=fullblock oflag=direct \
        of=other.raw status=none
    cat report
}

# --- load-stream

prepare_load_stream()
{
    [ -e ours.qcow2 ] || ours_save_stream > /dev/null
    [ -e other.raw ] || other_save_stream > /dev/null
    "$QEMU_SNAP" load ours.qcow2 | cmp - stream
}

ours_load_stream()
{
    forget ours.qcow2
    ./measure report "$QEMU_SNAP" load $options ours.qcow2 | cat > /dev/null
    cat report
}

other_load_stream()
{
    forget other.raw
    ./measure report dd bs=1M iflag=direct if=other.raw status=none |
        cat > /dev/null
    cat report
}

# --- save-guest

prepare_save_guest()
{
    rm -f other.raw ours.qcow2
    qemu_qmp source migrate-set-parameters '{ "max-bandwidth": 0 }' > /dev/null
}

# As qemu_migrate, with less around it.
migrate_to()
{
    qemu_migrate_start source "$1"
    qemu_wait_migration source
}

# A guest that was migrated has to be continued before it can be again.
ours_save_guest()
{
    rm -f ours.qcow2
    sync
    qemu_hmp source cont
    qemu_hmp source stop
    timed migrate_to "$SNAP_COMMAND save $options --create -n bench \
        ours.qcow2"
    expect_snapshots ours.qcow2 bench
}

other_save_guest()
{
    rm -f savevm.qcow2
    new_image savevm.qcow2 1M
    sync
    qemu_hmp source cont
    qemu_hmp source stop
    qemu_hmp source \
        'drive_add "" file=savevm.qcow2,if=none,cache=none,id=savevm' > answer
    timed qemu_hmp source 'savevm bench'
    qemu_hmp source 'drive_del savevm'
    expect_snapshots savevm.qcow2 bench
}

# --- load-guest

prepare_load_guest()
{
    [ -e ours.qcow2 ] || ours_save_guest > /dev/null
    [ -e savevm.qcow2 ] || other_save_guest > /dev/null
}

# start_and_wait STATE ARGUMENTS...
start_and_wait()
{
    local state=$1
    shift
    guest_start target "$@"
    wait_until $PATIENCE qemu_is_in_state target "$state" ||
        fail "not restored: $(cat target.err)"
}

ours_load_guest()
{
    forget ours.qcow2
    timed start_and_wait paused \
        -incoming "exec:$SNAP_COMMAND load $options ours.qcow2"
    qemu_quit target
}

other_load_guest()
{
    forget savevm.qcow2
    # QEMU starts the guest here although it was stopped when it was saved.
    timed start_and_wait running -loadvm bench \
        -drive file=savevm.qcow2,if=none,cache=none
    qemu_quit target
}
