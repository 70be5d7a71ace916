#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The benchmark runs, in small: each case prints a record of its own, and the
# report makes tables and pictures of them. What needs fio or gnuplot is left
# out where they are missing.

. "$(dirname "$0")/../functions.sh"

compared='save-stream save-ring load-stream load-cached load-cold-automatic
    load-half-cached load-depth load-depth-delayed save-indexed scan verify
    inspect-indexed extract-raw save-guest load-guest
    list-cold list-warm inspect-cold inspect-warm create-1t delete-1t'
# shellcheck disable=SC2046,SC2086
compared=$(some_of $(some_of $compared) | xargs)
drawn='pipe load-by-depth load-by-depth-delayed save-by-size load-by-size'
! command -v fio > /dev/null || compared+=' load-fio'

TMPDIR=$SCRATCH SIZE=tiny RUNS=1 CASES="$compared $drawn" \
    "$TOP/tests/bench/bench.sh" > records

# expect_cases "CASE..." FILTER: those are the cases whose records pass it.
expect_cases()
{
    local found
    found=$(jq -r "select($2) | .case" records | xargs)
    [ "$found" = "$(xargs <<< "$1")" ] || fail "cases with a result: $found"
}

expect_cases "$compared" '.ratio > 0 and .ours.median > 0 and .runs == 1 and
    (.ours.bytes == null or .ours.bytes > 16000000)'
expect_cases "$drawn" '(.points | length) > 1 and
    all(.points[]; .mb_per_s > 0 and .bytes > 4000000)'

mkdir pictures
printf '%s\n' '<!-- begin tables -->' 'former table' \
    '<!-- end tables -->' > document.md
export DOCUMENT=$SCRATCH/document.md PICTURES=$SCRATCH/pictures
if command -v gnuplot > /dev/null; then
    "$TOP/tests/bench/report.sh" records
    for picture in rates depth size; do
        grep -q '</svg>' pictures/$picture.svg || fail "no picture: $picture"
    done
    # A row for each case, and nothing of what stood there before.
    for case in $compared; do
        grep -q "^| .$case. |" document.md || fail "no row for $case"
    done
    ! grep -q former document.md || fail 'the old tables are still there'
fi
