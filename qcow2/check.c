/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The story of a check, and what its passes have in common.
 */
#include <errno.h>

#include "bytes.h"
#include "check.h"
#include "snap-error.h"

/* What damaged tables may cost beyond twice the size of the file; bytes. */
#define LEAST_BUDGET (64ULL * 1024 * 1024)

static void G_GNUC_PRINTF(2, 0)
    say(const Qcow2Check *check, const char *format, va_list args)
{
    g_autofree char *text = NULL;

    if (check->options->finding) {
        text = g_strdup_vprintf(format, args);
        check->options->finding(check->options->opaque, text);
    }
}

void qcow2_check_say(const Qcow2Check *check, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(check, format, args);
    va_end(args);
}

void qcow2_check_corruption(Qcow2Check *check, uint64_t times,
                            const char *format, ...)
{
    va_list args;

    check->result->corruptions += times;
    va_start(args, format);
    say(check, format, args);
    va_end(args);
}

bool qcow2_check_charge(Qcow2Check *check, uint64_t bytes, GError **errp)
{
    if (bytes > check->budget) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the tables overlap: together they are much larger than "
                    "the file of %" PRIu64 " bytes",
                    check->image->file_size);
        return false;
    }
    check->budget -= bytes;
    return true;
}

uint64_t qcow2_check_present(const Qcow2Check *check, uint64_t offset,
                             uint64_t bytes)
{
    uint64_t size = check->image->file_size;

    return offset < size ? MIN(bytes, size - offset) : 0;
}

uint64_t *coroutine_fn qcow2_check_read_table(Qcow2Check *check,
                                              uint64_t offset, uint64_t entries,
                                              const char *what,
                                              uint64_t *present, GError **errp)
{
    *present = div_round_up(
        qcow2_check_present(check, offset, entries * sizeof(uint64_t)),
        sizeof(uint64_t));
    if (!qcow2_check_charge(check, *present * sizeof(uint64_t), errp)) {
        return NULL;
    }
    return qcow2_read_table(check->image->file, offset, *present, what, errp);
}

static void set_constants(Qcow2Check *check)
{
    const Qcow2Header *header = &check->image->header;
    unsigned refcount_bits = 1u << header->refcount_order;

    check->cluster_size = qcow2_cluster_size(header);
    check->refcount_maximum = refcount_bits == 64 ? UINT64_MAX
                                                  : (1ULL << refcount_bits) - 1;
    check->data_file = header->incompatible_features &
                       QCOW2_INCOMPATIBLE_EXTERNAL_DATA;
    check->extended_l2 = header->incompatible_features &
                         QCOW2_INCOMPATIBLE_EXTENDED_L2;
}

/* The clusters of the LUKS header count, too, so it must be known. */
static bool check_encryption(const Qcow2Check *check, GError **errp)
{
    const Qcow2Header *header = &check->image->header;

    if ((header->crypt_method == 2) != (header->luks_bytes != 0) ||
        !is_aligned(header->luks_offset, check->cluster_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "encryption method %u does not go with a LUKS header of "
                    "%" PRIu64 " bytes at 0x%" PRIx64 " (offset 32)",
                    header->crypt_method, header->luks_bytes,
                    header->luks_offset);
        return false;
    }
    return true;
}

/* A repair may have made the file longer. */
static bool measure_file(Qcow2Check *check, GError **errp)
{
    Qcow2Image *image = check->image;
    int64_t size = block_file_size(image->file);

    if (size < 0) {
        snap_error_set_errno(errp, size, "cannot find out the size");
        return false;
    }
    image->file_size = size;
    check->file_clusters = qcow2_bytes_to_clusters(&image->header, size);
    if (check->file_clusters > QCOW2_REFERENCE_MAP_MAX_CLUSTERS) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "a file of %" PRIu64 " clusters is too large for a check",
                    check->file_clusters);
        return false;
    }
    check->budget = 2 * check->image->file_size + LEAST_BUDGET;
    return true;
}

static void forget_counts(Qcow2Check *check)
{
    g_clear_pointer(&check->stored, qcow2_stored_refcounts_free);
    g_clear_pointer(&check->counted, qcow2_reference_map_free);
    g_clear_pointer(&check->l2_tables, qcow2_reference_map_free);
    g_clear_pointer(&check->active_l2_tables, qcow2_reference_map_free);
}

static bool coroutine_fn count_and_compare(Qcow2Check *check, GError **errp)
{
    const Qcow2Header *header = &check->image->header;
    uint64_t clusters;

    *check->result = (Qcow2CheckResult){
        .corruptions = check->snapshot_corruptions,
        .total_clusters =
            qcow2_bytes_to_clusters(header, round_down(header->size, 512)),
    };
    check->rebuild = false;
    check->mendable = false;
    forget_counts(check);
    if (!measure_file(check, errp)) {
        return false;
    }
    /* A reference may reach into the cluster behind the last one. */
    clusters = check->file_clusters + 1;
    check->counted = qcow2_reference_map_new(clusters);
    check->l2_tables = qcow2_reference_map_new(clusters);
    check->active_l2_tables = qcow2_reference_map_new(clusters);
    check->stored = qcow2_stored_refcounts_load(check->image, errp);
    return check->stored && qcow2_check_count_all(check, errp) &&
           qcow2_check_compare(check, errp);
}

bool coroutine_fn qcow2_check_recount(Qcow2Check *check, GError **errp)
{
    const Qcow2CheckOptions *options = check->options;
    Qcow2CheckOptions silent = { .repair = options->repair };
    bool counted;

    check->options = &silent;
    counted = count_and_compare(check, errp);
    check->options = options;
    return counted;
}

static bool coroutine_fn check_image(Qcow2Check *check, GError **errp)
{
    set_constants(check);
    if (!check_encryption(check, errp) ||
        !qcow2_check_read_snapshots(check, errp) ||
        !count_and_compare(check, errp)) {
        return false;
    }
    return check->options->repair == QCOW2_REPAIR_NOTHING
               ? qcow2_check_copied(check, errp)
               : qcow2_check_repair(check, errp);
}

static void check_end(Qcow2Check *check)
{
    forget_counts(check);
    g_clear_pointer(&check->image, qcow2_close);
}

bool coroutine_fn qcow2_check(BlockFile *file, const Qcow2CheckOptions *options,
                              Qcow2CheckResult *result, GError **errp)
{
    Qcow2Check check = { .options = options, .result = result };
    bool done;

    *result = (Qcow2CheckResult){ 0 };
    check.image = qcow2_open_to_check(file, errp);
    done = check.image && check_image(&check, errp);
    check_end(&check);
    return done;
}

bool coroutine_fn qcow2_probe(BlockFile *file, bool *found, GError **errp)
{
    static const uint8_t magic[] = { 'Q', 'F', 'I', 0xfb };
    uint8_t bytes[8];
    int ret = block_file_pread(file, 0, bytes, sizeof(bytes));

    if (ret < 0) {
        snap_error_set_errno(errp, ret, "cannot read the header (offset 0)");
        return false;
    }
    *found = memcmp(bytes, magic, sizeof(magic)) == 0;
    return true;
}
