#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A wrong command line gets one line that names what is wrong in it; names
# from images and arguments cannot break that line or talk to the terminal.

. "$(dirname "$0")/../functions.sh"

# refuse PATTERN COMMAND...
refuse()
{
    local pattern=$1
    shift
    expect_status 1 "$@"
    [ "$(wc -l < err)" = 1 ] || fail "not one line: $(cat -v err)"
    grep -q -E "^qemu-snap: .*$pattern" err ||
        fail "no word of '$pattern': $(cat -v err)"
}

refuse "unknown option '-Z'" qemu_snap list -Zq x
refuse "unknown option '--frob'" qemu_snap list --frob x
refuse "'--raw' takes no argument" qemu_snap --raw=1 load x
refuse "'-n' needs an argument" qemu_snap load x -n
refuse "'--cache' needs an argument" qemu_snap load x --cache
refuse 'list does not take --raw' qemu_snap list --raw x
refuse "unknown command 'lsit'" qemu_snap lsit x
refuse "not also 'y'" qemu_snap list x y
refuse 'a\\x0ab: ' qemu_snap list $'a\nb'

# A snapshot whose name qemu-img lets pass, and whose content is no stream.
sample_stream stream
new_image disk.qcow2
head -c 100000 stream | qemu_snap save --raw -n 'XX[31mXX' disk.qcow2
LC_ALL=C sed -i 's/XX\[31mXX/\x1b\n[31m\x1b\n/' disk.qcow2
qemu_snap load disk.qcow2 > loaded 2> err
[ "$(wc -l < err)" = 1 ] || fail "not one line: $(cat -v err)"
! grep -q $'\x1b' err || fail "an escape character: $(cat -v err)"
grep -q '\\x1b\\x0a\[31m' err || fail "no name: $(cat -v err)"

# Standard descriptors that are closed do not become the image.
cp disk.qcow2 before
expect_status 1 qemu_snap save -n second disk.qcow2 <&-
"$QEMU_SNAP" list disk.qcow2 >&- 2>&- || true
expect_same before disk.qcow2
