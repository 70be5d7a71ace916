#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Measures qemu-snap beside what one would use without it, on the same bytes
# and the same disk, and prints one JSON record per case:
#
#   save-stream   a guest's stream from a pipe to the disk; dd oflag=direct
#   load-stream   the same bytes from the cold disk to a pipe; dd iflag=direct
#   save-guest    a stopped guest: migrate to qemu-snap save; savevm
#   load-guest    until the guest can run: -incoming qemu-snap load; -loadvm
#
# Both contenders run in turns and all their seconds are in the record. `ratio'
# is the median of the other by the median of ours: above 1 we are faster.
#
# From the environment: RUNS (5), SIZE in MiB of random guest memory (1500) or
# `tiny', CASES (all), OPTIONS of qemu-snap (--cache=none), and what
# tests/functions.sh takes. The scratch directory, in TMPDIR if set, decides
# which disk is measured and needs five times SIZE.

. "$(dirname "$0")/../functions.sh"
. "$TOP/tests/bench/cases.sh"

runs=${RUNS:-5}
size=${SIZE:-1500}
options=${OPTIONS---cache=none}
[ "$size" != tiny ] || size=16
PATIENCE=600

# Prints the record of a case from the files `ours' and `other', which hold one
# object with at least the seconds for each run.
record()
{
    jq -n -c --slurpfile ours ours --slurpfile other other \
        --arg case "$1" --arg options "$options" \
        --argjson bytes "$(stat -c %s stream)" \
        --arg qemu "$("$QEMU" --version | head -n 1)" \
        --arg kernel "$(uname -r)" --argjson cpus "$(nproc)" \
        --arg date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" '
        def round4: . * 10000 | round / 10000;
        def median: sort | (.[(length - 1) / 2 | floor] +
                            .[length / 2 | floor]) / 2 | round4;
        def summary:
            (map(.seconds) | { median: median, min: min, max: max }) as $s |
            { seconds: map(.seconds), median: $s.median,
              spread: (($s.max - $s.min) / $s.median * 100 | round / 100),
              mb_per_s: ($bytes / 1e6 / $s.median | round) } +
            (map(.peak_kib // empty) |
                if length > 0 then { peak_kib: max } else {} end);
        { $case, $options, $bytes, runs: ($ours | length),
          ours: ($ours | summary), other: ($other | summary) } |
        .ratio = (.other.median / .ours.median * 100 | round / 100) |
        . + { $qemu, $kernel, $cpus, $date }'
}

# The disk, not the page cache, answers for these files from now on.
forget()
{
    local file
    sync
    for file; do
        dd if="$file" iflag=nocache count=0 status=none
    done
}

# timed COMMAND...: prints its seconds as an object; its output is lost.
timed()
{
    local start=${EPOCHREALTIME/.}
    "$@" > /dev/null
    jq -n -c --argjson us $((${EPOCHREALTIME/.} - start)) \
        '{ seconds: ($us / 1e6) }'
}

${CC:-cc} -O2 -o measure "$TOP/tests/bench/measure.c"
new_guest "$size" $((size + 16))
guest_start source
qemu_wait_serial source '^ready' $PATIENCE
qemu_hmp source stop
qemu_migrate source 'cat > stream'

for case in ${CASES:-save-stream load-stream save-guest load-guest}; do
    : > ours
    : > other
    prepare_"${case//-/_}"
    for ((run = 0; run < runs; run++)); do
        ours_"${case//-/_}" >> ours
        other_"${case//-/_}" >> other
    done
    record "$case"
done
qemu_quit source
