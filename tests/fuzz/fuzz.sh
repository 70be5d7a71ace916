#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Run fuzzers one after another, FUZZ_SECONDS each:
#
#     tests/fuzz/fuzz.sh DIRECTORY TARGET...
#
# DIRECTORY holds the fuzzers. What they find goes to its finds/TARGET, never
# into the corpus; an input that breaks a promise to finds/TARGET-crash-* and
# the like. No input may take more than 256 MiB, or ten seconds of the
# processor (entry.c); one that waits is ended after a minute.

set -e -u

directory=$1
shift
corpora=$(dirname "$0")/corpus
finds=$directory/finds
export ASAN_OPTIONS=quarantine_size_mb=16:allocator_may_return_null=1

for target in "$@"; do
    mkdir -p "$finds/$target"
    echo "  FUZZ   $target"
    if ! nice "$directory/fuzz-$target" -max_total_time="$FUZZ_SECONDS" \
        -rss_limit_mb=256 -timeout=60 -max_len=1048576 -print_final_stats=1 \
        -artifact_prefix="$finds/$target-" "$finds/$target" \
        "$corpora/$target" > "$finds/$target.log" 2>&1; then
        tail -n 40 "$finds/$target.log" >&2
        echo "$target: see $finds/$target.log" >&2
        exit 1
    fi
    grep -E 'DONE|number_of_executed' "$finds/$target.log"
done
