#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# VM state that QEMU leaves in the active layer: inspect shows what it costs,
# gc frees it.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
bytes=$(stat -L -c %s stream)

stale()
{
    qemu_snap inspect --output=json "$1" | jq '."stale-vm-state"'
}

for options in $(some_of compat=1.1 compat=0.10 cluster_size=512 \
    cluster_size=2M extended_l2=on,cluster_size=16k); do
    rm -f disk.qcow2
    new_image disk.qcow2 16M $options
    qemu-io -c 'write -q -P 1 0 4M' disk.qcow2
    qemu_snap save -n s disk.qcow2 < stream
    [ "$(stale disk.qcow2)" = null ] ||
        fail "stale at once: $(stale disk.qcow2)"
    qemu-img snapshot -a s disk.qcow2
    qemu-io -c 'write -q -P 2 3M 4M' disk.qcow2
    qemu-img convert -O raw disk.qcow2 now

    # The snapshot has it, too.
    [ "$(stale disk.qcow2)" = 0 ] || fail "freeable: $(stale disk.qcow2)"
    qemu_snap inspect disk.qcow2 |
        grep -q '^stale VM state: 0 B (0 bytes) can be freed by gc$' ||
        fail "no line: $(qemu_snap inspect disk.qcow2)"
    cp disk.qcow2 early.qcow2
    qemu_snap gc early.qcow2
    [ "$(stale early.qcow2)" = null ] || fail "left: $(stale early.qcow2)"
    expect_clean early.qcow2
    qemu_snap load -n s early.qcow2 > loaded
    expect_same stream loaded
    qemu-img compare -q disk.qcow2 early.qcow2 || fail 'the disk changed'

    # Without the snapshot it is alone.
    qemu_snap create -n last disk.qcow2
    qemu_snap delete -n s disk.qcow2
    expect_clean disk.qcow2
    [ "$(stale disk.qcow2)" -ge "$bytes" ] ||
        fail "$(stale disk.qcow2) of $bytes bytes"
    allocated=$(qemu-img check --output=json disk.qcow2 |
        jq '."allocated-clusters"')
    used=$(du -B1 disk.qcow2 | cut -f 1)
    qemu_snap gc disk.qcow2
    expect_clean disk.qcow2
    [ "$(stale disk.qcow2)" = null ] || fail "left: $(stale disk.qcow2)"
    [ "$(qemu-img check --output=json disk.qcow2 |
        jq '."allocated-clusters"')" -lt "$allocated" ] ||
        fail 'as many clusters are allocated'
    [ "$(du -B1 disk.qcow2 | cut -f 1)" -le $((used - bytes + 3000000)) ] ||
        fail "takes $(du -B1 disk.qcow2 | cut -f 1) bytes instead of $used"
    qemu-img convert -O raw disk.qcow2 kept
    expect_same now kept

    # Nothing to do is no failure, and changes nothing.
    cp disk.qcow2 before
    qemu_snap gc disk.qcow2
    expect_same before disk.qcow2
done

# An image whose content lies elsewhere has no such line, and is not touched.
new_image external.qcow2 8M data_file=external.raw
[ "$(stale external.qcow2)" = null ] || fail 'a data file is not read'
expect_refusal external.qcow2 'data file' qemu_snap gc external.qcow2
