/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * COPIED flags by the references that there are. A check judges them by the
 * stored refcounts, as a writer does. Where a refcount of 1 is too low, it
 * takes a flag that is dangerous for right and one that is missing for wrong;
 * when the refcount has been put right it is the other way round.
 */
#ifndef IMAGE_FLAGS_H
#define IMAGE_FLAGS_H

#include "fuzz.h"

typedef struct ImageFlags ImageFlags;

ImageFlags *image_flags_new(void);
void image_flags_free(ImageFlags *flags);

/* Take note of a finding of a check, which counts it @times. */
void image_flags_note(ImageFlags *flags, const char *finding, uint64_t times);

/* Is any refcount of 1 too low? If not, the check is right about all flags. */
bool image_flags_any(const ImageFlags *flags);

/*
 * Flags that the check misses by a refcount of 1, and that must not be there:
 * the cluster has more references. @image is what it has checked.
 */
uint64_t image_flags_rightly_missing(const ImageFlags *flags,
                                     const GByteArray *image);

/*
 * Flags that are there by a refcount of 1 although there are more. A table that
 * is named twice counts twice.
 */
uint64_t image_flags_hidden(const ImageFlags *flags, const GByteArray *image);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageFlags, image_flags_free)

#endif /* IMAGE_FLAGS_H */
