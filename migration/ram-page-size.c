/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The page size is not in section `ram', and in most streams nowhere before
 * it. It is needed at the first PAGE record, the only kind whose payload has
 * no length. What stands behind that page decides: under a wrong size the next
 * record would begin amid the contents of a page.
 *
 * Sizes are tried in the order in which QEMU's targets have them. One is taken
 * when a number of records in a row make sense, or the section's end does; one
 * that fails is out. The guest chooses what is in its pages, so a size that is
 * rare must not win over a common one that fits: hence an order, and no vote.
 * A size for which the bytes do not suffice is waited for, and is out when the
 * input has ended.
 */
#include "ram-records.h"

/*
 * Records behind the first page that have to make sense. With contents that
 * are not made to deceive, already the second one fails for a wrong size.
 */
#define INFER_RECORDS 8

/*
 * The section ends here: what follows must be its footer, or, when sections
 * may have none, the beginning of the next thing.
 */
static StepResult infer_section_end(const MigrationReader *reader,
                                    StreamCursor *cursor)
{
    uint8_t type;
    uint32_t id;

    if (!stream_cursor_u8(cursor, &type)) {
        return STEP_MORE;
    }
    if (type == STREAM_SECTION_FOOTER) {
        if (!stream_cursor_be32(cursor, &id)) {
            return STEP_MORE;
        }
        return id == reader->section->id ? STEP_DONE : STEP_FAILED;
    }
    switch (type) {
    case STREAM_EOF:
    case STREAM_SECTION_START:
    case STREAM_SECTION_PART:
    case STREAM_SECTION_END:
    case STREAM_SECTION_FULL:
    case STREAM_COMMAND:
        return reader->footers == FOOTERS_ON ? STEP_FAILED : STEP_DONE;
    default:
        return STEP_FAILED;
    }
}

/* Does the stream go on sensibly if pages have @page_size bytes? */
static StepResult infer_try(const MigrationReader *reader, StreamCursor *cursor,
                            const RamRecord *first, uint32_t page_size)
{
    RamRecord record = *first;

    if (!is_aligned(reader->ram.multiples | first->offset, page_size)) {
        return STEP_FAILED;
    }
    record.payload = page_size;
    for (unsigned i = 0; i < INFER_RECORDS; i++) {
        StepResult result;

        if (stream_cursor_take(cursor, record.payload) == NULL) {
            return STEP_MORE;
        }
        result = ram_record_take(reader, cursor, record.block, page_size,
                                 &record, NULL);
        if (result != STEP_DONE) {
            return result;
        }
        if (record.kind == RAM_RECORD_EOS) {
            return infer_section_end(reader, cursor);
        }
        if (record.kind == RAM_RECORD_MEM_SIZE) {
            return STEP_FAILED;
        }
    }
    return STEP_DONE;
}

StepResult ram_page_size_infer(MigrationReader *reader, StreamCursor *cursor,
                               const RamRecord *first, uint32_t *page_size)
{
    static const uint8_t likely_bits[] = { 12, 10, 13, 14, 16, 15, 11 };
    bool short_of_bytes = false;

    for (size_t i = 0; i < G_N_ELEMENTS(likely_bits); i++) {
        StreamCursor ahead = *cursor;
        uint32_t size = UINT32_C(1) << likely_bits[i];

        switch (infer_try(reader, &ahead, first, size)) {
        case STEP_DONE:
            *page_size = size;
            return STEP_DONE;
        case STEP_MORE:
            cursor->need = ahead.need;
            if (!reader->input_ended) {
                return STEP_MORE;
            }
            short_of_bytes = true;
            break;
        case STEP_FAILED:
            break;
        }
    }
    if (short_of_bytes) {
        return STEP_MORE;
    }
    return stream_error(&reader->error, SNAP_ERROR_STREAM,
                        reader_item_offset(reader, cursor),
                        "the records behind the first RAM page make no sense "
                        "for any page size");
}
