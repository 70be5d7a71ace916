/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What making an index and writing it down share.
 */
#ifndef STREAM_INDEX_INTERNAL_H
#define STREAM_INDEX_INTERNAL_H

#include "stream-index.h"

struct StreamIndex {
    MigrationInfo *info;
    PageMap *pages; /* finished; or NULL */
};

#endif /* STREAM_INDEX_INTERNAL_H */
