/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The list of the sections of a stream, with the bytes that each of them
 * takes. Nothing here happens more than once for a piece of a section.
 */
#include "opaque-region.h"

bool section_list_has_room(MigrationReader *reader, unsigned sections,
                           uint64_t offset)
{
    if (reader->info.sections->len + sections <= STREAM_MAX_SECTIONS) {
        return true;
    }
    stream_error(&reader->error, SNAP_ERROR_STREAM, offset,
                 "more than %d sections", STREAM_MAX_SECTIONS);
    return false;
}

MigrationSection *section_list_add(MigrationReader *reader, StreamName name,
                                   uint32_t instance, uint32_t version,
                                   uint64_t offset)
{
    MigrationSection *listed;

    if (!section_list_has_room(reader, 1, offset)) {
        return NULL;
    }
    listed = g_new0(MigrationSection, 1);
    listed->name = g_strndup(name.text, name.bytes);
    listed->instance = instance;
    listed->version = version;
    listed->delimited = true;
    listed->offset = offset;
    g_ptr_array_add(reader->info.sections, listed);
    return listed;
}

void section_list_piece(MigrationSection *listed, uint64_t header, uint64_t end)
{
    listed->bytes += end - header;
}

void section_list_device(MigrationSection *listed, uint64_t payload,
                         uint64_t end)
{
    listed->device = true;
    listed->payload_offset = payload;
    listed->payload_bytes = end - payload;
}

/* @section ends before @end, with a footer. */
static void list_section(MigrationReader *reader, const ChainSection *section,
                         uint64_t end)
{
    bool begins = section->type == STREAM_SECTION_FULL ||
                  section->type == STREAM_SECTION_START;
    Section *known =
        g_hash_table_lookup(reader->sections, GUINT_TO_POINTER(section->id));
    MigrationSection *listed = known != NULL ? known->listed : NULL;

    /* A START that is listed already became opaque behind its header. */
    if (listed == NULL || (begins && listed->offset != section->header)) {
        StreamName name = { section->name, strlen(section->name) };

        listed = section_list_add(reader, name, section->instance,
                                  section->version, section->header);
        if (listed == NULL) {
            return;
        }
        if (section->type == STREAM_SECTION_FULL) {
            section_list_device(listed, section->payload,
                                end - STREAM_FOOTER_BYTES);
        } else if (known != NULL && known->listed == NULL) {
            known->listed = listed;
        }
    }
    section_list_piece(listed, section->header, end);
}

void region_list_sections(MigrationReader *reader, const SectionChain *chain)
{
    const GArray *const parts[] = { reader->opaque->settled, chain->sections };
    const ChainSection *last = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        for (guint j = 0; j < parts[i]->len; j++) {
            const ChainSection *section =
                &g_array_index(parts[i], ChainSection, j);

            if (last != NULL) {
                list_section(reader, last, section->header);
            }
            last = section;
        }
    }
    if (last != NULL) {
        list_section(reader, last, chain->next);
    }
}
