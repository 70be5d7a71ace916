#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# As fuzz.sh, for fuzzers that afl-clang-fast has built. What they find goes to
# finds/TARGET/default of DIRECTORY.

set -e -u

directory=$1
shift
corpora=$(dirname "$0")/corpus
export AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_UI=1
export AFL_AUTORESUME=1
export ASAN_OPTIONS=abort_on_error=1:symbolize=0:detect_leaks=0
ASAN_OPTIONS+=:allocator_may_return_null=1

for target in "$@"; do
    finds=$directory/finds/$target
    mkdir -p "$finds"
    echo "  AFL    $target"
    nice afl-fuzz -V "$FUZZ_SECONDS" -t 5000 -m none -G 1048576 \
        -i "$corpora/$target" -o "$finds" "$directory/fuzz-$target" \
        > "$finds.log" 2>&1 || { tail -n 20 "$finds.log" >&2; exit 1; }
    grep -E '^(execs_done|corpus_count|saved_(crashes|hangs)) ' \
        "$finds/default/fuzzer_stats"
    if grep -q -E '^saved_(crashes|hangs) +: +[1-9]' \
        "$finds/default/fuzzer_stats"; then
        echo "$target: see $finds/default" >&2
        exit 1
    fi
done
