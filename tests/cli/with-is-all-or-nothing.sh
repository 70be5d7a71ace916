#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# A save into several images happens in all of them or in none, whichever of
# them fails and when: before the stream, at its end, or in the commit.

. "$(dirname "$0")/../functions.sh"

sample_stream stream
images=(first.qcow2 second.qcow2 third.qcow2)
for image in "${images[@]}"; do
    new_image "$image"
    qemu-io -c 'write -P 0x11 1M 1M' "$image" > io.log
done

remember_all()
{
    for image in "${images[@]}"; do
        remember_image "$image"
    done
}

save_all()
{
    qemu_snap save -n all "$@" first.qcow2 --with=second.qcow2 \
        --with third.qcow2
}

save_piped()
{
    # A pipe, and no file, is what QEMU gives.
    # shellcheck disable=SC2002
    cat stream | save_all "$@"
}

expect_all_untouched()
{
    for image in "${images[@]}"; do
        expect_untouched "$image"
    done
}

# refuse PATTERN COMMAND...: and nothing is changed.
refuse()
{
    expect_refusal first.qcow2 "$@"
    expect_all_untouched
    [ -z "$(find . -name '*.qemu-snap-stream')" ] || fail "left: $(ls)"
}

remember_all
refuse 'given twice' qemu_snap save -n all first.qcow2 --with second.qcow2 \
    --with ./second.qcow2 < stream
ln -s first.qcow2 link
refuse 'given twice' qemu_snap save -n all first.qcow2 --with link < stream
refuse 'replace' save_piped --replace
refuse 'missing.qcow2: .*No such file' \
    qemu_snap save -n all first.qcow2 --with missing.qcow2 < stream
head -c 5000000 stream > part
refuse 'nothing was saved' save_all < part

# It is not an image; also behind one that was prepared.
cp stream raw.img
refuse 'raw.img: .*qcow2' qemu_snap save -n all first.qcow2 \
    --with second.qcow2 --with raw.img < stream
expect_same raw.img stream

# The name is taken.
qemu-img snapshot -c all third.qcow2
remember_all
refuse "third.qcow2: .*'all' already exists" save_piped
refuse "third.qcow2: .*'all' already exists" save_all < stream
qemu-img snapshot -d all third.qcow2
remember_all

# No room: this one cannot grow any more.
mv third.qcow2 small.qcow2
new_image third.qcow2 64M preallocation=metadata
remember_all
limited_save()
{
    ulimit -f 50000
    save_piped "$@"
}
(refuse 'third.qcow2: .*File too large' limited_save)
mv small.qcow2 third.qcow2
remember_all

# Locked for good: QEMU's stream is kept, and what the error says saves it.
hold_image third.qcow2
expect_refusal first.qcow2 'third.qcow2: .*lock' \
    save_all --wait-lock=0 < stream
expect_refusal first.qcow2 'third.qcow2: .*lock' save_piped --wait-lock=0
grep -q 'is kept in' err || fail "$(cat err)"
release_image
expect_all_untouched
command=$(sed -n 's/.*this will save it: qemu-snap //p' err)
eval "qemu_snap $command"
for image in "${images[@]}"; do
    expect_snapshots "$image" all
    expect_clean "$image"
    qemu-img snapshot -d all "$image"
done
rm ./*.qemu-snap-stream

# An image that is made cannot wait for one that is locked, and goes again.
hold_image second.qcow2
save_new()
{
    # shellcheck disable=SC2002
    cat stream 2> /dev/null |
        qemu_snap save -n all --create new.qcow2 --with second.qcow2
}
expect_refusal new.qcow2 'second.qcow2: .*lock' save_new
[ ! -e new.qcow2 ] || fail 'new.qcow2 was left'
release_image

# A flush that fails, in whichever image: nowhere is anything left, but where
# the failing disk keeps it, which is said. Unless it is the very last one, when
# the VM state may be there and so all are.
remember_all
flushes=0
kept=0
unknown=0
while failing_call flush $((flushes + 1)) 5 "$QEMU_SNAP" save -n all first.qcow2 \
    --with=second.qcow2 --with third.qcow2 < stream 2> err; [ -s err ]; do
    flushes=$((flushes + 1))
    cp err "err.$flushes"
    if [ "$(snapshot_names first.qcow2)" = all ]; then
        unknown=$flushes
        for image in "${images[@]}"; do
            expect_snapshots "$image" all
        done
    else
        for image in "${images[@]}"; do
            # What cannot be made stable cannot be taken back, either.
            if grep -q "; '$image' keeps snapshot 1: " err; then
                expect_snapshots "$image" all
                kept=$((kept + 1))
            else
                expect_untouched "$image"
            fi
        done
    fi
    for image in "${images[@]}"; do
        expect_clean "$image"
        cp "$image.before" "$image"
    done
done
[ $flushes -ge 6 ] || fail "only $flushes flushes"
[ $kept = 2 ] || fail "kept $kept times, not once for each further image"
[ $unknown = $flushes ] || fail "of $flushes the last decides, not $unknown"
for image in "${images[@]}"; do
    cp "$image.before" "$image"
done

# It works after all, and only the first one has VM state.
expect_status 0 save_piped
for image in "${images[@]}"; do
    expect_snapshots "$image" all
    expect_clean "$image"
    qemu-img info --output=json "$image" |
        jq -r '.snapshots[0]["vm-state-size"]' >> sizes
done
[ "$(sed -n '2,$p' sizes | sort -u)" = 0 ] || fail "sizes: $(cat sizes)"
[ "$(head -n 1 sizes)" -gt 1000000 ] || fail "sizes: $(cat sizes)"
qemu_snap load -n all first.qcow2 | cmp - stream || fail 'another stream'
