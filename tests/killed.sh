# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Sourced by tests that kill qemu-snap while it changes images: at each moment
# between two of its system calls that matter, or with few ROUNDS at some of
# them, which SEED chooses.

# shellcheck shell=bash disable=SC2034
${CC:-cc} -D_GNU_SOURCE -shared -fPIC -o kill-at-write.so \
    "$TOP/tests/cli/kill-at-write.c"
killed=0
seed=${SEED:-$((10#$(date +%N)))}
echo "SEED=$seed"
RANDOM=$seed
kill_step=8
[ "${ROUNDS:-1}" -lt 50 ] || kill_step=1

# run_killed MOMENT ARGUMENTS...: the shell's own word about it is lost.
run_killed()
{
    local moment=$1
    shift
    { KILL_AT=$moment LD_PRELOAD=$PWD/kill-at-write.so "$QEMU_SNAP" "$@" \
        < stream > said; } 2> err
}

# for_each_kill PREPARE JUDGE ARGUMENTS...: qemu-snap with these arguments and
# a file called stream is killed again and again, each time one moment later,
# until it comes to its end. Before that PREPARE is called, afterwards JUDGE
# with the arguments.
for_each_kill()
{
    local prepare=$1 judge=$2 moment status
    shift 2
    for ((moment = 1 + RANDOM % kill_step; ; moment += kill_step)); do
        [ $moment -lt 1000 ] || fail "never at its end: $*"
        $prepare
        status=0
        run_killed $moment "$@" || status=$?
        [ $status != 0 ] || break
        [ $status = 137 ] || fail "moment $moment, status $status: $*"
        killed=$((killed + 1))
        killed_at="killed at moment $moment: $*"
        $judge "$@"
    done
}
