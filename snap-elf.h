/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Core files of a whole machine, in the form in which QEMU's monitor command
 * dump-guest-memory writes them: ELF, a segment for each range of RAM, and the
 * registers of each CPU as notes.
 */
#ifndef SNAP_ELF_H
#define SNAP_ELF_H

#include "snap-physical.h"

/* RAM in the file begins at a multiple of it, as pages do. Bytes. */
#define SNAP_ELF_UNIT (64 * 1024)

/* Add numbers as the target has them, of 2, 4 or 8 bytes. */
void snap_elf_add(GByteArray *bytes, const SnapPhysical *physical,
                  uint64_t value, unsigned width);

/*
 * A note, behind others; it begins and ends at a multiple of four bytes.
 */
void snap_elf_add_note(GByteArray *notes, const SnapPhysical *physical,
                       const char *name, uint32_t type, const GByteArray *data);

/*
 * All that is in front of the RAM. In the file, the ranges of @physical follow
 * one another from the next multiple of SNAP_ELF_UNIT behind it on, each at
 * such a multiple. The caller frees it.
 */
GByteArray *snap_elf_header(const SnapPhysical *physical,
                            const GByteArray *notes);

#endif /* SNAP_ELF_H */
