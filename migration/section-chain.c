/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A depth-first search for the chain of sections. A section's end is where its
 * footer is found, if something that can follow a section stands behind it; the
 * five bytes of a footer alone do turn up inside payloads. An exhaustive search
 * remembers the places from which it failed, so each is entered only once (for
 * each number of devices before it, when these are to meet a list), and counts
 * the bytes it has looked at, because each place may scan all the rest.
 */
#include <string.h>

#include "section-chain.h"
#include "stream-devices.h"

/*
 * Bytes that the exhaustive searches of a region may look at: 64 times what a
 * region holds, a second at worst. A stream that is not made to deceive needs
 * one or two times its region. Entering a section counts as many bytes as its
 * memory is worth.
 */
#define CHAIN_MAX_WORK     (UINT64_C(1) << 30)
#define CHAIN_SECTION_WORK 16384

static void chain_section_clear(gpointer opaque)
{
    ChainSection *section = opaque;

    g_free(section->name);
}

GArray *chain_sections_new(void)
{
    GArray *sections = g_array_new(FALSE, TRUE, sizeof(ChainSection));

    g_array_set_clear_func(sections, chain_section_clear);
    return sections;
}

SectionChain *section_chain_new(const MigrationReader *reader, uint64_t offset)
{
    SectionChain *chain = g_new0(SectionChain, 1);

    chain->reader = reader;
    chain->sections = chain_sections_new();
    chain->at_next = true;
    chain->next = offset;
    return chain;
}

SectionChain *section_chain_new_within(const MigrationReader *reader,
                                       ChainSection first)
{
    SectionChain *chain = section_chain_new(reader, 0);

    chain->at_next = false;
    g_array_append_val(chain->sections, first);
    return chain;
}

SectionChain *section_chain_new_exhaustive(const SectionChain *live,
                                           uint64_t start, bool within,
                                           uint64_t *work)
{
    SectionChain *chain;

    if (within) {
        ChainSection first = g_array_index(live->sections, ChainSection, 0);

        first.name = g_strdup(first.name);
        first.scan = start;
        chain = section_chain_new_within(live->reader, first);
    } else {
        chain = section_chain_new(live->reader, start);
    }
    chain->exhaustive = true;
    chain->visited = g_hash_table_new(g_direct_hash, g_direct_equal);
    chain->work = work;
    return chain;
}

void section_chain_free(SectionChain *chain)
{
    if (chain == NULL) {
        return;
    }
    g_array_unref(chain->sections);
    g_clear_pointer(&chain->visited, g_hash_table_unref);
    g_free(chain);
}

ChainSection *section_chain_last(const SectionChain *chain)
{
    return chain->sections->len == 0
               ? NULL
               : &g_array_index(chain->sections, ChainSection,
                                chain->sections->len - 1);
}

void section_chain_reject(SectionChain *chain)
{
    g_assert(chain->at_next);
    chain->at_next = false;
}

void section_chain_settle(SectionChain *chain, GArray *settled)
{
    guint count = chain->sections->len - 1;

    g_assert(chain->sections->len > 0);
    if (count > 0) {
        g_array_append_vals(settled, chain->sections->data, count);
        for (guint i = 0; i < count; i++) {
            g_array_index(chain->sections, ChainSection, i).name = NULL;
        }
        g_array_remove_range(chain->sections, 0, count);
    }
    chain->devices = 0;
}

static void chain_pop(SectionChain *chain)
{
    const ChainSection *last = section_chain_last(chain);

    if (last->type == STREAM_SECTION_FULL && !last->noted) {
        chain->devices--;
    }
    g_array_set_size(chain->sections, chain->sections->len - 1);
}

/* Has this place been entered? If not, it is now. */
static bool chain_enter(SectionChain *chain, const StreamSpan *span)
{
    guint index = chain->expected != NULL ? chain->devices : 0;
    gpointer key;

    if (!chain->exhaustive) {
        return true;
    }
    *chain->work += CHAIN_SECTION_WORK;
    /* Of 64 bits, the low 32 should differ: that is all the hash looks at. */
    key = (gpointer)(uintptr_t)(((uint64_t)index << 27) ^
                                (chain->next - span->base));
    return g_hash_table_add(chain->visited, key);
}

static bool chain_header_plausible(const SectionChain *chain,
                                   const SectionHeader *header)
{
    const GPtrArray *devices = chain->reader->devices;

    return stream_name_ascii(header->name) &&
           header->version <= STREAM_MAX_SECTION_VERSION &&
           !g_hash_table_contains(chain->reader->sections,
                                  GUINT_TO_POINTER(header->id)) &&
           chain->sections->len + devices->len < STREAM_MAX_SECTIONS &&
           (header->type != STREAM_SECTION_FULL || chain->expected == NULL ||
            stream_devices_match(chain->expected, devices->len + chain->devices,
                                 header->name.text, header->name.bytes,
                                 header->instance));
}

static void chain_push(SectionChain *chain, const SectionHeader *header,
                       uint64_t payload)
{
    const Section *known = g_hash_table_lookup(chain->reader->sections,
                                               GUINT_TO_POINTER(header->id));
    ChainSection section = {
        .type = header->type,
        .id = header->id,
        .name = known != NULL
                    ? g_strdup(known->name)
                    : g_strndup(header->name.text, header->name.bytes),
        .instance = header->instance,
        .version = header->version,
        .header = chain->next,
        .payload = payload,
        .scan = payload,
    };

    if (header->type == STREAM_SECTION_FULL) {
        chain->devices++;
    }
    g_array_append_val(chain->sections, section);
}

typedef enum ChainPlace {
    PLACE_MORE,
    PLACE_WRONG,
    PLACE_OPAQUE, /* a section that has been added to the chain */
    PLACE_KNOWN,
    PLACE_END,
} ChainPlace;

static ChainPlace chain_visit_header(SectionChain *chain,
                                     const StreamSpan *span,
                                     StreamCursor *cursor)
{
    SectionHeader header = { 0 };
    const Section *known;

    if (!section_header_take(cursor, &header)) {
        return PLACE_MORE;
    }
    if (header.type == STREAM_SECTION_PART ||
        header.type == STREAM_SECTION_END) {
        known = g_hash_table_lookup(chain->reader->sections,
                                    GUINT_TO_POINTER(header.id));
        if (known == NULL) {
            return PLACE_WRONG;
        }
        /* The first section may be such a one. Behind it: nothing to guess. */
        if (known->format != NULL || chain->sections->len > 0) {
            return PLACE_KNOWN;
        }
    } else if (!chain_header_plausible(chain, &header)) {
        return PLACE_WRONG;
    } else if (header.type == STREAM_SECTION_START &&
               section_format_find(header.name, header.version) != NULL) {
        return PLACE_KNOWN;
    }
    if (!chain_enter(chain, span)) {
        return PLACE_WRONG;
    }
    chain_push(chain, &header, chain->next + cursor->pos);
    return PLACE_OPAQUE;
}

/* An exhaustive search for a certain end takes no other. */
static ChainPlace chain_visit_end(const SectionChain *chain)
{
    if (!chain->exhaustive) {
        return PLACE_END;
    }
    if (chain->end == 0 || chain->next != chain->end ||
        (chain->expected != NULL &&
         chain->expected->len !=
             chain->reader->devices->len + chain->devices)) {
        return PLACE_WRONG;
    }
    return PLACE_END;
}

static ChainPlace chain_visit(SectionChain *chain, const StreamSpan *span)
{
    StreamCursor cursor = { .data = span->data + (chain->next - span->base),
                            .bytes = span->end - chain->next };
    uint16_t command, bytes;
    uint8_t type;

    if (!stream_cursor_peek(&cursor, &type)) {
        return PLACE_MORE;
    }
    switch (type) {
    case STREAM_EOF:
        return chain_visit_end(chain);
    case STREAM_SECTION_START:
    case STREAM_SECTION_PART:
    case STREAM_SECTION_END:
    case STREAM_SECTION_FULL:
        return chain_visit_header(chain, span, &cursor);
    case STREAM_COMMAND:
        if (!stream_cursor_u8(&cursor, &type) ||
            !stream_cursor_be16(&cursor, &command) ||
            !stream_cursor_be16(&cursor, &bytes)) {
            return PLACE_MORE;
        }
        return stream_command_plausible(command, bytes) ? PLACE_KNOWN
                                                        : PLACE_WRONG;
    default:
        return PLACE_WRONG;
    }
}

/* Go to what is behind the last section's next footer in @span, if any. */
static bool chain_find_footer(SectionChain *chain, const StreamSpan *span)
{
    ChainSection *last = section_chain_last(chain);
    uint8_t footer[STREAM_FOOTER_BYTES] = { STREAM_SECTION_FOOTER };
    uint64_t scanned = last->scan;
    const uint8_t *found = NULL;

    if (last->scan + sizeof(footer) > span->end) {
        return false;
    }
    store_be32(footer + 1, last->id);
    found = memmem(span->data + (last->scan - span->base),
                   span->end - last->scan, footer, sizeof(footer));
    if (found == NULL) {
        last->scan = span->end - sizeof(footer) + 1;
    } else {
        last->scan = span->base + (found - span->data) + 1;
        chain->next = last->scan - 1 + sizeof(footer);
        chain->at_next = true;
    }
    if (chain->exhaustive) {
        *chain->work += last->scan - scanned;
    }
    return found != NULL;
}

ChainResult section_chain_run(SectionChain *chain, const StreamSpan *span)
{
    while (!chain->exhaustive || *chain->work < CHAIN_MAX_WORK) {
        ChainPlace place;

        if (!chain->at_next) {
            if (chain->sections->len == 0) {
                return CHAIN_NONE;
            }
            if (chain_find_footer(chain, span)) {
                continue;
            }
            if (!chain->exhaustive) {
                return CHAIN_MORE;
            }
            chain_pop(chain);
            continue;
        }
        place = chain_visit(chain, span);
        if (place == PLACE_KNOWN) {
            return CHAIN_KNOWN;
        }
        if (place == PLACE_END) {
            return CHAIN_END;
        }
        if (place == PLACE_MORE && !chain->exhaustive) {
            return CHAIN_MORE;
        }
        chain->at_next = false;
    }
    return CHAIN_GIVEN_UP;
}
