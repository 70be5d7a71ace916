/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See ram-model.h.
 */
#include <check.h>
#include <string.h>
#include <zlib.h>

#include "ram-model.h"

static const char *const names[RAM_MODEL_BLOCKS] = { "pc.ram", "b" };

/* All but the list of blocks. */
static RamModel *model_new(uint32_t page_size, uint32_t pages, uint32_t seed)
{
    RamModel *model = g_new0(RamModel, 1);
    uint64_t bytes = (uint64_t)pages * page_size;

    model->page_size = page_size;
    model->pages = pages;
    model->random = g_rand_new_with_seed(seed);
    model->current = -1;
    model->builder = stream_builder_new();
    stream_builder_header(model->builder);
    stream_builder_configuration(model->builder, "pc-i440fx-7.2");
    stream_builder_subsection(model->builder, "configuration/target-page-bits");
    stream_builder_be32(model->builder, __builtin_ctz(page_size));
    for (unsigned i = 0; i < RAM_MODEL_BLOCKS; i++) {
        model->ram[i] = g_malloc0(bytes);
        model->present[i] = g_malloc0(pages);
        model->zero[i] = g_malloc0(pages);
    }
    return model;
}

RamModel *ram_model_new(uint32_t page_size, uint32_t pages, uint32_t seed)
{
    RamModel *model = model_new(page_size, pages, seed);
    uint64_t bytes = (uint64_t)pages * page_size;

    stream_builder_ram_start(model->builder, RAM_MODEL_BLOCKS * bytes);
    for (unsigned i = 0; i < RAM_MODEL_BLOCKS; i++) {
        stream_builder_block(model->builder, names[i], bytes);
    }
    stream_builder_ram_stop(model->builder);
    stream_builder_part(model->builder, STREAM_BUILDER_RAM_ID);
    return model;
}

void ram_model_free(RamModel *model)
{
    if (!model) {
        return;
    }
    for (unsigned i = 0; i < RAM_MODEL_BLOCKS; i++) {
        g_free(model->ram[i]);
        g_free(model->present[i]);
        g_free(model->zero[i]);
    }
    g_rand_free(model->random);
    stream_builder_free(model->builder);
    stream_index_free(model->index);
    block_file_close(model->file);
    g_free(model);
}

/* Half of it random, so that it can be packed. */
static void draw_page(RamModel *model, uint8_t *page)
{
    uint8_t fill = g_rand_int(model->random);

    memset(page, fill, model->page_size);
    for (uint32_t at = 0; at < model->page_size / 2; at += 4) {
        uint32_t word = g_rand_int(model->random);

        memcpy(page + at, &word, sizeof(word));
    }
}

RamModel *ram_model_new_mapped(uint32_t page_size, uint32_t pages,
                               uint32_t seed)
{
    RamModel *model = model_new(page_size, pages, seed);
    /* Runs of any length, more or less. */
    int often = g_rand_int_range(model->random, 1, 40);

    stream_builder_capability(model->builder, "mapped-ram");
    stream_builder_ram_start(model->builder,
                             (uint64_t)RAM_MODEL_BLOCKS * pages * page_size);
    for (unsigned i = 0; i < RAM_MODEL_BLOCKS; i++) {
        g_autofree uint8_t *stored = g_malloc(pages);
        bool now = false;

        for (uint32_t page = 0; page < pages; page++) {
            now ^= g_rand_int_range(model->random, 0, often) == 0;
            stored[page] = now;
            model->present[i][page] = 1;
            model->zero[i][page] = !now;
            if (now) {
                draw_page(model, model->ram[i] + (size_t)page * page_size);
            }
        }
        stream_builder_mapped_block(model->builder, names[i], page_size, pages,
                                    stored, model->ram[i], RAM_MODEL_ALIGNMENT);
    }
    stream_builder_ram_stop(model->builder);
    stream_builder_part(model->builder, STREAM_BUILDER_RAM_ID);
    return model;
}

static void add_length(GByteArray *packed, unsigned length)
{
    uint8_t bytes[] = { (length & 0x7f) | (length > 0x7f ? 0x80 : 0),
                        length >> 7 };

    g_byte_array_append(packed, bytes, length > 0x7f ? 2 : 1);
}

/* Change some pieces of @page. */
static void change_page(RamModel *model, uint8_t *page)
{
    unsigned pieces = g_rand_int_range(model->random, 0, 4);
    uint32_t at = 0;

    for (; pieces > 0; pieces--) {
        uint32_t end;

        at += g_rand_int_range(model->random, 0, 200);
        end = at + g_rand_int_range(model->random, 1, 140);
        while (at < end) {
            page[at++] = g_rand_int(model->random);
        }
    }
}

static void add_xbzrle(RamModel *model, uint8_t *page)
{
    g_autofree uint8_t *old = g_memdup2(page, model->page_size);
    g_autoptr(GByteArray) packed = g_byte_array_new();
    uint32_t at = 0;

    change_page(model, page);
    while (at < model->page_size) {
        uint32_t start = at;
        uint32_t kept;

        while (at < model->page_size && page[at] == old[at]) {
            at++;
        }
        kept = at - start;
        start = at;
        while (at < model->page_size && page[at] != old[at]) {
            at++;
        }
        if (at > start) {
            add_length(packed, kept);
            add_length(packed, at - start);
            g_byte_array_append(packed, page + start, at - start);
        }
    }
    stream_builder_u8(model->builder, 1);
    stream_builder_be16(model->builder, packed->len);
    g_byte_array_append(model->builder->bytes, packed->data, packed->len);
}

static void add_deflated(RamModel *model, const uint8_t *page)
{
    uLongf bytes = compressBound(model->page_size);
    g_autofree uint8_t *packed = g_malloc(bytes);

    ck_assert_int_eq(compress2(packed, &bytes, page, model->page_size, 1),
                     Z_OK);
    stream_builder_be32(model->builder, bytes);
    g_byte_array_append(model->builder->bytes, packed, bytes);
}

void ram_model_add(RamModel *model, MigrationPageKind kind, unsigned block,
                   uint32_t page)
{
    static const unsigned flags[] = {
        [MIGRATION_PAGE_DATA] = 0x8,
        [MIGRATION_PAGE_FILL] = 0x2,
        [MIGRATION_PAGE_XBZRLE] = 0x40,
        [MIGRATION_PAGE_DEFLATED] = 0x100,
    };
    uint64_t offset = (uint64_t)page * model->page_size;
    uint8_t *content = model->ram[block] + offset;
    bool zero = kind == MIGRATION_PAGE_FILL && g_rand_boolean(model->random);

    ck_assert_uint_ne(kind, MIGRATION_PAGE_MAPPED);
    stream_builder_record(model->builder, offset | flags[kind],
                          model->current == (int)block ? NULL : names[block]);
    model->current = block;
    model->present[block][page] = 1;
    model->zero[block][page] = zero;
    switch (kind) {
    case MIGRATION_PAGE_FILL:
        memset(content, zero ? 0 : 0x5a, model->page_size);
        stream_builder_u8(model->builder, content[0]);
        break;
    case MIGRATION_PAGE_DATA:
        draw_page(model, content);
        g_byte_array_append(model->builder->bytes, content, model->page_size);
        break;
    case MIGRATION_PAGE_DEFLATED:
        draw_page(model, content);
        add_deflated(model, content);
        break;
    case MIGRATION_PAGE_XBZRLE:
        add_xbzrle(model, content);
        break;
    case MIGRATION_PAGE_MAPPED:
        break;
    }
}

void ram_model_add_any(RamModel *model, unsigned count, bool xbzrle)
{
    while (count > 0) {
        unsigned block = g_rand_int_range(model->random, 0, RAM_MODEL_BLOCKS);
        uint32_t page = g_rand_int_range(model->random, 0, model->pages);
        unsigned kind = g_rand_int_range(model->random, 0, 6);
        uint32_t length = g_rand_int_range(model->random, 1, 12);

        if (kind > MIGRATION_PAGE_DEFLATED ||
            (kind == MIGRATION_PAGE_XBZRLE && !xbzrle)) {
            kind = MIGRATION_PAGE_DATA;
        }
        for (; length > 0 && count > 0 && page < model->pages; page++) {
            ram_model_add(model, kind, block, page);
            length--;
            count--;
        }
    }
}

/* Is what is there part of a page that is not stored? */
static bool is_hole(const RamModel *model, uint64_t position)
{
    const GPtrArray *blocks = stream_index_info(model->index)->blocks;

    for (guint i = 0; i < blocks->len; i++) {
        uint64_t offset = position - model->mapped_pages[i];
        uint32_t page = offset / model->page_size;

        if (position >= model->mapped_pages[i] && page < model->pages &&
            model->zero[i][page]) {
            return true;
        }
    }
    return false;
}

static bool coroutine_fn fetch(void *opaque, uint64_t position, uint8_t *data,
                               size_t bytes, GError **errp)
{
    const RamModel *model = opaque;
    int ret;

    for (uint64_t at = position; model->holes && at < position + bytes;
         at += 512) {
        if (is_hole(model, at)) {
            g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED, "a hole");
            return false;
        }
    }

    ck_assert_uint_le(position + bytes, model->source.bytes);
    ret = block_file_pread(model->file, position, data, bytes);
    if (ret < 0) {
        snap_error_set_errno(errp, ret, "no fetching");
    }
    return ret == 0;
}

void ram_model_end(RamModel *model)
{
    StreamBuilder *builder = model->builder;
    g_autoptr(MigrationReader) reader = migration_reader_new();
    PageMap *pages = page_map_new();
    GError *error = NULL;

    stream_builder_ram_stop(builder);
    stream_builder_end(builder, STREAM_BUILDER_RAM_ID);
    stream_builder_ram_stop(builder);
    stream_builder_end_stream(builder);
    migration_reader_tell_pages(reader, page_map_add, pages);
    migration_reader_feed(reader, builder->bytes->data, builder->bytes->len,
                          &error);
    ck_assert_msg(error == NULL, "%s", error ? error->message : "");
    ck_assert(migration_reader_finish(reader, &error));
    for (unsigned i = 0; i < RAM_MODEL_BLOCKS; i++) {
        const MigrationBlock *block =
            migration_reader_info(reader)->blocks->pdata[i];

        model->mapped_pages[i] = block->pages_offset;
    }
    model->index = stream_index_new(reader, pages);
    model->file =
        memory_file_new_from(builder->bytes->data, builder->bytes->len);
    model->source = (SnapSource){
        .fetch = fetch,
        .bytes = builder->bytes->len,
        .opaque = model,
    };
}

const MigrationBlock *ram_model_block(const RamModel *model, unsigned block)
{
    return stream_index_info(model->index)->blocks->pdata[block];
}
