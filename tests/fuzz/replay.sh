#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Run every fuzz target on its corpus, without a fuzzer:
#
#     tests/fuzz/replay.sh PROGRAM
#
# What an input may cost is bounded here, too.

set -e -u

export ASAN_OPTIONS=quarantine_size_mb=16:hard_rss_limit_mb=512
for corpus in "$(dirname "$0")"/corpus/*/; do
    target=$(basename "$corpus")
    "$1" "$target" "$corpus" ||
        { echo "V=1 $1 $target $corpus shows which file" >&2; exit 1; }
done
