#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `make install' puts everything where packagers want it, what is installed
# works, and `make uninstall' leaves nothing behind.

. "$(dirname "$0")/../functions.sh"

program=$(realpath "$QEMU_SNAP")

# Install the program that is there; -o: do not build it.
install_to()
{
    env -u MAKEFLAGS -u MAKELEVEL make -s -C "$TOP" -o "$program" \
        PROGRAM="$program" "$@"
}

install_to install DESTDIR="$PWD/root" PREFIX=/usr
(cd root && find . ! -type d -printf '%P %m\n' | sort) > installed
cat > expected << 'LIST'
usr/bin/qemu-snap 755
usr/share/bash-completion/completions/qemu-snap 644
usr/share/doc/qemu-snap/LICENSE 644
usr/share/doc/qemu-snap/README.md 644
usr/share/doc/qemu-snap/json.md 644
usr/share/doc/qemu-snap/trailer.md 644
usr/share/man/man1/qemu-snap.1 644
LIST
diff expected installed >&2 || fail 'other files'
root/usr/bin/qemu-snap --version | grep -q '^qemu-snap' || fail 'no version'
expect_same "$program" root/usr/bin/qemu-snap
expect_same "$TOP/docs/qemu-snap.1" root/usr/share/man/man1/qemu-snap.1

# Twice is once, and others' files stay.
touch root/usr/share/doc/other
install_to install DESTDIR="$PWD/root" PREFIX=/usr
(cd root && find . ! -type d ! -name other -printf '%P %m\n' | sort) |
    diff expected - >&2 || fail 'other files the second time'
install_to uninstall DESTDIR="$PWD/root" PREFIX=/usr
[ "$(find root ! -type d -printf '%f ')" = 'other ' ] ||
    fail "left behind: $(find root ! -type d)"
[ ! -e root/usr/share/doc/qemu-snap ] || fail 'an empty directory is left'

install_to install DESTDIR="$PWD/local"
[ -x local/usr/local/bin/qemu-snap ] || fail 'not below /usr/local'
