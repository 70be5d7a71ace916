#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# Files that are not qcow2, end too early, or have a header that cannot be
# true: one line, no crash, no long search, no memory by the gigabyte.

. "$(dirname "$0")/../functions.sh"

head -c 100000 /dev/urandom > stream
new_image good.qcow2 1G
qemu_snap save --raw -n first good.qcow2 < stream

# refuse IMAGE PATTERN
refuse()
{
    cp "$1" "$1.before"
    expect_refusal "$1" "$2" timeout 20 $VG "$QEMU_SNAP" list "$1"
    expect_refusal "$1" "$2" timeout 20 $VG "$QEMU_SNAP" load "$1"
    expect_refusal "$1" "$2" \
        timeout 20 $VG "$QEMU_SNAP" save --raw -n second "$1" < stream
    expect_same "$1" "$1.before"
    rm "$1" "$1.before"
}

head -c 1M /dev/zero > zeros
refuse zeros 'not a qcow2|qcow2'
: > empty
refuse empty 'qcow2|short|truncated'
for length in 3 71 103; do
    head -c $length good.qcow2 > short
    refuse short 'short|truncated|cut off|not a qcow2'
done

# A header field, an impossible value, and the complaint, which names the field.
while read -r name offset value pattern; do
    cp good.qcow2 "$name"
    poke "$name" "$offset" "$value"
    refuse "$name" "$pattern"
done <<'END'
magic 0 514649fa not a qcow2 image .offset 0.
version-1 4 00000001 qcow2 version 1 is not supported .offset 4.
version-4 4 00000004 qcow2 version 4 is not supported .offset 4.
backing-offset 8 0000000000ff0000 backing file name of 0 bytes .*.header offset 8.
backing-name 8 000000000000020000000400 backing file name of 1024 bytes .*.header offset 8.
cluster-bits-8 20 00000008 cluster size 2.8 .*.offset 20.
cluster-bits-22 20 00000016 cluster size 2.22 .*.offset 20.
cluster-bits-many 20 ffffffff cluster size 2.4294967295 .*.offset 20.
size-62 24 4000000000000000 L1 table of .* too small for a disk of .*.offset 36.
size-63 24 8000000000000000 absurd disk size .*.offset 24.
encryption 32 00000003 unknown encryption method 3 .offset 32.
l1-too-few 36 00000000 L1 table of 0 entries is too small .*.offset 36.
l1-too-many 36 00400001 absurd L1 table size 4194305 entries .offset 36.
l1-many 36 00400000 L1 table .* does not lie inside the file .*.header offset 40.
l1-unaligned 40 0000000000000201 L1 table at 0x201 is not cluster aligned .header offset 40.
l1-in-the-header 40 0000000000000000 L1 table .* does not lie inside .*.header offset 40.
l1-behind-the-end 40 00007fffffff0000 L1 table .* does not lie inside .*.header offset 40.
l1-overflows 40 ffffffffffff0000 L1 table .* does not lie inside .*.header offset 40.
refcount-unaligned 48 0000000000000001 refcount table at 0x1 is not cluster aligned .header offset 48.
refcount-in-the-header 48 0000000000000000 refcount table .* does not lie inside .*.header offset 48.
refcount-behind-the-end 48 00007fffffff0000 refcount table .* does not lie inside .*.header offset 48.
refcount-clusters-none 56 00000000 absurd refcount table size 0 clusters .offset 56.
refcount-clusters-129 56 00000081 absurd refcount table size 129 clusters .offset 56.
refcount-clusters-many 56 ffffffff absurd refcount table size 4294967295 clusters .offset 56.
snapshots-many 60 00010001 absurd number of snapshots 65537 .offset 60.
snapshots-missing 60 0000ffff snapshot [0-9]+ of 65535: the snapshot table at .* runs past the end of the file
snapshots-unaligned 64 0000000000000003 snapshot table at 0x3 is not cluster aligned .header offset 64.
snapshots-behind-the-end 64 00007fffffff0000 snapshot table .* does not lie inside .*.header offset 64.
feature 72 8000000000000000 incompatible feature bit 63 .unnamed. is not supported .offset 72.
compression-flag 72 0000000000000008 compression type 0 contradicts .*.offset 72.
compression-type 104 01 compression type 1 contradicts .*.offset 72.
compression-unknown 104 02 compression type 2 is not supported .offset 104.
refcount-order 96 00000007 impossible refcount order 7 .offset 96.
header-length-8 100 00000008 impossible header length 8 .offset 100.
header-length-100 100 00000064 impossible header length 100 .offset 100.
header-length-108 100 0000006c impossible header length 108 .offset 100.
header-length-long 100 00010008 impossible header length 65544 .offset 100.
extension-long 112 6803f85700ffffff header extension 0x6803f857 of 16777215 bytes is too large .offset 112.
extension-overflows 112 12345678ffffffff header extension 0x12345678 of 4294967295 bytes is too large .offset 112.
END

# What stands in the snapshot table.
table=$((0x$(xxd -s 64 -l 8 -p good.qcow2)))
while read -r name offset value pattern; do
    cp good.qcow2 "$name"
    poke "$name" $((table + offset)) "$value"
    refuse "$name" "$pattern"
done <<'END'
extra-data 36 00000401 snapshot 1 of 1: snapshot entry at .* has 1025 bytes of extra data
extra-data-many 36 ffffffff snapshot 1 of 1: snapshot entry at .* has 4294967295 bytes of extra data
END

# The same at the very end of the file, where there is nothing behind it.
end=$(stat -c %s good.qcow2)
end=$(((end + 65535) / 65536 * 65536))
for lengths in 00010fff ffff0005; do
    cp good.qcow2 lengths
    dd if=good.qcow2 of=lengths bs=1 skip="$table" seek=$end count=512 status=none
    poke lengths 64 "$(printf %016x $end)"
    qemu_snap list lengths > out
    grep -q first out
    poke lengths $((end + 12)) $lengths
    refuse lengths 'snapshot 1 of 1: the snapshot table at .* runs past the end of the file'
done
