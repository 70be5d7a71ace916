#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Measures qemu-snap beside what one would use without it, on the same bytes
# and the same disk, and prints one JSON record per case. What the cases are
# and what their numbers mean is in docs/performance.md.
#
# The contenders of a case run in turns and all their seconds are in the
# record. `ratio' is the median of the other (the fastest, if there are several)
# by the median of ours: above 1 we are faster. `cpu_ratio' is our processor
# time by the other's: below 1 we take less. Cases without `ours' have `points'
# to draw instead.
#
# From the environment: RUNS (5), CASES (all), OPTIONS of qemu-snap (its own
# defaults except --cache=none), and what tests/functions.sh takes; SIZE in MiB
# of random guest memory (1500), SIZES of streams in MiB (100 400 1600 8000, as
# far as there is room), DISK, the virtual size of large disks (1T), and
# SNAPSHOTS on one of them (100). SIZE=tiny makes all of these small. The
# scratch directory, in TMPDIR if set, decides which disk is measured; it needs
# six times SIZE, and twice the sum of SIZES.

# What the cases use is set here.
# shellcheck disable=SC1090,SC2034

. "$(dirname "$0")/../functions.sh"

runs=${RUNS:-5}
size=${SIZE:-1500}
sizes=${SIZES:-100 400 1600 8000}
disk=${DISK:-1T}
snapshots=${SNAPSHOTS:-100}
options=${OPTIONS---cache=none}
if [ "$size" = tiny ]; then
    size=16
    sizes=${SIZES:-4 8}
    disk=${DISK:-1G}
    snapshots=${SNAPSHOTS:-3}
fi
PATIENCE=600

build=${BUILD:-build}
${MAKE:-make} -s --no-print-directory -C "$TOP" BUILD="$build" \
    bench-programs >&2
programs=$(cd "$TOP" && realpath "$build/tests/bench")

for part in material stream-cases inside-cases guest-cases disk-cases \
    point-cases; do
    . "$TOP/tests/bench/$part.sh"
done

all_cases='save-stream save-ring load-stream load-fio load-cached
    load-cold-automatic load-half-cached load-depth load-depth-delayed
    save-indexed scan verify inspect-indexed extract-raw
    save-guest load-guest list-cold list-warm inspect-cold inspect-warm
    create-1t delete-1t pipe load-by-depth load-by-depth-delayed
    save-by-size load-by-size'

# Who takes part in a case; a case of one word runs each of them by its name.
contenders_of()
{
    case $1 in
    save-stream | load-stream) echo ours dd ;;
    save-ring) echo ours ring ;;
    load-fio) echo ours fio ;;
    load-cached) echo ours cat ;;
    load-cold-automatic | load-half-cached)
        echo ours --cache=none --cache=writeback
        ;;
    load-depth | load-depth-delayed) echo ours --depth=1 ;;
    save-guest) echo ours savevm ;;
    load-guest) echo ours loadvm ;;
    save-indexed) echo ours --no-index --raw ;;
    scan | verify) echo ours cat ;;
    extract-raw) echo ours cp dd ;;
    list-* | inspect-* | create-1t | delete-1t) echo ours qemu-img ;;
    pipe) echo write-small write-huge vmsplice splice ;;
    load-by-depth*) echo 1 2 4 8 16 32 ;;
    *-by-size) fitting_sizes ;;
    *) fail "no case $1" ;;
    esac
}

machine()
{
    echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)," \
        "$(nproc) CPUs, $(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' \
            /proc/meminfo) GiB," \
        "$(df --output=fstype . | tail -n 1) on" \
        "$(basename "$(df --output=source . | tail -n 1)")"
}

# record CASE CONTENDER...: from the file `results', an object for each run.
record()
{
    local case=$1
    shift
    jq -s -c -f "$TOP/tests/bench/record.jq" --arg case "$case" \
        --arg options "$used" --arg names "$*" \
        --argjson bytes "${bytes:-null}" \
        --arg qemu "$("$QEMU" --version | head -n 1)" \
        --arg kernel "$(uname -r)" --arg machine "$(machine)" \
        --argjson cpus "$(nproc)" \
        --arg date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" results
}

run_case()
{
    local case=$1 function=${1//-/_} names contender run
    local -a contenders
    names=$(contenders_of "$case")
    read -r -a contenders <<< "$names"
    [ -n "$names" ] || fail "no room for $case"
    bytes=
    used=$options
    run=0
    : > results
    "prepare_$function"
    for ((run = 0; run < runs; run++)); do
        for contender in "${contenders[@]}"; do
            "run_$function" "$contender" > result
            jq -c --arg name "$contender" '. + { $name }' result >> results
        done
    done
    record "$case" "${contenders[@]}"
}

for case in ${CASES:-$all_cases}; do
    run_case "$case"
done
