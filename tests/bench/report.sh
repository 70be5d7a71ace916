#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# report.sh [RECORDS]: makes tables and pictures of the records that bench.sh
# printed. Without a file of records bench.sh runs first, and they are kept in
# build/bench.records. Where a case was measured several times the last record
# counts.
#
# The tables replace what is between two comments in DOCUMENT
# (docs/performance.md), the pictures go to the directory PICTURES
# (docs/performance).

set -e -u -o pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
bench=$top/tests/bench
document=${DOCUMENT:-$top/docs/performance.md}
pictures=${PICTURES:-$top/docs/performance}

records=${1:-}
if [ -z "$records" ]; then
    records=$top/build/bench.records
    mkdir -p "$top/build"
    "$bench/bench.sh" > "$records"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# select_records FILTER: applied to an object of records, by case.
select_records()
{
    jq -r -n -L "$bench" "include \"report\";
        reduce inputs as \$record ({}; .[\$record.case] = \$record) | $1" \
        "$records"
}

# A picture of which nothing was measured is left as it is.
draw()
{
    select_records "$1" > "$scratch/$2"
    if [ -s "$scratch/$2" ]; then
        gnuplot -e "data='$scratch/$2'" "$bench/$2.gp" > "$scratch/$2.svg"
        cp "$scratch/$2.svg" "$pictures/$2.svg"
    fi
}

mkdir -p "$pictures"
draw rates_of_contenders rates
draw rates_by_depth depth
draw transfers_by_size size

select_records tables > "$scratch/tables"
for mark in begin end; do
    grep -q "^<!-- $mark tables -->" "$document" ||
        { echo "$document: no comment '$mark tables'" >&2; exit 1; }
done
sed -e "/^<!-- begin tables -->/r $scratch/tables" \
    -e '/^<!-- begin tables -->/,/^<!-- end tables -->/ {
        /^<!--/ !d
    }' "$document" > "$scratch/document"
cp "$scratch/document" "$document"
