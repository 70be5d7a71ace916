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

#include "checked.h"
#include "printable.h"
#include "size.h"
#include "snap-json.h"

char *snap_clock_format(uint64_t nanoseconds)
{
    uint64_t msec = nanoseconds / 1000000;

    return g_strdup_printf(
        "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64, msec / 3600000,
        msec / 60000 % 60, msec / 1000 % 60, msec % 1000);
}

static void print_snapshot(const Qcow2Snapshot *snapshot)
{
    g_autofree char *id = printable(snapshot->id);
    g_autofree char *name = printable(snapshot->name);
    g_autofree char *size = size_format(snapshot->vm_state_size);
    g_autofree char *clock = snap_clock_format(snapshot->vm_clock_nsec);
    time_t date_sec = snapshot->date_sec;
    char date[32] = "";
    char icount[24] = "";
    struct tm tm;

    if (localtime_r(&date_sec, &tm)) {
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    }
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

/* Always an array, also of nothing: `jq .snapshots[]' then just works. */
static void add_snapshots(JsonBuilder *json, const GPtrArray *snapshots)
{
    guint i;

    json_builder_set_member_name(json, "snapshots");
    json_builder_begin_array(json);
    for (i = 0; i < snapshots->len; i++) {
        snap_json_snapshot(json, g_ptr_array_index(snapshots, i));
    }
    json_builder_end_array(json);
}

void snap_print_list_json(const SnapOptions *options, const Qcow2Image *image)
{
    g_autoptr(JsonBuilder) json = snap_json_begin();

    snap_json_string(json, "filename", options->image);
    snap_json_string(json, "format", "qcow2");
    add_snapshots(json, qcow2_snapshots(image));
    snap_json_print(json);
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
    snap_json_string(json, "type", "qcow2");
    json_builder_set_member_name(json, "data");
    json_builder_begin_object(json);
    snap_json_string(json, "compat", compatibility(header));
    snap_json_string(json, "compression-type", compression(header));
    snap_json_number(json, "refcount-bits", 1 << header->refcount_order);
    if (header->version > 2) {
        snap_json_boolean(json, "lazy-refcounts",
                          header->compatible_features &
                              QCOW2_COMPATIBLE_LAZY_REFCOUNTS);
        snap_json_boolean(json, "corrupt",
                          has_feature(header, QCOW2_INCOMPATIBLE_CORRUPT));
        snap_json_boolean(json, "extended-l2",
                          has_feature(header, QCOW2_INCOMPATIBLE_EXTENDED_L2));
    }
    if (header->data_file) {
        snap_json_string(json, "data-file", header->data_file);
    }
    json_builder_end_object(json);
    json_builder_end_object(json);
}

void snap_print_image_json(const SnapOptions *options, const SnapImage *image,
                           const Qcow2StaleVmstate *stale)
{
    const Qcow2Header *header = qcow2_header(image->qcow2);
    g_autoptr(JsonBuilder) json = snap_json_begin();
    int64_t actual = actual_size(options->image);

    snap_json_string(json, "filename", options->image);
    snap_json_string(json, "format", "qcow2");
    snap_json_number(json, "virtual-size", round_down(header->size, 512));
    if (actual >= 0) {
        snap_json_number(json, "actual-size", actual);
    }
    snap_json_number(json, "cluster-size", 1 << header->cluster_bits);
    snap_json_boolean(json, "dirty-flag",
                      has_feature(header, QCOW2_INCOMPATIBLE_DIRTY));
    if (header->crypt_method) {
        snap_json_boolean(json, "encrypted", true);
    }
    if (header->backing_file) {
        snap_json_string(json, "backing-filename", header->backing_file);
    }
    if (header->backing_format) {
        snap_json_string(json, "backing-filename-format",
                         header->backing_format);
    }
    if (stale->present) {
        snap_json_number(json, "stale-vm-state", stale->freeable);
    }
    add_snapshots(json, qcow2_snapshots(image->qcow2));
    add_format_specific(json, header);
    snap_json_print(json);
}

static void add_count(JsonBuilder *json, const char *member, uint64_t count)
{
    if (count) {
        snap_json_number(json, member, count);
    }
}

/* Only what is not 0, but for check-errors; the order is qemu-img's. */
void snap_print_check_json(const SnapOptions *options,
                           const Qcow2CheckResult *result)
{
    g_autoptr(JsonBuilder) json = snap_json_begin();

    add_count(json, "image-end-offset", result->image_end_offset);
    add_count(json, "compressed-clusters", result->compressed_clusters);
    add_count(json, "total-clusters", result->total_clusters);
    add_count(json, "corruptions", result->corruptions);
    add_count(json, "corruptions-fixed", result->corruptions_fixed);
    snap_json_number(json, "check-errors", result->check_errors);
    add_count(json, "leaks", result->leaks);
    add_count(json, "leaks-fixed", result->leaks_fixed);
    add_count(json, "allocated-clusters", result->allocated_clusters);
    snap_json_string(json, "filename", options->image);
    snap_json_string(json, "format", "qcow2");
    add_count(json, "fragmented-clusters", result->fragmented_clusters);
    snap_json_print(json);
}
