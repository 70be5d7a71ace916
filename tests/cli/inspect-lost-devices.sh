#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A device larger than what is kept, with the header of another one in its
# state: where they end cannot be told. That is said, and nothing is guessed.

. "$(dirname "$0")/../functions.sh"

# be32 NUMBER
be32()
{
    # shellcheck disable=SC2059
    printf "$(printf '\\x%02x' $(($1 >> 24)) $(($1 >> 16 & 255)) \
        $(($1 >> 8 & 255)) $(($1 & 255)))"
}

# header TYPE ID NAME VERSION
header()
{
    # shellcheck disable=SC2059
    printf "$1"
    be32 "$2"
    # shellcheck disable=SC2059
    printf "$(printf '\\x%02x' ${#3})%s" "$3"
    be32 0
    be32 "$4"
}

footer()
{
    printf '\x7e'
    be32 "$1"
}

zeros()
{
    head -c "$1" /dev/zero
}

describe()
{
    printf '{"name": "%s", "instance_id": 0, "fields": [%s]}' "$1" \
        "{\"name\": \"all\", \"type\": \"buffer\", \"size\": $2}"
}

{
    printf 'QEVM'
    be32 3
    header '\x04' 40 early 2
    zeros 77
    footer 40
    header '\x01' 2 ram 4
    zeros 7
    printf '\x04'
    zeros 7
    printf '\x10'
    footer 2
    header '\x04' 8 large 2
    footer 8
    header '\x04' 99 bogus 1
    zeros $((17 * 1024 * 1024)) | tr '\0' w
    footer 8
    header '\x04' 9 last 2
    zeros 6
    footer 9
    printf '\x00\x06'
    text="{\"devices\": [$(describe early 77), $(describe large 17825828),
        $(describe last 6)]}"
    be32 ${#text}
    printf '%s' "$text"
} > stream
qemu_snap save --create disk.qcow2 < stream

expect_status 0 qemu_snap inspect -n 1 --output=json disk.qcow2
jq -e --argjson size "$(stat -c %s stream)" '
    .["stream-size"] == $size and
    [.sections[] | [.name, .delimited, .version, .bytes]] ==
    [["early", true, 2, 101], ["ram", true, 4, 38],
     ["large", false, null, null], ["last", false, null, null]] and
    ([.sections[].bytes] | add) + .["framing-bytes"] +
        .["description-bytes"] + .["undelimited-bytes"] == $size
    ' out > /dev/null || fail "not as it is: $(cat out)"
expect_status 0 qemu_snap inspect -n 1 disk.qcow2
grep -q '^    large  *0  *?  *?$' out || fail "no question: $(cat out)"

expect_status 0 qemu_snap inspect --devices --output=json disk.qcow2
jq -e '[.devices[] | [.name, .bytes, has("fields"), has("data")]] ==
    [["early", 77, true, false], ["large", null, false, false],
     ["last", null, false, false]] and
    all(.devices[1:][]; .error | test("cannot be told"))
    ' out > /dev/null || fail "not as they are: $(cat out)"
expect_status 0 qemu_snap inspect --devices disk.qcow2
grep -A 1 '^large, instance 0:$' out |
    grep -q '^    not decoded: .*cannot be told' || fail "no words: $(cat out)"
