#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The demonstration of the README works, and in less than 20 seconds.

. "$(dirname "$0")/../functions.sh"

start=$SECONDS
TMPDIR=$SCRATCH "$TOP/tests/demo.sh" > screen 2>&1 || fail "$(cat screen)"
[ $((SECONDS - start)) -lt 20 ] || fail "took $((SECONDS - start)) seconds"
for words in '^Snapshot list:' '^1 *demo ' '^No errors were found' \
    'Not one tick is missing'; do
    grep -q "$words" screen || fail "no '$words' in: $(cat screen)"
done
# One screen of a tall terminal.
[ "$(wc -l < screen)" -le 60 ] || fail "$(wc -l < screen) lines"
