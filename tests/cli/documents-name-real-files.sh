#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A file that a document names is in the tree.

. "$(dirname "$0")/../functions.sh"

cd "$TOP" || exit 1
missing=0
for document in README.md docs/*.md docs/*.1; do
    [ -e "$document" ] || fail "$document is missing"
    while read -r name; do
        case $name in
        */*) [ -e "$name" ] || [ -e "docs/$name" ] && continue ;;
        *) [ -n "$(find . -path ./.git -prune -o -name "$name" -print \
            -quit)" ] && continue ;;
        esac
        echo "$document: there is no $name" >&2
        missing=1
    done < <(sed -E -e 's#https?://[^ )>]*##g' -e 's/\\-/-/g' "$document" |
        grep -o -E '[A-Za-z0-9_-]+(/[A-Za-z0-9_.-]+)*\.(c|h|md|sh|S)\b' |
        sort -u)
done
[ $missing = 0 ]
