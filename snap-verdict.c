/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What verify has found, told so that one knows what is lost: which MiB, and
 * which pages of which RAM block and which devices have bytes there.
 */
#include <inttypes.h>
#include <stdio.h>

#include "checked.h"
#include "printable.h"
#include "size.h"
#include "snap-json.h"
#include "snap-verify.h"

/* Of so many places it is told what they belong to. */
#define MAX_EXPLAINED 1000

static const char *const kinds[] = {
    [SNAP_DAMAGE_UNREADABLE] = "unreadable",
    [SNAP_DAMAGE_CHECKSUM] = "checksum",
    [SNAP_DAMAGE_STRUCTURE] = "structure",
    [SNAP_DAMAGE_INDEX] = "index",
    [SNAP_DAMAGE_TRAILER] = "trailer",
};

/* What is wrong, as the rest of a line. */
static const char *const words[] = {
    [SNAP_DAMAGE_UNREADABLE] = "cannot be read",
    [SNAP_DAMAGE_CHECKSUM] = "is not what was saved",
    [SNAP_DAMAGE_STRUCTURE] = "the stream is not complete",
    [SNAP_DAMAGE_INDEX] = "the index is of another stream",
    [SNAP_DAMAGE_TRAILER] = "the trailer is damaged, not the stream",
};

/* Pages of a block that have bytes in a piece of the stream; none: count 0. */
typedef struct Pages {
    uint64_t first;
    uint64_t last;
    uint64_t count;
} Pages;

const char *snap_verdict_name(const SnapVerdict *verdict)
{
    return verdict->damage->len ? "damaged"
           : verdict->compared  ? "intact"
                                : "complete";
}

/* Add the pages of @run whose records overlap the damage. */
static void add_run(Pages *pages, const PageRun *run, const SnapDamage *damage)
{
    uint64_t stride = page_run_stride(run);
    uint64_t end = damage->offset + damage->bytes;
    uint64_t run_end = run->offset + (run->count - 1) * stride + run->bytes;
    uint64_t first = 0;
    uint64_t last = run->count - 1;

    if (run->kind == MIGRATION_PAGE_FILL || run->offset >= end ||
        run_end <= damage->offset) {
        return;
    }
    if (damage->offset > run->offset) {
        first = (damage->offset - run->offset) / stride;
    }
    if (end < run_end) {
        last = (end - 1 - run->offset) / stride;
    }
    pages->first = pages->count ? MIN(pages->first, run->first + first)
                                : run->first + first;
    pages->last = MAX(pages->last, run->first + last);
    pages->count += last - first + 1;
}

static Pages find_pages(const SnapVerdict *verdict, const MigrationBlock *block,
                        const SnapDamage *damage)
{
    const PageMap *map = stream_index_pages(verdict->state->index);
    const GArray *runs = map ? page_map_runs(map, block) : NULL;
    Pages pages = { 0 };
    guint i;

    for (i = 0; runs && i < runs->len; i++) {
        add_run(&pages, &g_array_index(runs, PageRun, i), damage);
    }
    return pages;
}

static bool has_bytes(const MigrationSection *section, const SnapDamage *damage)
{
    return section->device && section->delimited &&
           section->offset < damage->offset + damage->bytes &&
           damage->offset < section->offset + section->bytes;
}

/* Can it be told what the damage is part of? */
static bool is_explained(const SnapVerdict *verdict, guint number)
{
    const SnapDamage *damage = verdict->damage->pdata[number];

    return verdict->state->index && damage->bytes && number < MAX_EXPLAINED;
}

static void print_parts(const SnapVerdict *verdict, const SnapDamage *damage)
{
    const MigrationInfo *info = stream_index_info(verdict->state->index);
    guint i;

    for (i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = info->blocks->pdata[i];
        Pages pages = find_pages(verdict, block, damage);
        g_autofree char *name = printable(block->name);

        if (pages.count) {
            printf("        %s: %" PRIu64 " pages from 0x%" PRIx64
                   " to 0x%" PRIx64 "\n",
                   name, pages.count, pages.first * info->page_size,
                   pages.last * info->page_size);
        }
    }
    for (i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];
        g_autofree char *name = printable(section->name);

        if (has_bytes(section, damage)) {
            printf("        device %s (%" PRIu32 ")\n", name,
                   section->instance);
        }
    }
}

static void print_damage(const SnapVerdict *verdict, guint number)
{
    const SnapDamage *damage = verdict->damage->pdata[number];

    if (damage->bytes) {
        uint64_t last = damage->offset + damage->bytes - 1;

        printf("    MiB %" PRIu64, damage->offset >> 20);
        if (damage->offset >> 20 != last >> 20) {
            printf(" to %" PRIu64, last >> 20);
        }
        printf(" (bytes %" PRIu64 " to %" PRIu64 ") ", damage->offset, last);
    } else {
        printf("    ");
    }
    printf("%s", words[damage->kind]);
    if (damage->text) {
        g_autofree char *text = printable(damage->text);

        printf(": %s", text);
    }
    printf("\n");
    if (is_explained(verdict, number)) {
        print_parts(verdict, damage);
    }
}

void snap_verdict_print(const SnapVerdict *verdict)
{
    const Qcow2Snapshot *snapshot = verdict->snapshot;
    g_autofree char *id = printable(snapshot->id);
    g_autofree char *name = printable(snapshot->name);
    g_autofree char *size = size_format(verdict->state->stream_bytes);
    guint i;

    printf("snapshot: %s (ID %s): %s, %s%s\n", name, id, size,
           snap_verdict_name(verdict),
           verdict->compared ? "" : "; there are no checksums to compare with");
    for (i = 0; i < verdict->damage->len; i++) {
        print_damage(verdict, i);
    }
}

static void add_pages(JsonBuilder *json, const MigrationBlock *block,
                      const Pages *pages, uint32_t page_size)
{
    json_builder_begin_object(json);
    snap_json_string(json, "name", block->name);
    snap_json_number(json, "pages", pages->count);
    snap_json_number(json, "first", pages->first * page_size);
    snap_json_number(json, "last", pages->last * page_size);
    json_builder_end_object(json);
}

static void add_parts(JsonBuilder *json, const SnapVerdict *verdict,
                      const SnapDamage *damage)
{
    const MigrationInfo *info = stream_index_info(verdict->state->index);
    guint i;

    json_builder_set_member_name(json, "ram-blocks");
    json_builder_begin_array(json);
    for (i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = info->blocks->pdata[i];
        Pages pages = find_pages(verdict, block, damage);

        if (pages.count) {
            add_pages(json, block, &pages, info->page_size);
        }
    }
    json_builder_end_array(json);
    json_builder_set_member_name(json, "devices");
    json_builder_begin_array(json);
    for (i = 0; i < info->sections->len; i++) {
        const MigrationSection *section = info->sections->pdata[i];

        if (has_bytes(section, damage)) {
            json_builder_begin_object(json);
            snap_json_string(json, "name", section->name);
            snap_json_number(json, "instance", section->instance);
            json_builder_end_object(json);
        }
    }
    json_builder_end_array(json);
}

static void add_damage(JsonBuilder *json, const SnapVerdict *verdict,
                       guint number)
{
    const SnapDamage *damage = verdict->damage->pdata[number];

    json_builder_begin_object(json);
    snap_json_string(json, "kind", kinds[damage->kind]);
    if (damage->bytes) {
        snap_json_number(json, "offset", damage->offset);
        snap_json_number(json, "bytes", damage->bytes);
    }
    if (damage->text) {
        snap_json_string(json, "desc", damage->text);
    }
    if (is_explained(verdict, number)) {
        add_parts(json, verdict, damage);
    }
    json_builder_end_object(json);
}

void snap_verdict_add(const SnapVerdict *verdict, JsonBuilder *json)
{
    guint i;

    json_builder_begin_object(json);
    snap_json_string(json, "id", verdict->snapshot->id);
    snap_json_string(json, "name", verdict->snapshot->name);
    snap_json_number(json, "stream-size", verdict->state->stream_bytes);
    snap_json_string(json, "result", snap_verdict_name(verdict));
    json_builder_set_member_name(json, "damage");
    json_builder_begin_array(json);
    for (i = 0; i < verdict->damage->len; i++) {
        add_damage(json, verdict, i);
    }
    json_builder_end_array(json);
    json_builder_end_object(json);
}
