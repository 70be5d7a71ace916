/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The snapshot table: a list of entries of different lengths. Entries that
 * were read are kept as the bytes they were, so that rewriting the table
 * loses nothing that a newer writer put there.
 */
#include <errno.h>

#include "bytes.h"
#include "internal.h"
#include "snap-error.h"

enum {
    ENTRY_NAME_BYTES = 14,
    ENTRY_FIXED_BYTES = 40,
    EXTRA_VM_STATE_SIZE_END = 8,
    EXTRA_DISK_SIZE_END = 16,
    EXTRA_ICOUNT_END = 24,
};

/* The table is read in pieces: its length is known only from its entries. */
#define READ_AHEAD_BYTES (64 * 1024)

static void snapshot_free(gpointer opaque)
{
    Qcow2Snapshot *snapshot = opaque;

    g_free(snapshot->id);
    g_free(snapshot->name);
    g_clear_pointer(&snapshot->entry, g_bytes_unref);
    g_free(snapshot);
}

/* The table as far as it has been read. */
typedef struct TableWindow {
    BlockFile *file;
    uint64_t offset;    /* of the table in the file */
    uint64_t available; /* bytes from there to the end of the file */
    uint8_t *bytes;     /* NULL: none yet */
    uint64_t filled;
} TableWindow;

/* Make the first @needed bytes of the table available. Yields. */
static bool coroutine_fn window_extend(TableWindow *window, uint64_t needed,
                                       GError **errp)
{
    uint64_t start = window->filled;
    uint64_t end;
    uint8_t *bytes;
    int ret;

    if (needed <= start) {
        return true;
    }
    if (needed > window->available || needed > QCOW2_MAX_SNAPSHOT_TABLE_BYTES) {
        g_set_error(
            errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
            "the snapshot table at 0x%" PRIx64 " runs past %s", window->offset,
            needed > window->available ? "the end of the file" : "64 MiB");
        return false;
    }
    /* Twice as much each time: memory that grows may have to move. */
    end = MIN(window->available, needed + MAX(READ_AHEAD_BYTES, start));
    end = MIN(end, QCOW2_MAX_SNAPSHOT_TABLE_BYTES);
    bytes = g_try_realloc(window->bytes, end);
    if (!bytes) {
        snap_error_set_errno(errp, -ENOMEM,
                             "snapshot table of more than %" PRIu64 " bytes",
                             start);
        return false;
    }
    window->bytes = bytes;
    window->filled = end;
    ret = block_file_pread(window->file, window->offset + start, bytes + start,
                           end - start);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read the snapshot table at 0x%" PRIx64,
                             window->offset + start);
        return false;
    }
    return true;
}

static Qcow2Snapshot *decode_entry(const Qcow2Header *header,
                                   const uint8_t *entry, size_t bytes)
{
    Qcow2Snapshot *snapshot = g_new(Qcow2Snapshot, 1);
    uint32_t extra_bytes = load_be32(entry + 36);
    uint16_t id_bytes = load_be16(entry + 12);
    const uint8_t *extra = entry + ENTRY_FIXED_BYTES;
    const char *id = (const char *)extra + extra_bytes;

    *snapshot = (Qcow2Snapshot){
        .l1_table_offset = load_be64(entry),
        .l1_size = load_be32(entry + 8),
        .date_sec = load_be32(entry + 16),
        .date_nsec = load_be32(entry + 20),
        .vm_clock_nsec = load_be64(entry + 24),
        .vm_state_size = load_be32(entry + 32),
        .disk_size = round_down(header->size, 512),
        .icount = QCOW2_NO_ICOUNT,
        .id = g_strndup(id, id_bytes),
        .name = g_strndup(id + id_bytes, load_be16(entry + 14)),
        .entry = g_bytes_new(entry, bytes),
    };
    if (extra_bytes >= EXTRA_VM_STATE_SIZE_END) {
        snapshot->vm_state_size = load_be64(extra);
    }
    if (extra_bytes >= EXTRA_DISK_SIZE_END) {
        snapshot->disk_size = load_be64(extra + EXTRA_VM_STATE_SIZE_END);
    }
    if (extra_bytes >= EXTRA_ICOUNT_END) {
        snapshot->icount = load_be64(extra + EXTRA_DISK_SIZE_END);
    }
    return snapshot;
}

/* Read the entry at *@at and move *@at to the next one. Yields. */
static Qcow2Snapshot *coroutine_fn read_entry(const Qcow2Header *header,
                                              TableWindow *window, uint64_t *at,
                                              GError **errp)
{
    const uint8_t *entry;
    uint32_t extra_bytes;
    uint64_t bytes;

    if (!window_extend(window, *at + ENTRY_FIXED_BYTES, errp)) {
        return NULL;
    }
    entry = window->bytes + *at;
    extra_bytes = load_be32(entry + 36);
    if (extra_bytes > QCOW2_MAX_SNAPSHOT_EXTRA_BYTES) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "snapshot entry at 0x%" PRIx64 " has %u bytes of extra "
                    "data, more than 1024",
                    window->offset + *at, extra_bytes);
        return NULL;
    }
    bytes = ENTRY_FIXED_BYTES + extra_bytes + load_be16(entry + 12) +
            load_be16(entry + 14);
    if (!window_extend(window, *at + bytes, errp)) {
        return NULL;
    }
    entry = window->bytes + *at;
    *at = round_up(*at + bytes, 8);
    return decode_entry(header, entry, bytes);
}

GPtrArray *coroutine_fn qcow2_snapshot_table_read(const Qcow2Image *image,
                                                  uint64_t limit, GError **errp)
{
    const Qcow2Header *header = &image->header;
    g_autoptr(GPtrArray)
        snapshots = g_ptr_array_new_with_free_func(snapshot_free);
    TableWindow window = {
        .file = image->file,
        .offset = header->snapshots_offset,
        .available = limit - header->snapshots_offset,
    };
    uint64_t at = 0;
    uint32_t i;

    for (i = 0; i < header->snapshot_count; i++) {
        Qcow2Snapshot *snapshot = read_entry(header, &window, &at, errp);

        if (!snapshot) {
            g_prefix_error(errp, "snapshot %u of %u: ", i + 1,
                           header->snapshot_count);
            g_free(window.bytes);
            return NULL;
        }
        g_ptr_array_add(snapshots, snapshot);
    }
    g_free(window.bytes);
    return g_steal_pointer(&snapshots);
}

uint64_t qcow2_snapshot_table_bytes(const GPtrArray *snapshots)
{
    uint64_t bytes = 0;
    guint i;

    for (i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        bytes = round_up(bytes, 8) + g_bytes_get_size(snapshot->entry);
    }
    return bytes;
}

static void append_entry(GByteArray *table, GBytes *entry)
{
    static const uint8_t padding[8];
    gsize bytes;
    const uint8_t *data = g_bytes_get_data(entry, &bytes);

    g_byte_array_append(table, padding, round_up(table->len, 8) - table->len);
    g_byte_array_append(table, data, bytes);
}

/* The entries as they were, but for that of @left_out, which may be NULL. */
static GByteArray *entries_without(const GPtrArray *snapshots,
                                   const Qcow2Snapshot *left_out)
{
    GByteArray *table = g_byte_array_new();
    guint i;

    for (i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        if (snapshot != left_out) {
            append_entry(table, snapshot->entry);
        }
    }
    return table;
}

GByteArray *qcow2_snapshot_table_remove(const GPtrArray *snapshots,
                                        const Qcow2Snapshot *left_out)
{
    return entries_without(snapshots, left_out);
}

GByteArray *qcow2_snapshot_table_move_last(const GPtrArray *snapshots,
                                           const Qcow2Snapshot *moved,
                                           uint64_t *first)
{
    GByteArray *table = entries_without(snapshots, moved);
    uint64_t at = 0;
    guint i;

    for (i = 0; g_ptr_array_index(snapshots, i) != moved; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        at += round_up(g_bytes_get_size(snapshot->entry), 8);
    }
    *first = at;
    append_entry(table, moved->entry);
    return table;
}

/* Takes @table over and returns it if QEMU would read it. */
static GByteArray *check_length(GByteArray *table, GError **errp)
{
    if (table->len > QCOW2_MAX_SNAPSHOT_TABLE_BYTES) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE,
                    "the snapshot table would be larger than 64 MiB");
        g_byte_array_unref(table);
        return NULL;
    }
    return table;
}

GByteArray *qcow2_snapshot_table_append(const GPtrArray *snapshots,
                                        const Qcow2Snapshot *left_out,
                                        GBytes *entry, GError **errp)
{
    GByteArray *table;

    if (snapshots->len - (left_out != NULL) >= QCOW2_MAX_SNAPSHOTS) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_NO_SPACE,
                    "the image already has %u snapshots, which is the most it "
                    "can hold",
                    snapshots->len);
        return NULL;
    }
    table = entries_without(snapshots, left_out);
    append_entry(table, entry);
    return check_length(table, errp);
}

/* The stored bytes of @snapshot with another name, which comes last. */
static GBytes *rename_entry(const Qcow2Snapshot *snapshot, const char *name)
{
    gsize bytes;
    const uint8_t *old = g_bytes_get_data(snapshot->entry, &bytes);
    size_t before = bytes - load_be16(old + ENTRY_NAME_BYTES);
    size_t name_bytes = strlen(name);
    uint8_t *entry = g_malloc(before + name_bytes);

    g_assert(name_bytes <= QCOW2_MAX_NAME_BYTES);
    memcpy(entry, old, before);
    store_be16(entry + ENTRY_NAME_BYTES, name_bytes);
    memcpy(entry + before, name, name_bytes);
    return g_bytes_new_take(entry, before + name_bytes);
}

/* The entries as they were, but @entry for that of @old. */
static GByteArray *replace_entry(const GPtrArray *snapshots,
                                 const Qcow2Snapshot *old, GBytes *entry,
                                 GError **errp)
{
    GByteArray *table = g_byte_array_new();
    guint i;

    for (i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        append_entry(table, snapshot == old ? entry : snapshot->entry);
    }
    return check_length(table, errp);
}

GByteArray *qcow2_snapshot_table_rename(const GPtrArray *snapshots,
                                        const Qcow2Snapshot *renamed,
                                        const char *name, GError **errp)
{
    g_autoptr(GBytes) entry = rename_entry(renamed, name);

    return replace_entry(snapshots, renamed, entry, errp);
}

/* Where VM state is and how much; there is room for the size. */
static void store_vmstate(uint8_t *entry, const Qcow2Snapshot *snapshot)
{
    uint64_t size = snapshot->vm_state_size;

    store_be64(entry, snapshot->l1_table_offset);
    store_be32(entry + 8, snapshot->l1_size);
    /* What does not fit into 32 bits stands in the extra data alone. */
    store_be32(entry + 32, size > UINT32_MAX ? 0 : size);
    store_be64(entry + ENTRY_FIXED_BYTES, size);
}

/* Extra data as QEMU writes it, for the size to be stored in. */
static void store_extra(uint8_t *entry, const Qcow2Snapshot *snapshot)
{
    uint8_t *extra = entry + ENTRY_FIXED_BYTES;

    store_be32(entry + 36, EXTRA_ICOUNT_END);
    store_be64(extra + EXTRA_VM_STATE_SIZE_END, snapshot->disk_size);
    store_be64(extra + EXTRA_DISK_SIZE_END, snapshot->icount);
}

/* The stored bytes of @old with the VM state of @changed. */
static GBytes *change_entry(const Qcow2Snapshot *old,
                            const Qcow2Snapshot *changed)
{
    gsize bytes;
    const uint8_t *from = g_bytes_get_data(old->entry, &bytes);
    uint32_t old_extra = load_be32(from + 36);
    bool grows = old_extra < EXTRA_VM_STATE_SIZE_END;
    uint32_t extra = grows ? EXTRA_ICOUNT_END : old_extra;
    size_t before = ENTRY_FIXED_BYTES + old_extra;
    uint8_t *entry = g_malloc(ENTRY_FIXED_BYTES + extra + bytes - before);

    memcpy(entry, from, before);
    if (grows) {
        store_extra(entry, old);
    }
    store_vmstate(entry, changed);
    memcpy(entry + ENTRY_FIXED_BYTES + extra, from + before, bytes - before);
    return g_bytes_new_take(entry, ENTRY_FIXED_BYTES + extra + bytes - before);
}

GByteArray *qcow2_snapshot_table_change_vmstate(const GPtrArray *snapshots,
                                                const Qcow2Snapshot *old,
                                                const Qcow2Snapshot *changed,
                                                GError **errp)
{
    g_autoptr(GBytes) entry = change_entry(old, changed);

    return replace_entry(snapshots, old, entry, errp);
}

GBytes *qcow2_snapshot_encode(const Qcow2Snapshot *snapshot)
{
    size_t id_bytes = strlen(snapshot->id);
    size_t name_bytes = strlen(snapshot->name);
    size_t bytes = ENTRY_FIXED_BYTES + EXTRA_ICOUNT_END + id_bytes + name_bytes;
    uint8_t *entry = g_malloc0(bytes);
    uint8_t *extra = entry + ENTRY_FIXED_BYTES;

    g_assert(id_bytes <= QCOW2_MAX_NAME_BYTES);
    g_assert(name_bytes <= QCOW2_MAX_NAME_BYTES);
    store_be16(entry + 12, id_bytes);
    store_be16(entry + 14, name_bytes);
    store_be32(entry + 16, snapshot->date_sec);
    store_be32(entry + 20, snapshot->date_nsec);
    store_be64(entry + 24, snapshot->vm_clock_nsec);
    store_extra(entry, snapshot);
    store_vmstate(entry, snapshot);
    memcpy(extra + EXTRA_ICOUNT_END, snapshot->id, id_bytes);
    memcpy(extra + EXTRA_ICOUNT_END + id_bytes, snapshot->name, name_bytes);
    return g_bytes_new_take(entry, bytes);
}

char *qcow2_snapshot_new_id(const GPtrArray *snapshots,
                            const Qcow2Snapshot *left_out)
{
    g_autoptr(GHashTable) ids = g_hash_table_new(g_str_hash, g_str_equal);
    uint64_t largest = 0;
    char *id = NULL;
    guint i;

    for (i = 0; i < snapshots->len; i++) {
        const Qcow2Snapshot *snapshot = g_ptr_array_index(snapshots, i);
        uint64_t number = g_ascii_strtoull(snapshot->id, NULL, 10);

        if (snapshot == left_out) {
            continue;
        }
        g_hash_table_add(ids, snapshot->id);
        /* An absurd ID must not make ours wrap around. */
        if (number < UINT32_MAX) {
            largest = MAX(largest, number);
        }
    }
    /* Absurd IDs that were passed over may still be in the way, all of them. */
    do {
        g_free(id);
        id = g_strdup_printf("%" PRIu64, ++largest);
    } while (g_hash_table_contains(ids, id));
    return id;
}
