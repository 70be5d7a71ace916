/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What list and inspect print. Tables and JSON members are those of qemu-img
 * 7.2, so that eyes and scripts find what they know.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <json-glib/json-glib.h>

#include "checked.h"
#include "printable.h"
#include "size.h"
#include "snap-internal.h"

static void print_snapshot(const Qcow2Snapshot *snapshot)
{
    g_autofree char *id = printable(snapshot->id);
    g_autofree char *name = printable(snapshot->name);
    g_autofree char *size = size_format(snapshot->vm_state_size);
    uint64_t clock_msec = snapshot->vm_clock_nsec / 1000000;
    time_t date_sec = snapshot->date_sec;
    char date[32] = "";
    char clock[40];
    char icount[24] = "";
    struct tm tm;

    if (localtime_r(&date_sec, &tm)) {
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    }
    g_snprintf(clock, sizeof(clock),
               "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64,
               clock_msec / 3600000, clock_msec / 60000 % 60,
               clock_msec / 1000 % 60, clock_msec % 1000);
    if (snapshot->icount != QCOW2_NO_ICOUNT) {
        g_snprintf(icount, sizeof(icount), "%" PRIu64, snapshot->icount);
    }
    printf("%-9s %-16s %8s%20s%13s%11s\n", id, name, size, date, clock, icount);
}

void snap_print_snapshots(const GPtrArray *snapshots)
{
    guint i;

    if (snapshots->len == 0) {
        return;
    }
    printf("Snapshot list:\n");
    printf("%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
           "VM CLOCK", "ICOUNT");
    for (i = 0; i < snapshots->len; i++) {
        print_snapshot(g_ptr_array_index(snapshots, i));
    }
}

/* JSON is UTF-8; names in images need not be. */
static void add_string(JsonBuilder *json, const char *member, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    json_builder_set_member_name(json, member);
    json_builder_add_string_value(json, valid);
}

static void add_number(JsonBuilder *json, const char *member, int64_t number)
{
    json_builder_set_member_name(json, member);
    json_builder_add_int_value(json, number);
}

static void add_boolean(JsonBuilder *json, const char *member, bool value)
{
    json_builder_set_member_name(json, member);
    json_builder_add_boolean_value(json, value);
}

static void add_snapshot(JsonBuilder *json, const Qcow2Snapshot *snapshot)
{
    json_builder_begin_object(json);
    add_string(json, "id", snapshot->id);
    add_string(json, "name", snapshot->name);
    add_number(json, "vm-state-size", snapshot->vm_state_size);
    add_number(json, "date-sec", snapshot->date_sec);
    add_number(json, "date-nsec", snapshot->date_nsec);
    add_number(json, "vm-clock-sec", snapshot->vm_clock_nsec / 1000000000);
    add_number(json, "vm-clock-nsec", snapshot->vm_clock_nsec % 1000000000);
    if (snapshot->icount != QCOW2_NO_ICOUNT) {
        add_number(json, "icount", snapshot->icount);
    }
    json_builder_end_object(json);
}

/* Always an array, also of nothing: `jq .snapshots[]' then just works. */
static void add_snapshots(JsonBuilder *json, const GPtrArray *snapshots)
{
    guint i;

    json_builder_set_member_name(json, "snapshots");
    json_builder_begin_array(json);
    for (i = 0; i < snapshots->len; i++) {
        add_snapshot(json, g_ptr_array_index(snapshots, i));
    }
    json_builder_end_array(json);
}

static JsonBuilder *begin_json(void)
{
    JsonBuilder *json = json_builder_new();

    json_builder_begin_object(json);
    return json;
}

static void print_json(JsonBuilder *json)
{
    g_autoptr(JsonGenerator) generator = json_generator_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *text = NULL;
    g_autofree char *safe = NULL;

    json_builder_end_object(json);
    root = json_builder_get_root(json);
    json_generator_set_root(generator, root);
    json_generator_set_pretty(generator, TRUE);
    json_generator_set_indent(generator, 4);
    text = json_generator_to_data(generator, NULL);
    safe = printable_json(text);
    puts(safe);
}

void snap_print_list_json(const SnapOptions *options, const Qcow2Image *image)
{
    g_autoptr(JsonBuilder) json = begin_json();

    add_string(json, "filename", options->image);
    add_string(json, "format", "qcow2");
    add_snapshots(json, qcow2_snapshots(image));
    print_json(json);
}

/* Bytes that the file takes on its disk, or -1. */
static int64_t actual_size(const char *path)
{
    struct stat status;

    return stat(path, &status) < 0 ? -1 : (int64_t)status.st_blocks * 512;
}

static const char *compatibility(const Qcow2Header *header)
{
    return header->version == 2 ? "0.10" : "1.1";
}

static const char *compression(const Qcow2Header *header)
{
    return header->compression_type == 0 ? "zlib" : "zstd";
}

static const char *encryption(const Qcow2Header *header)
{
    return header->crypt_method == 1 ? "aes" : "luks";
}

static bool has_feature(const Qcow2Header *header, uint64_t incompatible)
{
    return header->incompatible_features & incompatible;
}

static const char *yes_or_no(bool value)
{
    return value ? "true" : "false";
}

static void print_format_specific(const Qcow2Header *header)
{
    printf("Format specific information:\n");
    printf("    compat: %s\n", compatibility(header));
    printf("    compression type: %s\n", compression(header));
    if (header->version > 2) {
        printf("    lazy refcounts: %s\n",
               yes_or_no(header->compatible_features &
                         QCOW2_COMPATIBLE_LAZY_REFCOUNTS));
    }
    printf("    refcount bits: %u\n", 1u << header->refcount_order);
    if (header->bitmap_count) {
        printf("    bitmaps: %u\n", header->bitmap_count);
    }
    if (header->crypt_method) {
        printf("    encryption: %s\n", encryption(header));
    }
    if (header->data_file) {
        g_autofree char *name = printable(header->data_file);

        printf("    data file: %s\n", name);
    }
    if (header->version > 2) {
        printf("    corrupt: %s\n",
               yes_or_no(has_feature(header, QCOW2_INCOMPATIBLE_CORRUPT)));
        printf("    extended l2: %s\n",
               yes_or_no(has_feature(header, QCOW2_INCOMPATIBLE_EXTENDED_L2)));
    }
}

void snap_print_image(const SnapOptions *options, const SnapImage *image,
                      const Qcow2StaleVmstate *stale)
{
    const Qcow2Header *header = qcow2_header(image->qcow2);
    uint64_t size = round_down(header->size, 512);
    g_autofree char *virtual_size = size_format(size);
    int64_t actual = actual_size(options->image);

    printf("image: %s\n", options->image);
    printf("file format: qcow2\n");
    printf("virtual size: %s (%" PRIu64 " bytes)\n", virtual_size, size);
    if (actual >= 0) {
        g_autofree char *disk_size = size_format(actual);

        printf("disk size: %s\n", disk_size);
    }
    if (header->crypt_method) {
        printf("encrypted: yes\n");
    }
    printf("cluster_size: %u\n", 1u << header->cluster_bits);
    if (has_feature(header, QCOW2_INCOMPATIBLE_DIRTY)) {
        printf("cleanly shut down: no\n");
    }
    if (header->backing_file) {
        g_autofree char *name = printable(header->backing_file);

        printf("backing file: %s\n", name);
    }
    if (header->backing_format) {
        g_autofree char *format = printable(header->backing_format);

        printf("backing file format: %s\n", format);
    }
    if (stale->present) {
        g_autofree char *freeable = size_format(stale->freeable);

        printf("stale VM state: %s (%" PRIu64 " bytes) can be freed by gc\n",
               freeable, stale->freeable);
    }
    snap_print_snapshots(qcow2_snapshots(image->qcow2));
    print_format_specific(header);
}

static void add_format_specific(JsonBuilder *json, const Qcow2Header *header)
{
    json_builder_set_member_name(json, "format-specific");
    json_builder_begin_object(json);
    add_string(json, "type", "qcow2");
    json_builder_set_member_name(json, "data");
    json_builder_begin_object(json);
    add_string(json, "compat", compatibility(header));
    add_string(json, "compression-type", compression(header));
    add_number(json, "refcount-bits", 1 << header->refcount_order);
    if (header->version > 2) {
        add_boolean(json, "lazy-refcounts",
                    header->compatible_features &
                        QCOW2_COMPATIBLE_LAZY_REFCOUNTS);
        add_boolean(json, "corrupt",
                    has_feature(header, QCOW2_INCOMPATIBLE_CORRUPT));
        add_boolean(json, "extended-l2",
                    has_feature(header, QCOW2_INCOMPATIBLE_EXTENDED_L2));
    }
    if (header->data_file) {
        add_string(json, "data-file", header->data_file);
    }
    json_builder_end_object(json);
    json_builder_end_object(json);
}

void snap_print_image_json(const SnapOptions *options, const SnapImage *image,
                           const Qcow2StaleVmstate *stale)
{
    const Qcow2Header *header = qcow2_header(image->qcow2);
    g_autoptr(JsonBuilder) json = begin_json();
    int64_t actual = actual_size(options->image);

    add_string(json, "filename", options->image);
    add_string(json, "format", "qcow2");
    add_number(json, "virtual-size", round_down(header->size, 512));
    if (actual >= 0) {
        add_number(json, "actual-size", actual);
    }
    add_number(json, "cluster-size", 1 << header->cluster_bits);
    add_boolean(json, "dirty-flag",
                has_feature(header, QCOW2_INCOMPATIBLE_DIRTY));
    if (header->crypt_method) {
        add_boolean(json, "encrypted", true);
    }
    if (header->backing_file) {
        add_string(json, "backing-filename", header->backing_file);
    }
    if (header->backing_format) {
        add_string(json, "backing-filename-format", header->backing_format);
    }
    if (stale->present) {
        add_number(json, "stale-vm-state", stale->freeable);
    }
    add_snapshots(json, qcow2_snapshots(image->qcow2));
    add_format_specific(json, header);
    print_json(json);
}

static void add_count(JsonBuilder *json, const char *member, uint64_t count)
{
    if (count) {
        add_number(json, member, count);
    }
}

/* Only what is not 0, but for check-errors; the order is qemu-img's. */
void snap_print_check_json(const SnapOptions *options,
                           const Qcow2CheckResult *result)
{
    g_autoptr(JsonBuilder) json = begin_json();

    add_count(json, "image-end-offset", result->image_end_offset);
    add_count(json, "compressed-clusters", result->compressed_clusters);
    add_count(json, "total-clusters", result->total_clusters);
    add_count(json, "corruptions", result->corruptions);
    add_count(json, "corruptions-fixed", result->corruptions_fixed);
    add_number(json, "check-errors", result->check_errors);
    add_count(json, "leaks", result->leaks);
    add_count(json, "leaks-fixed", result->leaks_fixed);
    add_count(json, "allocated-clusters", result->allocated_clusters);
    add_string(json, "filename", options->image);
    add_string(json, "format", "qcow2");
    add_count(json, "fragmented-clusters", result->fragmented_clusters);
    print_json(json);
}

/* Pages that were written again while the stream was: they are there twice. */
static uint64_t count_repeated(const MigrationInfo *info, const PageMap *pages)
{
    uint64_t different = 0;
    guint i;

    for (i = 0; i < info->blocks->len; i++) {
        PageCounts counts = page_map_count(pages, info->blocks->pdata[i]);

        different += counts.data + counts.zero + counts.filled;
    }
    return info->data_pages + info->zero_pages - different;
}

static void print_blocks(const MigrationInfo *info, const PageMap *pages)
{
    guint i;

    printf("%-32s %9s", "RAM blocks:", "size");
    if (pages) {
        printf(" %10s %10s %8s %10s", "data", "zero", "filled", "absent");
    }
    printf("\n");
    for (i = 0; i < info->blocks->len; i++) {
        const MigrationBlock *block = g_ptr_array_index(info->blocks, i);
        g_autofree char *name = printable(block->name);
        g_autofree char *size = size_format(block->bytes);

        printf("    %-28s %9s", name, size);
        if (pages) {
            PageCounts counts = page_map_count(pages, block);

            printf(" %10" PRIu64 " %10" PRIu64 " %8" PRIu64 " %10" PRIu64,
                   counts.data, counts.zero, counts.filled, counts.absent);
        }
        printf("\n");
    }
}

void snap_print_state(const Qcow2Snapshot *snapshot, const MigrationInfo *info,
                      const PageMap *pages)
{
    g_autofree char *id = printable(snapshot->id);
    g_autofree char *name = printable(snapshot->name);
    g_autofree char *size = size_format(info->stream_bytes);

    printf("snapshot: %s (ID %s)\n", name, id);
    printf("stream size: %s (%" PRIu64 " bytes)\n", size, info->stream_bytes);
    if (info->machine) {
        g_autofree char *machine = printable(info->machine);

        printf("machine: %s\n", machine);
    }
    if (info->page_size) {
        printf("page size: %u\n", info->page_size);
    }
    printf("data pages: %" PRIu64 "\n", info->data_pages);
    printf("zero pages: %" PRIu64 "\n", info->zero_pages);
    if (pages) {
        printf("repeated pages: %" PRIu64 "\n", count_repeated(info, pages));
    }
    printf("device sections: %u\n", info->devices);
    print_blocks(info, pages);
}

static void add_blocks(JsonBuilder *json, const GPtrArray *blocks,
                       const PageMap *pages)
{
    guint i;

    json_builder_set_member_name(json, "ram-blocks");
    json_builder_begin_array(json);
    for (i = 0; i < blocks->len; i++) {
        const MigrationBlock *block = g_ptr_array_index(blocks, i);

        json_builder_begin_object(json);
        add_string(json, "name", block->name);
        add_number(json, "size", block->bytes);
        if (pages) {
            PageCounts counts = page_map_count(pages, block);

            add_number(json, "data-pages", counts.data);
            add_number(json, "zero-pages", counts.zero);
            add_number(json, "filled-pages", counts.filled);
            add_number(json, "absent-pages", counts.absent);
        }
        json_builder_end_object(json);
    }
    json_builder_end_array(json);
}

void snap_print_state_json(const Qcow2Snapshot *snapshot,
                           const MigrationInfo *info, const PageMap *pages)
{
    g_autoptr(JsonBuilder) json = begin_json();

    json_builder_set_member_name(json, "snapshot");
    add_snapshot(json, snapshot);
    add_number(json, "stream-size", info->stream_bytes);
    if (info->machine) {
        add_string(json, "machine", info->machine);
    }
    if (info->page_size) {
        add_number(json, "page-size", info->page_size);
    }
    add_number(json, "data-pages", info->data_pages);
    add_number(json, "zero-pages", info->zero_pages);
    if (pages) {
        add_number(json, "repeated-pages", count_repeated(info, pages));
    }
    add_number(json, "device-sections", info->devices);
    add_blocks(json, info->blocks, pages);
    print_json(json);
}
