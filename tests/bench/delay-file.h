/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A block file that is slow to answer, as storage behind a network is: every
 * read of another block file takes a given time longer. Requests do not wait
 * for one another, so as many as are in flight are delayed at once.
 */
#ifndef DELAY_FILE_H
#define DELAY_FILE_H

#include "block-file.h"

/*
 * Reads of @file through the result take @delay_us microseconds more. Takes
 * @file, which must be open for reading only. Closed with block_file_close().
 */
BlockFile *delay_file_new(BlockFile *file, unsigned delay_us);

#endif /* DELAY_FILE_H */
