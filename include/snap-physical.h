/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Where the RAM of a machine lies in the guest's physical address space. A
 * stream does not tell: it has blocks with names, and offsets in them. What
 * the boards of QEMU make of them is known here; what depends on the options of
 * a machine (the size of RAM below 4 GiB, the order of NUMA nodes) is not in
 * the stream at all, and has to be said by whoever knows.
 */
#ifndef SNAP_PHYSICAL_H
#define SNAP_PHYSICAL_H

#include "migration-reader.h"

typedef struct SnapPhysicalRange {
    uint64_t start; /* guest-physical address */
    uint64_t bytes;
    const MigrationBlock *block;
    uint64_t offset; /* in the block, bytes */
} SnapPhysicalRange;

typedef struct SnapPhysical {
    GArray *ranges; /* of SnapPhysicalRange, going up */
    uint64_t base;  /* where RAM begins */
    /*
     * False: nobody knows where on this board; `base' is 0, and ranges count
     * from there.
     */
    bool base_known;
    uint16_t elf_machine; /* EM_...; 0: not known */
    bool big_endian;
} SnapPhysical;

/*
 * Of the machine of @info, which must outlive the result. @below_4g: bytes of
 * RAM below 4 GiB, on boards that leave a hole there; 0: as the board does it.
 * @order: names of the blocks that are RAM, by address, with commas between;
 * NULL: there is only one. Adds to @warnings what may be RAM, too, but is left
 * out. Returns NULL and fills @errp: INVALID (there are several, or none of
 * that name, or a size that cannot be), STREAM (sizes that cannot be).
 */
SnapPhysical *snap_physical_new(const MigrationInfo *info, uint64_t below_4g,
                                const char *order, GPtrArray *warnings,
                                GError **errp);
void snap_physical_free(SnapPhysical *physical);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnapPhysical, snap_physical_free)

#endif /* SNAP_PHYSICAL_H */
