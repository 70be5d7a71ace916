/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Synthetic migration streams for tests.
 */
#include <check.h>
#include <string.h>

#include "bytes.h"
#include "page-map.h"
#include "stream-builder.h"

StreamBuilder *stream_builder_new(void)
{
    StreamBuilder *builder = g_new0(StreamBuilder, 1);

    builder->bytes = g_byte_array_new();
    builder->devices = g_string_new("");
    return builder;
}

void stream_builder_free(StreamBuilder *builder)
{
    if (builder != NULL) {
        g_byte_array_unref(builder->bytes);
        g_string_free(builder->devices, TRUE);
        g_free(builder);
    }
}

void stream_builder_u8(StreamBuilder *builder, uint8_t value)
{
    g_byte_array_append(builder->bytes, &value, sizeof(value));
}

void stream_builder_be16(StreamBuilder *builder, uint16_t value)
{
    uint8_t bytes[sizeof(value)];

    store_be16(bytes, value);
    g_byte_array_append(builder->bytes, bytes, sizeof(bytes));
}

void stream_builder_be32(StreamBuilder *builder, uint32_t value)
{
    uint8_t bytes[sizeof(value)];

    store_be32(bytes, value);
    g_byte_array_append(builder->bytes, bytes, sizeof(bytes));
}

void stream_builder_be64(StreamBuilder *builder, uint64_t value)
{
    uint8_t bytes[sizeof(value)];

    store_be64(bytes, value);
    g_byte_array_append(builder->bytes, bytes, sizeof(bytes));
}

void stream_builder_text(StreamBuilder *builder, const char *text)
{
    g_byte_array_append(builder->bytes, (const uint8_t *)text, strlen(text));
}

void stream_builder_name(StreamBuilder *builder, const char *name)
{
    stream_builder_u8(builder, strlen(name));
    stream_builder_text(builder, name);
}

void stream_builder_fill(StreamBuilder *builder, uint8_t value, size_t bytes)
{
    guint old = builder->bytes->len;

    g_byte_array_set_size(builder->bytes, old + bytes);
    memset(builder->bytes->data + old, value, bytes);
}

void stream_builder_header(StreamBuilder *builder)
{
    stream_builder_text(builder, "QEVM");
    stream_builder_be32(builder, 3);
}

void stream_builder_configuration(StreamBuilder *builder, const char *machine)
{
    stream_builder_u8(builder, 0x07);
    stream_builder_be32(builder, strlen(machine));
    stream_builder_text(builder, machine);
}

void stream_builder_subsection(StreamBuilder *builder, const char *name)
{
    stream_builder_u8(builder, 0x05);
    stream_builder_name(builder, name);
    stream_builder_be32(builder, 1);
}

void stream_builder_capability(StreamBuilder *builder, const char *name)
{
    stream_builder_subsection(builder, "configuration/capabilities");
    stream_builder_be32(builder, 1);
    stream_builder_name(builder, name);
}

void stream_builder_command(StreamBuilder *builder, uint16_t command,
                            uint16_t bytes)
{
    stream_builder_u8(builder, 0x08);
    stream_builder_be16(builder, command);
    stream_builder_be16(builder, bytes);
    stream_builder_fill(builder, 0, bytes);
}

static void section_header(StreamBuilder *builder, uint8_t type, uint32_t id,
                           const char *name, uint32_t instance,
                           uint32_t version)
{
    stream_builder_u8(builder, type);
    stream_builder_be32(builder, id);
    stream_builder_name(builder, name);
    stream_builder_be32(builder, instance);
    stream_builder_be32(builder, version);
}

void stream_builder_start(StreamBuilder *builder, uint32_t id, const char *name,
                          uint32_t version)
{
    section_header(builder, 0x01, id, name, 0, version);
}

void stream_builder_part(StreamBuilder *builder, uint32_t id)
{
    stream_builder_u8(builder, 0x02);
    stream_builder_be32(builder, id);
}

void stream_builder_end(StreamBuilder *builder, uint32_t id)
{
    stream_builder_u8(builder, 0x03);
    stream_builder_be32(builder, id);
}

void stream_builder_footer(StreamBuilder *builder, uint32_t id)
{
    stream_builder_u8(builder, 0x7e);
    stream_builder_be32(builder, id);
}

static void describe_device(StreamBuilder *builder, const char *name,
                            uint32_t instance)
{
    g_string_append_printf(builder->devices,
                           "%s{\"name\": \"%s\", \"instance_id\": %u, "
                           "\"fields\": [{\"size\": 1}]}",
                           builder->devices->len > 0 ? ", " : "", name,
                           instance);
}

void stream_builder_full(StreamBuilder *builder, uint32_t id, const char *name,
                         uint32_t instance)
{
    section_header(builder, 0x04, id, name, instance, 2);
    describe_device(builder, name, instance);
}

void stream_builder_bogus_full(StreamBuilder *builder, uint32_t id,
                               const char *name)
{
    section_header(builder, 0x04, id, name, 0, 1);
}

void stream_builder_device(StreamBuilder *builder, uint32_t id,
                           const char *name, size_t bytes)
{
    stream_builder_full(builder, id, name, 0);
    stream_builder_fill(builder, 0, bytes);
    stream_builder_footer(builder, id);
}

void stream_builder_timer(StreamBuilder *builder, uint32_t id, int64_t clock)
{
    stream_builder_full(builder, id, "timer", 0);
    stream_builder_be64(builder, 12345);
    stream_builder_be64(builder, 0);
    stream_builder_be64(builder, clock);
    stream_builder_footer(builder, id);
}

void stream_builder_ram_start(StreamBuilder *builder, uint64_t total)
{
    stream_builder_start(builder, STREAM_BUILDER_RAM_ID, "ram", 4);
    stream_builder_be64(builder, total | 0x4);
}

void stream_builder_block(StreamBuilder *builder, const char *name,
                          uint64_t bytes)
{
    stream_builder_name(builder, name);
    stream_builder_be64(builder, bytes);
}

void stream_builder_record(StreamBuilder *builder, uint64_t word,
                           const char *block)
{
    stream_builder_be64(builder, word | (block == NULL ? 0x20 : 0));
    if (block != NULL) {
        stream_builder_name(builder, block);
    }
}

void stream_builder_page(StreamBuilder *builder, const char *block,
                         uint64_t offset, uint8_t fill, size_t page_size)
{
    stream_builder_record(builder, offset | 0x8, block);
    stream_builder_fill(builder, fill, page_size);
}

void stream_builder_zero(StreamBuilder *builder, const char *block,
                         uint64_t offset)
{
    stream_builder_record(builder, offset | 0x2, block);
    stream_builder_u8(builder, 0);
}

static GByteArray *mapped_bitmap(uint32_t pages, const uint8_t *stored)
{
    GByteArray *bitmap = g_byte_array_new();

    g_byte_array_set_size(bitmap, (pages + 63) / 64 * 8);
    for (guint i = 0; i < bitmap->len; i += 8) {
        uint64_t word = 0;

        for (guint bit = 0; bit < 64 && i * 8 + bit < pages; bit++) {
            word |= (uint64_t)(stored[i * 8 + bit] != 0) << bit;
        }
        memcpy(bitmap->data + i, &word, sizeof(word));
    }
    return bitmap;
}

void stream_builder_mapped_block(StreamBuilder *builder, const char *name,
                                 uint32_t page_size, uint32_t pages,
                                 const uint8_t *stored, const uint8_t *content,
                                 size_t alignment)
{
    g_autoptr(GByteArray) bitmap = mapped_bitmap(pages, stored);
    size_t start;
    size_t pages_offset;

    stream_builder_block(builder, name, (uint64_t)pages * page_size);
    start = builder->bytes->len + 28;
    pages_offset = (start + bitmap->len + alignment - 1) / alignment *
                   alignment;
    stream_builder_be32(builder, 1);
    stream_builder_be64(builder, page_size);
    stream_builder_be64(builder, start);
    stream_builder_be64(builder, pages_offset);
    g_byte_array_append(builder->bytes, bitmap->data, bitmap->len);
    stream_builder_fill(builder, 0, pages_offset - start - bitmap->len);
    for (uint32_t page = 0; page < pages; page++) {
        if (stored[page] && content) {
            g_byte_array_append(builder->bytes,
                                content + (size_t)page * page_size, page_size);
        } else {
            stream_builder_fill(builder, 0xcd, page_size);
        }
    }
}

void stream_builder_ram_stop(StreamBuilder *builder)
{
    stream_builder_be64(builder, 0x10);
    stream_builder_footer(builder, STREAM_BUILDER_RAM_ID);
}

void stream_builder_eof(StreamBuilder *builder)
{
    stream_builder_u8(builder, 0x00);
}

void stream_builder_description_text(StreamBuilder *builder, const char *text)
{
    stream_builder_u8(builder, 0x06);
    stream_builder_be32(builder, strlen(text));
    stream_builder_text(builder, text);
}

void stream_builder_description(StreamBuilder *builder)
{
    g_autofree char *text =
        g_strdup_printf("{\"page_size\": %d, \"devices\": [%s]}",
                        STREAM_BUILDER_PAGE, builder->devices->str);

    stream_builder_description_text(builder, text);
}

void stream_builder_end_stream(StreamBuilder *builder)
{
    stream_builder_eof(builder);
    stream_builder_description(builder);
}

void stream_builder_bogus_header(StreamBuilder *builder, uint32_t id)
{
    stream_builder_footer(builder, id);
    stream_builder_bogus_full(builder, 99, "bogus");
    stream_builder_fill(builder, 0x44, 50);
}

void stream_builder_begin_ram(StreamBuilder *builder)
{
    stream_builder_header(builder);
    stream_builder_configuration(builder, "pc-i440fx-7.2");
    stream_builder_ram_start(builder, 16 * STREAM_BUILDER_PAGE);
    stream_builder_block(builder, "pc.ram", 16 * STREAM_BUILDER_PAGE);
    stream_builder_ram_stop(builder);
}

void stream_builder_all_ram(StreamBuilder *builder)
{
    stream_builder_begin_ram(builder);
    stream_builder_part(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_page(builder, "pc.ram", 0, 0xaa, STREAM_BUILDER_PAGE);
    stream_builder_zero(builder, NULL, STREAM_BUILDER_PAGE);
    stream_builder_ram_stop(builder);
    stream_builder_end(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_page(builder, NULL, 2 * STREAM_BUILDER_PAGE, 0xbb,
                        STREAM_BUILDER_PAGE);
    stream_builder_ram_stop(builder);
}

StreamBuilder *stream_builder_ordinary(void)
{
    StreamBuilder *builder = stream_builder_new();

    stream_builder_all_ram(builder);
    stream_builder_timer(builder, 0, 987654321);
    stream_builder_full(builder, 5, "cpu", 0);
    stream_builder_fill(builder, 0x5a, 40);
    stream_builder_footer(builder, 5);
    stream_builder_device(builder, 6, "0000:00:02.0/vga", 30);
    stream_builder_eof(builder);
    stream_builder_description(builder);
    return builder;
}

static void append_blocks(GString *text, const MigrationInfo *info)
{
    for (guint i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = g_ptr_array_index(info->blocks, i);

        g_string_append_printf(text, " %s:%" G_GUINT64_FORMAT, block->name,
                               block->bytes);
    }
}

/* All that is known of a complete stream besides pages. */
static void append_sections(GString *text, const MigrationInfo *info)
{
    for (guint i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        g_string_append_printf(
            text,
            " %s/%u v%u %d %d %" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT
            " (%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT ")",
            section->name, section->instance, section->version, section->device,
            section->delimited, section->offset, section->bytes,
            section->payload_offset, section->payload_bytes);
    }
    g_string_append_printf(
        text,
        " framing %" G_GUINT64_FORMAT " undelimited %" G_GUINT64_FORMAT
        " description %" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT,
        info->framing_bytes, info->undelimited_bytes, info->description_offset,
        info->description_bytes);
}

static void append_run(GString *text, const PageRun *run)
{
    g_string_append_printf(
        text, " %u+%u kind %u fill %u at %" G_GUINT64_FORMAT " of %u",
        run->first, run->count, run->kind, run->fill, run->offset, run->bytes);
}

/* Where all pages are. */
static void append_pages(GString *text, PageMap *pages,
                         const MigrationInfo *info)
{
    if (!page_map_finish(pages, info->page_size)) {
        g_string_append(text, " unknown");
        return;
    }
    for (guint i = 0; i < info->blocks->len; i++) {
        const GArray *runs = page_map_runs(pages, info->blocks->pdata[i]);

        for (guint j = 0; runs && j < runs->len; j++) {
            append_run(text, &g_array_index(runs, PageRun, j));
        }
        g_string_append_c(text, ';');
    }
}

/* Every byte of a complete stream belongs to one thing. */
static void expect_accounted(const MigrationInfo *info)
{
    uint64_t sum = info->framing_bytes + info->undelimited_bytes +
                   info->description_bytes;
    uint64_t behind = 0;

    for (guint i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        sum += section->bytes;
        if (section->bytes == 0) {
            ck_assert(!section->delimited);
            ck_assert_uint_gt(info->undelimited_bytes, 0);
        } else {
            ck_assert_uint_gt(section->offset, behind);
            behind = section->offset;
        }
    }
    ck_assert_uint_eq(sum, info->stream_bytes);
    if (info->description_bytes > 0) {
        ck_assert_uint_eq(info->description_offset + info->description_bytes,
                          info->stream_bytes);
    }
}

char *stream_builder_outcome(const uint8_t *data, size_t bytes, size_t piece)
{
    g_autoptr(MigrationReader) reader = migration_reader_new();
    g_autoptr(PageMap) pages = page_map_new();
    const MigrationInfo *info = migration_reader_info(reader);
    g_autoptr(GError) error = NULL;
    GString *text = g_string_new("");
    size_t done = 0;

    migration_reader_tell_pages(reader, page_map_add, pages);
    while (done < bytes) {
        size_t passed = migration_reader_passable(reader);
        size_t now;

        /* With some sizes, what need not be seen is not. */
        passed = piece > 0 && piece % 2 == 0 ? MIN(passed, bytes - done) : 0;
        migration_reader_pass(reader, passed);
        done += passed;
        now = piece == 0 ? bytes : MIN(piece, bytes - done);
        if (!migration_reader_feed(reader, data + done, now, &error)) {
            break;
        }
        done += now;
    }
    if (error == NULL) {
        migration_reader_finish(reader, &error);
    }
    /* Of a stream that fails, more or less has been understood by then. */
    g_string_append_printf(
        text,
        "phase %u machine %s page %u return %d clock %d %" G_GINT64_FORMAT
        " data %" G_GUINT64_FORMAT " zero %" G_GUINT64_FORMAT
        " devices %u bytes %" G_GUINT64_FORMAT " error %d %s blocks",
        migration_reader_phase(reader), info->machine ? info->machine : "-",
        info->page_size, info->return_path, info->vm_clock_known && !error,
        error ? 0 : info->vm_clock_ns, info->data_pages, info->zero_pages,
        info->devices, info->stream_bytes, error ? error->code : -1,
        error ? error->message : "none");
    append_blocks(text, info);
    if (error == NULL) {
        expect_accounted(info);
        g_string_append(text, " sections");
        append_sections(text, info);
    }
    g_string_append(text, " pages");
    append_pages(text, pages, info);
    return g_string_free(text, FALSE);
}

/* Byte by byte takes too long for these, and shows nothing more. */
#define MAX_BYTES_ONE_BY_ONE (1024 * 1024)

MigrationReader *stream_builder_read(const StreamBuilder *builder,
                                     GError **error)
{
    static const size_t pieces[] = { 1, 7, 4099, 65536 };
    const GByteArray *bytes = builder->bytes;
    MigrationReader *reader = migration_reader_new();
    g_autofree char *whole = stream_builder_outcome(bytes->data, bytes->len, 0);

    for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
        g_autofree char *cut = NULL;

        if (pieces[i] < 100 && bytes->len > MAX_BYTES_ONE_BY_ONE) {
            continue;
        }
        cut = stream_builder_outcome(bytes->data, bytes->len, pieces[i]);
        ck_assert_str_eq(cut, whole);
    }
    if (migration_reader_feed(reader, bytes->data, bytes->len, error)) {
        migration_reader_finish(reader, error);
    }
    return reader;
}

/*
 * A section begins with its header. A delimited device ends with a footer of
 * the same id.
 */
static void expect_section(const GByteArray *bytes,
                           const MigrationSection *section)
{
    const uint8_t *header = bytes->data + section->offset;
    const size_t name = strlen(section->name);
    const uint8_t *version = header + 6 + name + 4;
    const uint8_t *footer;

    if (section->bytes == 0) {
        return;
    }
    ck_assert_uint_le(section->offset + section->bytes, bytes->len);
    ck_assert_uint_eq(header[0], section->device ? 0x04 : 0x01);
    ck_assert_uint_eq(header[5], name);
    ck_assert_mem_eq(header + 6, section->name, name);
    ck_assert_uint_eq(load_be32(version - 4), section->instance);
    ck_assert_uint_eq(load_be32(version), section->version);
    if (!section->device) {
        return;
    }
    ck_assert_ptr_eq(bytes->data + section->payload_offset, version + 4);
    footer = version + 4 + section->payload_bytes;
    if (!section->delimited) {
        ck_assert_ptr_eq(footer, header + section->bytes);
        return;
    }
    ck_assert_ptr_eq(footer + 5, header + section->bytes);
    ck_assert_uint_eq(footer[0], 0x7e);
    ck_assert_mem_eq(footer + 1, header + 1, 4);
}

MigrationReader *stream_builder_expect_complete(const StreamBuilder *builder)
{
    g_autoptr(GError) error = NULL;
    MigrationReader *reader = stream_builder_read(builder, &error);
    const MigrationInfo *info = migration_reader_info(reader);

    ck_assert_msg(error == NULL, "%s", error ? error->message : "");
    ck_assert_int_eq(migration_reader_phase(reader), MIGRATION_PHASE_COMPLETE);
    for (guint i = 0; i < info->sections->len; i++) {
        expect_section(builder->bytes, info->sections->pdata[i]);
    }
    return reader;
}

void stream_builder_expect_devices(const StreamBuilder *builder,
                                   unsigned devices)
{
    g_autoptr(MigrationReader) reader = stream_builder_expect_complete(builder);

    ck_assert_uint_eq(migration_reader_info(reader)->devices, devices);
    ck_assert_uint_le(migration_reader_info(reader)->stream_bytes,
                      builder->bytes->len);
}

void stream_builder_expect_error(const StreamBuilder *builder, SnapError code,
                                 const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MigrationReader) reader = stream_builder_read(builder, &error);

    ck_assert_ptr_nonnull(error);
    ck_assert_msg(strstr(error->message, part) != NULL, "'%s' is not in '%s'",
                  part, error->message);
    ck_assert_msg(g_error_matches(error, SNAP_ERROR, code), "code %d: %s",
                  error->code, error->message);
    ck_assert_int_ne(migration_reader_phase(reader), MIGRATION_PHASE_COMPLETE);
}
