#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# With --output=json a failure is an object in one line on standard error,
# whose class is a word that scripts can rely on, whatever the command. The
# exit status is the same.

. "$(dirname "$0")/../functions.sh"

# refuse CLASS FILENAME COMMAND...; $input is what it reads.
input=/dev/null
refuse()
{
    local class=$1 filename=$2
    shift 2
    expect_status 1 qemu_snap "$@" --output=json < "$input"
    [ "$(wc -l < err)" = 1 ] || fail "not one line: $(cat err)"
    [ "$(jq -r '.error | [.class, .filename] | @tsv' err)" = \
        "$class"$'\t'"$filename" ] || fail "$*: $(cat err)"
    # The text is that of people.
    jq -r '"qemu-snap: " + .error.desc' err > desc
    expect_status 1 qemu_snap "$@" < "$input"
    expect_same err desc
}

sample_stream stream
new_image disk.qcow2
qemu_snap save -n taken disk.qcow2 < stream
head -c 1000 stream > part
: > empty
truncate -s 100 short
new_image used.qcow2
qemu-img create -q -f qcow2 --object secret,id=s,data=x \
    -o encrypt.format=aes,encrypt.key-secret=s secret.qcow2 1M

refuse not-found missing list missing
refuse not-found missing load missing
refuse not-found missing check missing
refuse not-found disk.qcow2 inspect -n nothing disk.qcow2
refuse not-found disk.qcow2 delete -n nothing disk.qcow2
refuse not-found disk.qcow2 apply -n nothing disk.qcow2
input=stream refuse exists disk.qcow2 save -n taken disk.qcow2
refuse exists disk.qcow2 create -n taken disk.qcow2
refuse invalid disk.qcow2 create -n 17 disk.qcow2
refuse invalid '' list
refuse invalid '' list --frob disk.qcow2
refuse invalid '' frobnicate disk.qcow2
refuse invalid '' --depth=x load disk.qcow2
input=part refuse stream disk.qcow2 save -n part disk.qcow2
input=empty refuse stream disk.qcow2 save -n part disk.qcow2
refuse damaged short list short
refuse unsupported secret.qcow2 create -n x secret.qcow2

hold_image used.qcow2
refuse locked used.qcow2 list used.qcow2
refuse locked used.qcow2 create -n x used.qcow2
input=stream refuse locked used.qcow2 save --wait-lock=0 -n x used.qcow2
release_image

# A mistake that stands before the option is told in that form, too.
expect_status 1 qemu_snap --frob --output json list disk.qcow2
jq -e .error.class err > /dev/null || fail "no JSON: $(cat err)"
expect_status 1 qemu_snap --frob list disk.qcow2
grep -q '^qemu-snap: ' err || fail "JSON: $(cat err)"

# Warnings are objects, too.
qemu-img bitmap --add disk.qcow2 b
expect_status 0 qemu_snap create --output=json -n warned disk.qcow2
jq -e '.warning.desc | test("bitmaps")' err > /dev/null || fail "$(cat err)"

# A signal is an error like others, for who cannot see the exit status.
mkfifo pipe
$VG "$QEMU_SNAP" save -n stopped --output=json used.qcow2 < pipe 2> err &
pid=$!
exec 8> pipe
head -c 1000000 stream >&8
kill -TERM $pid
status=0
wait $pid || status=$?
exec 8>&-
[ $status = 143 ] || fail "status $status"
jq -e '.error.class == "interrupted"' err > /dev/null || fail "$(cat err)"
