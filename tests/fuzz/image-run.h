/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What fuzz targets do to an image.
 */
#ifndef IMAGE_RUN_H
#define IMAGE_RUN_H

#include "fuzz.h"
#include "qcow2-check.h"

/* A memory file of @image on a small disk, which cannot promise space. */
BlockFile *image_run_file(const GByteArray *image);

/* What a check has to say, without leaks. UINT64_MAX: it cannot be counted. */
typedef struct ImageVerdict {
    uint64_t corruptions;

    /*
     * Without COPIED flags that are missing by a refcount that is too low: so
     * many references as there are, they must be missing. After a change also
     * without those of what was a table that has moved.
     */
    uint64_t but_right_flags;

    /*
     * Without COPIED flags that are missing: they cost a look-up, no more. With
     * those that should be missing, which a refcount that is too low or cannot
     * be read does not tell. And without clusters whose refcount cannot be
     * read: the block that cannot be used is one corruption, and there are more
     * of them in a longer file.
     */
    uint64_t harmful;

    /*
     * Without any flags, besides: in the middle of a repair a flag that is there in vain says
     * what the refcount said that has just been put right.
     */
    uint64_t but_flags;

    /*
     * Flags that are there in vain, and those of which a check cannot tell it,
     * because the refcount is too low or cannot be read.
     */
    uint64_t in_vain;
    uint64_t hidden;

    /* What it refers to behind the end of the file, or where nothing is. */
    uint64_t lost;

    /*
     * One of the header's tables has more references than its refcount of 1
     * says: it is lost to the others when the table moves, and a flag that says
     * 1 until then is there in vain.
     */
    bool refers_to_tables;

    /*
     * It refers to clusters that are nobody's by their refcount, or to what is
     * behind the end of the file. Who takes them, or makes the file longer,
     * cannot know without reading all tables.
     */
    bool refers_to_free;
    bool refers_behind_end;

    /* So many that nothing has been found out about flags. */
    bool too_many;
} ImageVerdict;

ImageVerdict image_run_judge(BlockFile *file);
/* The same of what was @before until it was changed. */
ImageVerdict image_run_judge_change(BlockFile *file, const GByteArray *before);

/*
 * Open the image and change it; @what says how, @which snapshot and @operand
 * with which name or size. True when it was done.
 */
bool image_run_verb(BlockFile *file, unsigned what, unsigned which,
                    unsigned operand);

/* Open the image and read from the VM states of its snapshots. */
void image_run_load(BlockFile *file);

/* Check, repair. False when that could not be carried out. */
bool image_run_check(BlockFile *file, Qcow2Repair repair,
                     Qcow2CheckResult *result);

#endif /* IMAGE_RUN_H */
