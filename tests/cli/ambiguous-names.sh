#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What may be several snapshots, by ID or name, is refused by every command that
# needs one that exists: the candidates are listed and nothing is done. With
# --id or --name it is read one way only.

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
    expect_refusal disk.qcow2 "may be any of these, $candidates\$" \
        qemu_snap "$@" -n "$name" disk.qcow2
    expect_status 1 qemu_snap "$@" --output=json -n "$name" disk.qcow2
    grep -q '^{"error":{.*"class":"ambiguous",' err || fail "$(cat err)"
}

for command in load 'load --apply' inspect delete apply 'rename --to=new'; do
    # The command may be two words.
    # shellcheck disable=SC2086
    {
        refuse 3 '.*--id or --name: 1 \(3\), 3 \(other\)' $command
        refuse twice '.* --id: 2 \(twice\), 4 \(twice\)' $command
        refuse twice '.* --id: 2 \(twice\), 4 \(twice\)' --name $command
        refuse $'two\nlines' \
            '.* --id: 6 \(two\\x0alines\), 7 \(two\\x0alines\)' $command
        expect_refusal disk.qcow2 "no snapshot with ID 'twice'" \
            qemu_snap $command --id -n twice disk.qcow2
        expect_refusal disk.qcow2 "no snapshot called '2'" \
            qemu_snap $command --name=2 disk.qcow2
    }
done
expect_untouched disk.qcow2

# Without -n it is the one with VM state, and here there are two.
expect_refusal disk.qcow2 'choose one with -n: 2 \(twice\), 3 \(other\)$' \
    qemu_snap load disk.qcow2

# Either reading, and both spellings of it.
for option in '--id -n 3' '--id=3' '-n 3 --id'; do
    # The option may be several words.
    # shellcheck disable=SC2086
    [ "$(qemu_snap load -q $option disk.qcow2)" = 'state of other' ] ||
        fail "$option: another state"
done
expect_refusal disk.qcow2 'no VM state' qemu_snap load -n 3 --name disk.qcow2
qemu_snap rename --name=3 --to=third disk.qcow2
qemu_snap delete --id=4 disk.qcow2
qemu_snap delete -n 6 --id disk.qcow2
expect_snapshots disk.qcow2 'third twice other 5 two\nlines'
[ "$(qemu_snap load -q -n twice disk.qcow2)" = 'state of twice' ] ||
    fail 'another state'

# One that has its own ID for a name is one.
qemu_snap rename -n 5 --to=five disk.qcow2
[ "$(qemu_snap load -q -n other disk.qcow2)" = 'state of other' ] ||
    fail 'another state'

# What makes no sense is told before anything is looked for.
expect_status 1 qemu_snap load --name other disk.qcow2
grep -q -e '--name needs -n .*--name=NAME' err || fail "$(cat err)"
expect_status 1 qemu_snap load --id disk.qcow2
grep -q -e '--id needs -n .*--id=ID' err || fail "$(cat err)"
expect_status 1 qemu_snap load --id --name -n other disk.qcow2
grep -q -e 'exclude each other' err || fail "$(cat err)"
expect_status 1 qemu_snap create --id=other disk.qcow2
grep -q -e 'create does not take --id' err || fail "$(cat err)"
expect_status 1 qemu_snap list -n other disk.qcow2
grep -q -e 'list does not take -n' err || fail "$(cat err)"
qemu_snap create --name=new disk.qcow2
