/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What was learnt about a stream outlives the reader that learnt it.
 */
#include "reader-internal.h"

static void block_free(void *opaque)
{
    MigrationBlock *block = opaque;

    g_free(block->name);
    g_free(block);
}

static void *block_copy(const void *opaque, void *unused)
{
    const MigrationBlock *block = opaque;
    MigrationBlock *copy = g_memdup2(block, sizeof(*block));

    copy->name = g_strdup(block->name);
    return copy;
}

static void section_free(void *opaque)
{
    MigrationSection *section = opaque;

    g_free(section->name);
    g_free(section);
}

static void *section_copy(const void *opaque, void *unused)
{
    const MigrationSection *section = opaque;
    MigrationSection *copy = g_memdup2(section, sizeof(*section));

    copy->name = g_strdup(section->name);
    return copy;
}

static void *name_copy(const void *name, void *unused)
{
    return g_strdup(name);
}

void migration_info_init(MigrationInfo *info)
{
    info->blocks = g_ptr_array_new_with_free_func(block_free);
    info->capabilities = g_ptr_array_new_with_free_func(g_free);
    info->sections = g_ptr_array_new_with_free_func(section_free);
}

void migration_info_clear(MigrationInfo *info)
{
    g_ptr_array_unref(info->blocks);
    g_ptr_array_unref(info->capabilities);
    g_ptr_array_unref(info->sections);
    g_free(info->machine);
}

MigrationInfo *migration_info_copy(const MigrationInfo *info)
{
    MigrationInfo *copy = g_memdup2(info, sizeof(*info));

    copy->machine = g_strdup(info->machine);
    copy->blocks = g_ptr_array_copy(info->blocks, block_copy, NULL);
    g_ptr_array_set_free_func(copy->blocks, block_free);
    copy->capabilities = g_ptr_array_copy(info->capabilities, name_copy, NULL);
    g_ptr_array_set_free_func(copy->capabilities, g_free);
    copy->sections = g_ptr_array_copy(info->sections, section_copy, NULL);
    g_ptr_array_set_free_func(copy->sections, section_free);
    return copy;
}

/* Is the payload, if it is known, between header and footer? */
static bool section_holds_payload(const MigrationSection *section)
{
    return section->payload_offset >= section->offset &&
           range_within(section->payload_offset - section->offset,
                        section->payload_bytes, section->bytes);
}

bool migration_info_adds_up(const MigrationInfo *info)
{
    uint64_t sum = info->framing_bytes;
    uint64_t behind = 0;

    if (!checked_add(sum, info->undelimited_bytes, &sum) ||
        !checked_add(sum, info->description_bytes, &sum)) {
        return false;
    }
    for (guint i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        if (!checked_add(sum, section->bytes, &sum) ||
            (section->bytes > 0 && section->offset <= behind) ||
            (section->device && !section_holds_payload(section))) {
            return false;
        }
        behind = MAX(behind, section->offset);
    }
    return sum == info->stream_bytes;
}

void migration_info_take_out_return_path(MigrationInfo *info)
{
    uint64_t bytes = info->return_bytes;

    for (guint i = 0; i < info->sections->len; i++) {
        MigrationSection *section = info->sections->pdata[i];

        /* Devices may come before these commands. */
        if (section->offset > info->return_offset) {
            section->offset -= bytes;
            section->payload_offset -= section->device ? bytes : 0;
        }
    }
    if (info->description_bytes > 0) {
        info->description_offset -= bytes;
    }
    info->framing_bytes -= bytes;
    info->stream_bytes -= bytes;
    info->return_path = false;
    info->return_offset = 0;
    info->return_bytes = 0;
}

void migration_info_free(MigrationInfo *info)
{
    if (info) {
        migration_info_clear(info);
        g_free(info);
    }
}
