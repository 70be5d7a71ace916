/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Which devices differ: found by name and instance, compared byte by byte. What
 * their bytes mean is not asked.
 */
#include <inttypes.h>
#include <string.h>

#include "checked.h"
#include "snap-diff.h"
#include "snap-error.h"

/* Devices are small, but nothing says so. */
#define PIECE_BYTES ((size_t)64 * 1024)

static char *section_key(const MigrationSection *section)
{
    return g_strdup_printf("%" PRIu32 " %s", section->instance, section->name);
}

/* RAM is compared by pages. */
static bool is_ram(const MigrationSection *section)
{
    return !section->device && !strcmp(section->name, "ram");
}

static const GPtrArray *sections_of(const SnapDiffSide *side)
{
    return stream_index_info(side->state.index)->sections;
}

/* Of MigrationSection by key. */
static GHashTable *sections_by_key(const SnapDiffSide *side)
{
    GHashTable *table =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const GPtrArray *sections = sections_of(side);
    guint i;

    for (i = 0; i < sections->len; i++) {
        g_hash_table_insert(table, section_key(sections->pdata[i]),
                            sections->pdata[i]);
    }
    return table;
}

static bool coroutine_fn read_piece(const SnapDiff *diff, unsigned number,
                                    const MigrationSection *section,
                                    uint64_t done, uint8_t *to, size_t bytes,
                                    GError **errp)
{
    const SnapState *state = &diff->sides[number].state;

    if (!range_within(section->payload_offset, section->payload_bytes,
                      state->stream_bytes)) {
        g_set_error(
            errp, SNAP_ERROR, SNAP_ERROR_STREAM,
            "%s: device '%s' cannot be at byte %" PRIu64 " of the stream",
            number == 0 ? "a" : "b", section->name, section->payload_offset);
        return false;
    }
    if (!qcow2_vmstate_pread(state->vmstate, section->payload_offset + done, to,
                             bytes, errp)) {
        g_prefix_error(errp, "%s: ", number == 0 ? "a" : "b");
        return false;
    }
    return true;
}

/* Both are as long. */
static bool coroutine_fn compare_content(
    const SnapDiff *diff, const MigrationSection *const sections[],
    SnapDeviceVerdict *verdict, GError **errp)
{
    g_autofree uint8_t *a = g_malloc(PIECE_BYTES);
    g_autofree uint8_t *b = g_malloc(PIECE_BYTES);
    uint64_t bytes = sections[0]->payload_bytes;
    uint64_t done = 0;

    *verdict = SNAP_DEVICE_SAME;
    while (done < bytes && *verdict == SNAP_DEVICE_SAME) {
        size_t now = MIN(bytes - done, PIECE_BYTES);

        if (!read_piece(diff, 0, sections[0], done, a, now, errp) ||
            !read_piece(diff, 1, sections[1], done, b, now, errp)) {
            return false;
        }
        if (memcmp(a, b, now) != 0) {
            *verdict = SNAP_DEVICE_CONTENT;
        }
        done += now;
    }
    return true;
}

static bool coroutine_fn compare_sections(
    const SnapDiff *diff, const MigrationSection *const sections[],
    SnapDeviceVerdict *verdict, GError **errp)
{
    const MigrationSection *a = sections[0];
    const MigrationSection *b = sections[1];

    if (!a->device || !b->device || !a->delimited || !b->delimited) {
        *verdict = SNAP_DEVICE_UNKNOWN;
    } else if (a->version != b->version) {
        *verdict = SNAP_DEVICE_VERSION;
    } else if (a->payload_bytes != b->payload_bytes) {
        *verdict = SNAP_DEVICE_LENGTH;
    } else {
        return compare_content(diff, sections, verdict, errp);
    }
    return true;
}

static void add_device(SnapDiff *diff, const MigrationSection *section,
                       SnapDeviceVerdict verdict)
{
    SnapDiffDevice device = { .section = section, .verdict = verdict };

    g_array_append_val(diff->devices, device);
    if (verdict == SNAP_DEVICE_UNKNOWN) {
        diff->unknown_devices++;
    } else if (verdict != SNAP_DEVICE_SAME) {
        diff->different_devices++;
    }
}

/* Those that only side b has. */
static void add_others(SnapDiff *diff)
{
    g_autoptr(GHashTable) others = sections_by_key(&diff->sides[0]);
    const GPtrArray *sections = sections_of(&diff->sides[1]);
    guint i;

    for (i = 0; i < sections->len; i++) {
        const MigrationSection *section = sections->pdata[i];
        g_autofree char *key = section_key(section);

        if (!is_ram(section) && !g_hash_table_contains(others, key)) {
            add_device(diff, section, SNAP_DEVICE_ONLY_B);
        }
    }
}

bool coroutine_fn snap_diff_devices(SnapDiff *diff, GError **errp)
{
    g_autoptr(GHashTable) others = sections_by_key(&diff->sides[1]);
    const GPtrArray *sections = sections_of(&diff->sides[0]);
    guint i;

    for (i = 0; i < sections->len; i++) {
        const MigrationSection *pair[] = { sections->pdata[i], NULL };
        g_autofree char *key = section_key(pair[0]);
        SnapDeviceVerdict verdict = SNAP_DEVICE_ONLY_A;

        pair[1] = g_hash_table_lookup(others, key);
        if (is_ram(pair[0])) {
            continue;
        }
        if (pair[1] && !compare_sections(diff, pair, &verdict, errp)) {
            return false;
        }
        add_device(diff, pair[0], verdict);
    }
    add_others(diff);
    return true;
}
