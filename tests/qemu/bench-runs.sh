#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The benchmark runs, in small, and each case prints a record of its own.

. "$(dirname "$0")/../functions.sh"

TMPDIR=$SCRATCH SIZE=tiny RUNS=1 "$TOP/tests/bench/bench.sh" > records
found=$(jq -r 'select(.ratio > 0 and .ours.median > 0 and .runs == 1 and
    .bytes > 16000000) | .case' records | tr '\n' ' ')
[ "$found" = 'save-stream load-stream save-guest load-guest ' ] ||
    fail "cases with a result: $found"
