/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The story of a check: findings on standard error as they come, then the
 * numbers on standard output, word for word as qemu-img 7.2 prints them, and
 * its exit status.
 */
#include <inttypes.h>
#include <stdio.h>

#include "host-file.h"
#include "printable.h"
#include "qcow2-check.h"
#include "snap-error.h"
#include "snap-internal.h"

/* Exit statuses of qemu-img check; 1 is a check that failed. */
enum {
    STATUS_CORRUPTIONS = 2,
    STATUS_LEAKS = 3,
    STATUS_NOT_SUPPORTED = 63,
};

/* Names in images must not reach the terminal as they are. */
static void print_finding(void *opaque, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    char **line;

    for (line = lines; *line; line++) {
        g_autofree char *safe = printable(*line);

        fprintf(stderr, "%s\n", safe);
    }
}

static BlockFile *open_file(const SnapOptions *options, GError **errp)
{
    bool writable = options->repair != QCOW2_REPAIR_NOTHING;
    HostFileOptions file_options = {
        .writable = writable,
        .cache = options->cache ? options->cache : HOST_FILE_CACHE_WRITEBACK,
        .aio = options->aio,
        .trace = options->trace,
    };

    if (writable && options->force_share) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "an image that is repaired must be locked: -U and -r "
                    "exclude each other");
        return NULL;
    }
    if (!options->force_share) {
        file_options.lock = writable ? BLOCK_FILE_LOCK_WRITE
                                     : BLOCK_FILE_LOCK_READ;
    }
    return host_file_open(options->image, &file_options, errp);
}

static void print_repaired(const Qcow2CheckResult *result)
{
    printf("The following inconsistencies were found and repaired:\n\n"
           "    %" PRIu64 " leaked clusters\n"
           "    %" PRIu64 " corruptions\n\n"
           "Double checking the fixed image now...\n",
           result->leaks_fixed, result->corruptions_fixed);
}

static void print_verdict(const Qcow2CheckResult *result)
{
    if (!result->corruptions && !result->leaks && !result->check_errors) {
        printf("No errors were found on the image.\n");
        return;
    }
    if (result->corruptions) {
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may "
               "corrupt it.\n",
               result->corruptions);
    }
    if (result->leaks) {
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n",
               result->leaks);
    }
    if (result->check_errors) {
        printf("\n%" PRIu64 " internal errors have occurred during the "
               "check.\n",
               result->check_errors);
    }
}

static double percent(uint64_t part, uint64_t whole)
{
    return 100.0 * part / whole;
}

static void print_result(const Qcow2CheckResult *result)
{
    print_verdict(result);
    if (result->total_clusters && result->allocated_clusters) {
        printf(
            "%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% "
            "fragmented, %0.2f%% compressed clusters\n",
            result->allocated_clusters, result->total_clusters,
            percent(result->allocated_clusters, result->total_clusters),
            percent(result->fragmented_clusters, result->allocated_clusters),
            percent(result->compressed_clusters, result->allocated_clusters));
    }
    if (result->image_end_offset) {
        printf("Image end offset: %" PRIu64 "\n", result->image_end_offset);
    }
}

static uint64_t exit_status(const Qcow2CheckResult *result)
{
    if (result->corruptions) {
        return STATUS_CORRUPTIONS;
    }
    return result->leaks ? STATUS_LEAKS : 0;
}

/* A repair is judged by a second look, which counts nothing twice. */
static bool coroutine_fn check_again(BlockFile *file, Qcow2CheckResult *result,
                                     GError **errp)
{
    Qcow2CheckOptions options = { .finding = print_finding };
    Qcow2CheckResult first = *result;

    if (!qcow2_check(file, &options, result, errp)) {
        return false;
    }
    result->leaks_fixed = first.leaks_fixed;
    result->corruptions_fixed = first.corruptions_fixed;
    return true;
}

static bool coroutine_fn check_file(const SnapOptions *options, BlockFile *file,
                                    SnapResult *result, GError **errp)
{
    Qcow2CheckOptions check_options = {
        .repair = options->repair,
        .finding = print_finding,
    };
    Qcow2CheckResult found;
    bool is_qcow2;

    if (!qcow2_probe(file, &is_qcow2, errp)) {
        return false;
    }
    if (!is_qcow2) {
        result->exit_status = STATUS_NOT_SUPPORTED;
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "not a qcow2 image: its format has no check");
        return false;
    }
    if (!qcow2_check(file, &check_options, &found, errp)) {
        return false;
    }
    if (found.leaks_fixed || found.corruptions_fixed) {
        if (!options->json && !options->quiet) {
            print_repaired(&found);
        }
        if (!check_again(file, &found, errp)) {
            return false;
        }
    }
    if (options->json && !options->quiet) {
        snap_print_check_json(options, &found);
    } else if (!options->quiet) {
        print_result(&found);
    }
    if (found.check_errors) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the check is not complete");
        return false;
    }
    result->exit_status = exit_status(&found);
    return true;
}

bool coroutine_fn snap_check(const SnapOptions *options, SnapResult *result,
                             GError **errp)
{
    BlockFile *file = open_file(options, errp);
    bool checked;

    if (!file) {
        return false;
    }
    checked = check_file(options, file, result, errp);
    block_file_close(file);
    return checked;
}
