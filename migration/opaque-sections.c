/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Follows the part of a stream that carries no lengths.
 *
 * Design. A region opens at the first section without a length and closes at
 * the next thing that has one, or at the end of the stream; usually it holds
 * all devices of the machine. Its bytes are kept, and two observers go over
 * them as they come:
 *
 *   the chain   section-chain.h, live: goes from section to section by their
 *               footers. It is right unless a payload looks like the frame of
 *               a stream; then it gets stuck in a section that does not exist.
 *   the finder  description-finder.h: sees the device description, which ends
 *               a stream, wherever the chain is.
 *
 * What they report decides:
 *
 *   chain: known section      the region closes there; the steps go on
 *   chain: end marker         waits: for a description, or for the end of input
 *   finder: description       an exhaustive search for a chain that ends there:
 *                             first one that meets the devices it lists, then
 *                             any. Found: the stream is complete
 *   input ends                complete if the chain is at an end marker with
 *                             nothing but zeros behind it
 *   region is full            no more bytes are kept: the chain's sections are
 *                             taken for certain, except the last, whose end
 *                             is searched in what is still to come
 *
 * Invariants:
 *  1. An event takes place at a stream offset. The observers never see bytes
 *     beyond the offset of the event that is being handled, so it makes no
 *     difference how many of them have been fed already.
 *  2. Without a description there is no backtracking at the end of input: the
 *     stream would be complete on the strength of five bytes of payload that
 *     look like a footer. A chain that waits for the end of a section means
 *     that the stream was cut.
 *  3. An end marker behind the footer of section 0 needs a description: the
 *     six bytes 7e 00 00 00 00 00 are common in device state.
 *  4. A description whose list of devices differs from what is found does not
 *     stop a stream whose sections are all delimited: losing the state would
 *     be worse than a difference that no loading looks at.
 *  5. Without footers sections cannot be told apart. A description, and that
 *     it lists the devices whose headers are there, is all that counts then.
 *     Without either, completeness cannot be told, and the stream is refused.
 *
 * A guest that writes a description and all footers before it into a buffer of
 * a device can make its own stream end there. The reader takes the first end
 * there is, as what follows a stream may be the remains of an older one.
 */
#include <string.h>

#include "opaque-region.h"
#include "stream-devices.h"

/*
 * Device state that is kept for the sake of choosing again. Machines without
 * graphics memory have 10 to 300 KB of it; the limit on the memory of the whole
 * program is a few times this.
 */
#define OPAQUE_MAX_BYTES (16 * 1024 * 1024)

/* Input is taken in pieces: what is behind the region is copied in vain. */
#define OPAQUE_MIN_PIECE 512
#define OPAQUE_MAX_PIECE (64 * 1024)

/* Payload of section `timer' version 2: ticks, unused, clock; each a be64. */
#define TIMER_VERSION      2
#define TIMER_CLOCK_OFFSET 16

void opaque_region_free(OpaqueRegion *region)
{
    if (region == NULL) {
        return;
    }
    g_byte_array_unref(region->bytes);
    section_chain_free(region->chain);
    g_array_unref(region->settled);
    g_free(region);
}

static StepResult region_open(MigrationReader *reader, StreamCursor *cursor,
                              SectionChain *chain, bool within)
{
    uint64_t offset = reader_item_offset(reader, cursor);
    OpaqueRegion *region = g_new0(OpaqueRegion, 1);

    region->bytes = g_byte_array_new();
    region->settled = chain_sections_new();
    region->opened = within ? reader->section_offset : offset;
    region->base = region->start = region->finder.next = offset;
    region->chain = chain;
    region->within = within;
    reader->opaque = region;
    reader->section = NULL;
    cursor->pos = cursor->start;
    return STEP_DONE;
}

static StepResult failed_without_footers(MigrationReader *reader,
                                         uint64_t offset)
{
    return stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, offset,
                        "a section of unknown format in a stream without "
                        "section footers");
}

StepResult opaque_begin(MigrationReader *reader, StreamCursor *cursor)
{
    uint64_t offset = reader_item_offset(reader, cursor);
    uint8_t type = cursor->data[cursor->start];

    if (reader->footers == FOOTERS_OFF && type != STREAM_SECTION_FULL &&
        type != STREAM_EOF) {
        return failed_without_footers(reader, offset);
    }
    return region_open(reader, cursor, section_chain_new(reader, offset),
                       false);
}

StepResult opaque_begin_payload(MigrationReader *reader, StreamCursor *cursor)
{
    uint64_t offset = reader_item_offset(reader, cursor);
    ChainSection section = {
        .type = reader->section_type,
        .id = reader->section->id,
        .header = reader->section_offset,
        .payload = offset,
        .scan = offset,
        .noted = true,
    };

    if (reader->footers == FOOTERS_OFF) {
        return failed_without_footers(reader, offset);
    }
    section.name = g_strdup(reader->section->name);
    return region_open(reader, cursor,
                       section_chain_new_within(reader, section), true);
}

void region_note_clock(MigrationReader *reader, uint64_t payload,
                       uint32_t version)
{
    const OpaqueRegion *region = reader->opaque;
    uint64_t clock = payload - region->base + TIMER_CLOCK_OFFSET;

    if (version == TIMER_VERSION && payload >= region->base &&
        range_within(clock, sizeof(uint64_t), region->bytes->len)) {
        reader->info.vm_clock_ns = load_be64(region->bytes->data + clock);
        reader->info.vm_clock_known = true;
    }
}

static void note_clock_of(MigrationReader *reader, const ChainSection *section)
{
    if (section->type == STREAM_SECTION_FULL &&
        strcmp(section->name, "timer") == 0) {
        region_note_clock(reader, section->payload, section->version);
    }
}

/*
 * Sections that are followed by another tell the clock before the stream is
 * complete. The last one has not ended for certain.
 */
static void region_note_ended(MigrationReader *reader)
{
    OpaqueRegion *region = reader->opaque;
    const GArray *sections = region->chain->sections;

    while (region->clocked + 1 < sections->len) {
        note_clock_of(
            reader, &g_array_index(sections, ChainSection, region->clocked++));
    }
}

void region_note_sections(MigrationReader *reader, const SectionChain *chain)
{
    for (guint i = 0; i < chain->sections->len; i++) {
        ChainSection *section =
            &g_array_index(chain->sections, ChainSection, i);
        StreamName name = { section->name, strlen(section->name) };

        if (section->noted) {
            continue;
        }
        section->noted = true;
        if (i + 1 < chain->sections->len || chain->at_next) {
            note_clock_of(reader, section);
        }
        if (section->type == STREAM_SECTION_FULL) {
            stream_devices_add(reader->devices, name.text, name.bytes,
                               section->instance);
            reader->info.devices++;
        } else if (section->type == STREAM_SECTION_START) {
            section_register(reader, section->id, name, NULL);
        }
    }
}

void region_close(MigrationReader *reader, const SectionChain *chain)
{
    OpaqueRegion *region = reader->opaque;
    size_t taken = chain->next - region->base;

    region_note_sections(reader, chain);
    region_list_sections(reader, chain);
    reader->footers = FOOTERS_ON;
    reader_unread(reader, region->bytes->data + taken,
                  region->bytes->len - taken);
    g_clear_pointer(&reader->opaque, opaque_region_free);
    stream_next_top_level(reader);
}

ChainResult region_search(OpaqueRegion *region, const StreamSpan *span,
                          uint64_t end, const GPtrArray *expected,
                          SectionChain **found)
{
    g_autoptr(SectionChain) chain = section_chain_new_exhaustive(
        region->chain, region->start, region->within, &region->work);
    ChainResult result;

    chain->end = end;
    chain->expected = expected;
    result = section_chain_run(chain, span);
    if (result == CHAIN_KNOWN || result == CHAIN_END) {
        *found = g_steal_pointer(&chain);
    }
    return result;
}

/*
 * Does a description begin behind the end marker at @marker? As long as its
 * header is not all there, nothing speaks against it; later the finder knows.
 */
static bool live_description_plausible(MigrationReader *reader, uint64_t marker,
                                       uint64_t end)
{
    const OpaqueRegion *region = reader->opaque;
    const DescriptionFinder *finder = &region->finder;
    const uint8_t *header = region->bytes->data + (marker - region->base);

    if (end <= marker + DESCRIPTION_HEADER_BYTES) {
        return true;
    }
    if (load_be32(header + 2) > DESCRIPTION_MAX_BYTES &&
        header[DESCRIPTION_HEADER_BYTES] == '{') {
        stream_error(&reader->error, SNAP_ERROR_UNSUPPORTED, marker,
                     "a device description of more than %d bytes",
                     DESCRIPTION_MAX_BYTES);
    }
    return finder->open && finder->start <= marker;
}

/*
 * Can what the chain is at be the end marker, as far as the bytes up to @end
 * show? Behind it there is nothing, or zeros, or a description.
 */
static bool live_end_plausible(MigrationReader *reader, uint64_t end)
{
    OpaqueRegion *region = reader->opaque;
    const uint8_t *data = region->bytes->data;
    uint64_t marker = region->chain->next;

    if (!region->live_end) {
        region->live_end = true;
        region->described = false;
        region->zeros = marker + 1;
    }
    if (end > marker + 1 &&
        data[marker + 1 - region->base] == STREAM_DESCRIPTION) {
        region->described = true;
        return live_description_plausible(reader, marker, end);
    }
    while (region->zeros < end && data[region->zeros - region->base] == 0) {
        region->zeros++;
    }
    return region->zeros == end;
}

/* Would input that ends here be a complete stream? */
static bool live_end_accepted(const OpaqueRegion *region)
{
    const ChainSection *last = section_chain_last(region->chain);

    return region->live_end && !region->described &&
           (last == NULL || last->id != 0);
}

static void live_end_reject(OpaqueRegion *region)
{
    region->live_end = false;
    section_chain_reject(region->chain);
}

/* There is not even a first section, or no end of the stream. */
static void region_fail(MigrationReader *reader)
{
    const OpaqueRegion *region = reader->opaque;

    stream_error(&reader->error, SNAP_ERROR_STREAM, region->base,
                 region->bytes->data[0] == STREAM_EOF
                     ? "what follows the end marker is no device description"
                     : "a section header with an impossible name, id or "
                       "version");
}

/*
 * Let the chain see the bytes up to @end. Returns false when the region is
 * closed or the stream has failed.
 */
static bool region_advance_chain(MigrationReader *reader, uint64_t end)
{
    OpaqueRegion *region = reader->opaque;
    SectionChain *chain = region->chain;
    StreamSpan span = region_span(region, end);
    ChainResult result = CHAIN_MORE;

    /* Without footers the first header is all that can be looked at. */
    while (reader->footers != FOOTERS_OFF || chain->sections->len == 0) {
        result = section_chain_run(chain, &span);
        if (result != CHAIN_END || live_end_plausible(reader, end) ||
            reader->error != NULL) {
            break;
        }
        live_end_reject(region);
    }
    if (chain->devices > 0 && reader->ram.started) {
        reader->phase = MIGRATION_PHASE_DEVICES;
    }
    region_note_ended(reader);
    if (result == CHAIN_KNOWN) {
        region_close(reader, chain);
        return false;
    }
    if (result == CHAIN_NONE) {
        region_fail(reader);
    }
    return reader->error == NULL;
}

/* Drop the bytes in front of @offset. */
static void region_drop(OpaqueRegion *region, uint64_t offset)
{
    g_byte_array_remove_range(region->bytes, 0, offset - region->base);
    region->base = offset;
}

/*
 * The region is full with the bytes up to @end. Returns false when it is closed
 * instead. Before the devices a wrong end can hide all of the RAM; so there, a
 * way out of the region goes before the way that the chain has taken.
 */
static bool region_make_room(MigrationReader *reader, uint64_t end)
{
    OpaqueRegion *region = reader->opaque;
    StreamSpan span = region_span(region, end);
    g_autoptr(SectionChain) way_out = NULL;
    ChainSection *last;

    region->trimmed = true;
    if (reader->footers == FOOTERS_OFF) {
        region->padding = region->live_end;
        region_drop(region, region->live_end ? end : region->finder.next);
        return true;
    }
    if (reader->phase != MIGRATION_PHASE_DEVICES &&
        region_search(region, &span, 0, NULL, &way_out) == CHAIN_KNOWN) {
        region_close(reader, way_out);
        return false;
    }
    if (region->live_end && region->zeros > region->chain->next + 1) {
        if (live_end_accepted(region)) {
            region_note_sections(reader, region->chain);
            region->padding = true;
            region_drop(region, end);
            return true;
        }
        live_end_reject(region);
    }
    region_note_sections(reader, region->chain);
    section_chain_settle(region->chain, region->settled);
    last = section_chain_last(region->chain);
    if (!section_list_has_room(reader, region->settled->len, last->header)) {
        return false;
    }
    region->start = last->scan;
    region->within = true;
    region->clocked = 0;
    region_drop(region, MIN(last->scan, region->finder.next));
    return true;
}

/* Zeros behind the end marker, as many as there are. */
static void region_check_padding(MigrationReader *reader)
{
    OpaqueRegion *region = reader->opaque;

    for (guint i = 0; i < region->bytes->len; i++) {
        if (region->bytes->data[i] != 0) {
            stream_error(&reader->error, SNAP_ERROR_STREAM, region->base + i,
                         "a byte 0x%02x behind the end marker and zeros",
                         region->bytes->data[i]);
            return;
        }
    }
    region_drop(region, region->base + region->bytes->len);
}

static void region_advance(MigrationReader *reader)
{
    OpaqueRegion *region = reader->opaque;
    FinderEvent event = FINDER_FULL;

    while (!region->padding && event != FINDER_MORE) {
        StreamSpan span =
            region_span(region, region->base + region->bytes->len);
        uint64_t offset;

        event = description_finder_advance(
            &region->finder, &span, region->base + OPAQUE_MAX_BYTES, &offset);
        if (!region_advance_chain(reader, offset)) {
            return;
        }
        if (event == FINDER_FOUND) {
            if (region_resolve_description(reader)) {
                return;
            }
            description_finder_refute(&region->finder);
        } else if (event == FINDER_FULL) {
            if (!region_make_room(reader, offset)) {
                return;
            }
        }
    }
    if (region->padding) {
        region_check_padding(reader);
    }
}

size_t opaque_region_feed(MigrationReader *reader, const uint8_t *data,
                          size_t bytes)
{
    GByteArray *kept = reader->opaque->bytes;
    size_t piece = CLAMP(kept->len, OPAQUE_MIN_PIECE, OPAQUE_MAX_PIECE);

    bytes = MIN(bytes, piece);
    g_byte_array_append(kept, data, bytes);
    region_advance(reader);
    return bytes;
}

bool opaque_region_finish(MigrationReader *reader)
{
    OpaqueRegion *region = reader->opaque;
    StreamSpan span = region_span(region, region->base + region->bytes->len);
    g_autoptr(SectionChain) way_out = NULL;

    if (live_end_accepted(region)) {
        region_note_sections(reader, region->chain);
        region_list_sections(reader, region->chain);
        reader_complete(reader, region->chain->next + STREAM_EOF_BYTES);
        return false;
    }
    if (reader->footers == FOOTERS_OFF && !region->live_end) {
        stream_error(&reader->error, SNAP_ERROR_STREAM, span.end,
                     "nothing shows whether the stream is complete: it has "
                     "neither section footers nor a device description");
        return false;
    }
    if (reader->footers != FOOTERS_OFF &&
        reader->phase != MIGRATION_PHASE_DEVICES &&
        region_search(region, &span, 0, NULL, &way_out) == CHAIN_KNOWN) {
        region_close(reader, way_out);
        return true;
    }
    return false;
}

bool opaque_region_may_end(const MigrationReader *reader)
{
    return live_end_accepted(reader->opaque);
}

char *opaque_region_describe(const MigrationReader *reader)
{
    const OpaqueRegion *region = reader->opaque;
    const ChainSection *last = section_chain_last(region->chain);
    g_autofree char *section = NULL;

    if (region->live_end && region->described) {
        return g_strdup("in the device description");
    }
    if (last == NULL) {
        return g_strdup("in a section header");
    }
    section = section_describe(last->name, last->id);
    return g_strdup_printf("%s %s", region->chain->at_next ? "behind" : "in",
                           section);
}
