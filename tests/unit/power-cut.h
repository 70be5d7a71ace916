/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What a disk may have done when the power went: between two flushes any of the
 * writes and not any other, and of one any part in units of a sector.
 */
#ifndef POWER_CUT_H
#define POWER_CUT_H

#include "memory-file.h"

/*
 * The content of @before with the first @start of @records, and some of those
 * in [@start, @end), between which nothing was flushed. Freed by the caller.
 */
GByteArray *power_cut_at_random(const GByteArray *before,
                                const MemoryFileRecord *records, size_t start,
                                size_t end, GRand *rand);

/*
 * How many of those to try where @few are enough for every day: ten times as
 * many with ROUNDS in the environment.
 */
unsigned power_cut_rounds(unsigned few);

#endif /* POWER_CUT_H */
