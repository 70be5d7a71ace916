#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What may be several snapshots, by ID or name, is refused by every command that
# needs one that exists: the candidates are listed and nothing is done.

. "$(dirname "$0")/../functions.sh"

new_image disk.qcow2 1M
qemu-img snapshot -c 3 disk.qcow2
qemu_snap save --raw -n twice disk.qcow2 <<< 'state of twice'
qemu_snap save --raw -n other disk.qcow2 <<< 'state of other'
qemu-img snapshot -c twice disk.qcow2
qemu-img snapshot -c 5 disk.qcow2
qemu-img snapshot -c $'two\nlines' disk.qcow2
qemu-img snapshot -c $'two\nlines' disk.qcow2
remember_image disk.qcow2

# refuse NAME CANDIDATES COMMAND...
refuse()
{
    local name=$1 candidates=$2
    shift 2
    expect_refusal disk.qcow2 "may be any of these.*: $candidates\$" \
        qemu_snap "$@" -n "$name" disk.qcow2
    expect_status 1 qemu_snap "$@" --output=json -n "$name" disk.qcow2
    [ "$(jq -r .error.class err)" = ambiguous ] || fail "$(cat err)"
}

for command in load 'load --apply' inspect delete apply 'rename --to=new'; do
    # The command may be two words.
    # shellcheck disable=SC2086
    {
        refuse 3 '1 \(3\), 3 \(other\)' $command
        refuse twice '2 \(twice\), 4 \(twice\)' $command
        refuse $'two\nlines' '6 \(two\\x0alines\), 7 \(two\\x0alines\)' $command
    }
done
expect_untouched disk.qcow2

# Without -n it is the one with VM state, and here there are two.
expect_refusal disk.qcow2 'choose one with -n: 2 \(twice\), 3 \(other\)$' \
    qemu_snap load disk.qcow2

# One that has its own ID for a name is one.
qemu_snap rename -n 5 --to=five disk.qcow2
[ "$(qemu_snap load -q -n other disk.qcow2)" = 'state of other' ] ||
    fail 'another state'
