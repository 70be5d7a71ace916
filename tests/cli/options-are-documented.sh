#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# The usage text and the manual know the same options and subcommands.

. "$(dirname "$0")/../functions.sh"

options_of()
{
    grep -o -E -- '(^|[^-[:alnum:]])--[a-z][-a-z]*' | grep -o -E -- '--.*' |
        sort -u
}

expect_status 0 qemu_snap --help
[ ! -s err ] || fail 'help goes to standard error'
options_of < out > in-help
[ "$(wc -l < in-help)" -ge 10 ] || fail "few options: $(cat in-help)"

# In the mdoc language of manuals, `Fl -size' is the option --size.
sed -e 's/\bFl -/--/g' "$TOP/docs/qemu-snap.1" | options_of > in-manual
diff in-help in-manual || fail 'options differ (< help, > manual)'

for command in save load list inspect; do
    grep -q -w $command out || fail "$command is not in the help"
    grep -q -w $command "$TOP/docs/qemu-snap.1" ||
        fail "$command is not in the manual"
done

# Misuse prints to standard error and fails. (A zero byte of `load' is for an
# incoming QEMU.)
for misuse in '' 'frobnicate' '--nosuch list' 'list' 'list a b' 'save -s' \
    '--cache=fast list x' '--aio=fast list x' '--depth=0 load x' \
    '--depth=x load x' '--output=yaml list x'; do
    # The arguments are words.
    # shellcheck disable=SC2086
    expect_status 1 qemu_snap $misuse
    [ -s err ] || fail "no word about '$misuse'"
    [ "$(wc -c < out)" -le 1 ] || fail "output for '$misuse'"
done

expect_status 0 qemu_snap --version
grep -q '^qemu-snap' out || fail "version: $(cat out)"
