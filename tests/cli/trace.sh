#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# -T shows which ways a transfer took: on standard error or in a file, all of
# it or what a pattern chooses. Without it there is silence.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
qemu_snap save -T '*' --create -n first states.qcow2 < stream 2> err
grep -q '^snap_stream_in bytes=[0-9]* ' err || fail "save: $(cat err)"
grep -q '^host_file_' err || fail "save shows no file: $(cat err)"

qemu_snap load --trace='enable=snap_*,file=trace' states.qcow2 > loaded 2> err
expect_same stream loaded
[ ! -s err ] || fail "standard error: $(cat err)"
grep -q '^snap_stream_out ' trace || fail "load: $(cat trace)"
! grep -q -v '^snap_' trace || fail "more than the pattern: $(cat trace)"

qemu_snap load states.qcow2 2> err > loaded
[ ! -s err ] || fail "not silent: $(cat err)"

expect_status 1 qemu_snap list -T events=x states.qcow2
grep -q "^qemu-snap: .*invalid trace option 'events=x'" err || fail "$(cat err)"
