/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-trailer.h.
 */
#include <string.h>

#include "checked.h"
#include "snap-error.h"
#include "snap-trailer.h"

/* It is read in pieces: only what is really there takes memory. */
#define READ_BYTES (1024 * 1024)

struct SnapTrailerMaker {
    MigrationReader *reader;
    PageMap *pages;
    StreamChecksums *checksums;
};

SnapTrailerMaker *snap_trailer_maker_new(MigrationReader *reader)
{
    SnapTrailerMaker *maker = g_new0(SnapTrailerMaker, 1);

    maker->reader = reader;
    maker->pages = page_map_new();
    maker->checksums = stream_checksums_new();
    migration_reader_tell_pages(reader, page_map_add, maker->pages);
    return maker;
}

void snap_trailer_maker_free(SnapTrailerMaker *maker)
{
    if (maker) {
        page_map_free(maker->pages);
        stream_checksums_free(maker->checksums);
        g_free(maker);
    }
}

void snap_trailer_maker_add(SnapTrailerMaker *maker, const uint8_t *data,
                            size_t bytes)
{
    stream_checksums_add(maker->checksums, data, bytes);
}

/* With zeros in front, from the end of what is written. */
static GByteArray *encode(SnapTrailerMaker *maker, uint64_t written,
                          uint64_t stream_bytes, bool taken_out)
{
    g_autoptr(StreamIndex)
        index = stream_index_new(maker->reader, g_steal_pointer(&maker->pages));
    uint64_t offset = stream_trailer_offset(stream_bytes);
    g_autoptr(GByteArray) trailer = NULL;
    GByteArray *padded = g_byte_array_new();

    if (taken_out) {
        stream_index_take_out_return_path(index);
    }
    stream_checksums_finish(maker->checksums);
    trailer = stream_trailer_encode(index, maker->checksums, offset);
    g_byte_array_set_size(padded, offset - written);
    if (padded->len) {
        memset(padded->data, 0, padded->len);
    }
    g_byte_array_append(padded, trailer->data, trailer->len);
    return padded;
}

bool coroutine_fn snap_trailer_maker_write(
    SnapTrailerMaker *maker, Qcow2SnapshotWriter *writer, uint64_t stream_bytes,
    bool taken_out, uint64_t *vm_state_size, SnapResult *result, GError **errp)
{
    uint64_t written = round_up(stream_bytes, QCOW2_VMSTATE_UNIT);
    g_autoptr(GByteArray) trailer = NULL;
    g_autoptr(GError) error = NULL;

    *vm_state_size = stream_bytes;
    if (stream_checksums_covered(maker->checksums) != stream_bytes) {
        g_ptr_array_add(result->warnings,
                        g_strdup("the snapshot has no index: more was sent "
                                 "than the stream"));
        return true;
    }
    trailer = encode(maker, written, stream_bytes, taken_out);
    if (!qcow2_snapshot_writer_reserve(writer, written + trailer->len,
                                       &error)) {
        g_ptr_array_add(
            result->warnings,
            g_strdup_printf("the snapshot has no index: %s", error->message));
        return true;
    }
    if (!qcow2_snapshot_writer_pwrite(writer, written, trailer->data,
                                      trailer->len, errp)) {
        return false;
    }
    *vm_state_size = written + trailer->len;
    return true;
}

void coroutine_fn snap_trailer_find(Qcow2VmstateReader *vmstate,
                                    uint64_t vm_state_size, bool sparse,
                                    SnapTrailer *trailer, GError **errp)
{
    uint8_t footer[STREAM_FOOTER_BYTES];
    uint64_t position = vm_state_size - sizeof(footer);
    bool done;

    if (vm_state_size < sizeof(footer)) {
        trailer->state = STREAM_TRAILER_NONE;
        return;
    }
    done = sparse ? qcow2_vmstate_pread_sparse(vmstate, position, footer,
                                               sizeof(footer), errp)
                  : qcow2_vmstate_pread(vmstate, position, footer,
                                        sizeof(footer), errp);
    trailer->state =
        done ? stream_footer_decode(footer, vm_state_size, &trailer->footer)
             : STREAM_TRAILER_DAMAGED;
}

void coroutine_fn snap_trailer_read(Qcow2VmstateReader *vmstate,
                                    SnapTrailer *trailer, StreamIndex **index,
                                    StreamChecksums **checksums, GError **errp)
{
    const StreamFooter *footer = &trailer->footer;
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    *index = NULL;
    *checksums = NULL;
    while (bytes->len < footer->trailer_bytes) {
        guint before = bytes->len;
        guint piece = MIN(READ_BYTES, footer->trailer_bytes - before);

        g_byte_array_set_size(bytes, before + piece);
        if (!qcow2_vmstate_pread(vmstate, footer->trailer_offset + before,
                                 bytes->data + before, piece, errp)) {
            trailer->state = STREAM_TRAILER_DAMAGED;
            return;
        }
    }
    if (!stream_trailer_decode(footer, bytes->data, index, checksums)) {
        trailer->state = STREAM_TRAILER_DAMAGED;
    }
}
