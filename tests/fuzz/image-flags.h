/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * COPIED flags by the references that there are. A check judges them by the
 * stored refcounts, as a writer does. Where a refcount of 1 is too low, it
 * takes a flag that is dangerous for right and one that is missing for wrong;
 * when the refcount has been put right it is the other way round. Where none
 * can be read it does not look at flags.
 */
#ifndef IMAGE_FLAGS_H
#define IMAGE_FLAGS_H

#include "fuzz.h"

typedef struct ImageFlags ImageFlags;

ImageFlags *image_flags_new(void);
void image_flags_free(ImageFlags *flags);

/* Take note of a finding of a check, which counts it @times. */
void image_flags_note(ImageFlags *flags, const char *finding, uint64_t times);

/*
 * The image was @before, and a change has moved the header's tables. Where one
 * of them was data of the disk as well, there is a reference less; a change
 * does not look for the flag, which costs a look-up.
 */
void image_flags_note_moved(ImageFlags *flags, const GByteArray *before);

/*
 * If there were refcounts that cannot be read: a copy of @image with an empty
 * refcount table, so that the findings of a check of it, also to be noted, tell
 * all references. The caller frees it. Else NULL.
 */
GByteArray *image_flags_without_refcounts(const ImageFlags *flags,
                                          const GByteArray *image);

/* If there is nothing of all that, the check is right about all flags. */
bool image_flags_any(const ImageFlags *flags);

/*
 * Flags that the check misses by a refcount of 1, and that must not be there,
 * because the cluster has more references, or need not, because a table has
 * moved. @image is what it has checked.
 */
uint64_t image_flags_excused(const ImageFlags *flags, const GByteArray *image);

/*
 * Flags that are there although there are more references, and the check does
 * not see it. A table that is named twice counts twice.
 */
uint64_t image_flags_hidden(const ImageFlags *flags, const GByteArray *image);

/*
 * Has one of the header's tables more references than its refcount of 1 says?
 * When it has moved, the cluster is nobody's.
 */
bool image_flags_table_shared(const ImageFlags *flags, const GByteArray *image);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageFlags, image_flags_free)

#endif /* IMAGE_FLAGS_H */
