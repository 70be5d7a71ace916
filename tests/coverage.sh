#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What the tests have reached of a build with --coverage: pages to look at, and
# lines and branches by directory. `make coverage' runs this; its arguments are
# the directory with the objects and the one for the pages.
#
# Branches that exist only in GLib's macros are not counted: an assertion that
# fails, a pointer that is cleared though it is NULL. Nor is the other way out
# of a place that is never reached.

set -e -u -o pipefail
objects=$1 pages=$2
macros='g_assert|g_clear_|g_steal_pointer|G_DEFINE_AUTOPTR_CLEANUP_FUNC'
branches=(--rc lcov_branch_coverage=1)

# Of perl's complaints about lcov itself none matters.
lcov --quiet "${branches[@]}" --rc "lcov_excl_br_line=$macros" \
    --rc 'lcov_excl_line=g_assert_not_reached' --capture --no-external \
    --directory "$objects" --base-directory . \
    --output-file "$objects/all.info" 2> "$objects/lcov.log" ||
    { cat "$objects/lcov.log" >&2; exit 1; }
lcov --quiet "${branches[@]}" --remove "$objects/all.info" '*/tests/*' \
    --output-file "$objects/program.info"
genhtml --quiet --branch-coverage --prefix "$PWD" --title qemu-snap \
    --output-directory "$pages" "$objects/program.info"

awk -F '[:,]' -v top="$PWD/" '
    /^SF:/ {
        file = substr($0, 4 + length(top))
        directory = file ~ /\// ? substr(file, 1, index(file, "/")) : "snap-*.c"
        known[directory] = 1
    }
    /^LF:/ { lines[directory] += $2 }
    /^LH:/ { lines_reached[directory] += $2 }
    /^BRF:/ { branches[directory] += $2 }
    /^BRH:/ { branches_reached[directory] += $2 }
    function share(part, all) {
        return all ? sprintf("%.1f %%", 100 * part / all) : "-"
    }
    END {
        printf "%-12s %8s %8s %8s %8s\n", "", "lines", "reached", "branches",
            "reached"
        fflush()
        for (directory in known) {
            printf "%-12s %8d %8s %8d %8s\n", directory, lines[directory],
                share(lines_reached[directory], lines[directory]),
                branches[directory],
                share(branches_reached[directory], branches[directory]) \
                | "sort"
        }
    }' "$objects/program.info"
echo "$pages/index.html"
