#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Installs what building and testing needs and is not there yet, on Debian and
# its relatives, and the packages that are named as arguments. Does nothing,
# fast, when all is there. Elsewhere it prints the list and fails.

packages="gcc libc6-dev make binutils pkg-config
    libglib2.0-dev libjson-glib-dev libaio-dev liburing-dev
    zlib1g-dev libzstd-dev libxxhash-dev check
    qemu-utils qemu-system-x86 socat jq $*"

give_up()
{
    echo "$1" >&2
    echo 'Please install what these packages of Debian contain:' >&2
    # shellcheck disable=SC2086
    echo $packages >&2
    exit 1
}

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    give_up 'This system has no apt.'
fi

missing=
for package in $packages; do
    # The status word is a format of dpkg-query, not a variable.
    # shellcheck disable=SC2016
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null ||
        give_up "Missing:$missing. Neither root nor sudo to install it."
    as_root=sudo
fi

echo "Installing:$missing"
$as_root apt-get update -q || exit 1
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends $missing
