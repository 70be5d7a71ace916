/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Sizes as people write and read them, the way qemu-img does.
 */
#ifndef SIZE_H
#define SIZE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Read "16G", "1.5M", "512", "0": a decimal number, perhaps with a fraction of
 * up to 12 digits, and one letter of BKMGTPE for powers of 1024; no letter is
 * bytes. A part of a byte is dropped. Returns false, with *@bytes untouched,
 * for anything else and for 8 EiB and more.
 */
bool size_parse(const char *text, uint64_t *bytes);

/* Three significant digits and a binary unit: "387 KiB". Free it. */
char *size_format(uint64_t bytes);

#endif /* SIZE_H */
