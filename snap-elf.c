/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See snap-elf.h.
 */
#include <elf.h>
#include <string.h>

#include "checked.h"
#include "snap-elf.h"

/* What notes consist of. */
#define NOTE_UNIT 4

void snap_elf_add(GByteArray *bytes, const SnapPhysical *physical,
                  uint64_t value, unsigned width)
{
    unsigned i;

    for (i = 0; i < width; i++) {
        unsigned place = physical->big_endian ? width - 1 - i : i;
        uint8_t byte = value >> (8 * place);

        g_byte_array_append(bytes, &byte, 1);
    }
}

static void add_padding(GByteArray *bytes, guint unit)
{
    guint old = bytes->len;

    g_byte_array_set_size(bytes, round_up(old, unit));
    memset(bytes->data + old, 0, bytes->len - old);
}

void snap_elf_add_note(GByteArray *notes, const SnapPhysical *physical,
                       const char *name, uint32_t type, const GByteArray *data)
{
    size_t name_bytes = strlen(name) + 1;

    snap_elf_add(notes, physical, name_bytes, 4);
    snap_elf_add(notes, physical, data->len, 4);
    snap_elf_add(notes, physical, type, 4);
    g_byte_array_append(notes, (const uint8_t *)name, name_bytes);
    add_padding(notes, NOTE_UNIT);
    g_byte_array_append(notes, data->data, data->len);
    add_padding(notes, NOTE_UNIT);
}

static void add_file_header(GByteArray *bytes, const SnapPhysical *physical,
                            guint segments)
{
    uint8_t ident[EI_NIDENT] = {
        ELFMAG0,    ELFMAG1,
        ELFMAG2,    ELFMAG3,
        ELFCLASS64, physical->big_endian ? ELFDATA2MSB : ELFDATA2LSB,
        EV_CURRENT,
    };

    g_byte_array_append(bytes, ident, sizeof(ident));
    snap_elf_add(bytes, physical, ET_CORE, 2);
    snap_elf_add(bytes, physical, physical->elf_machine, 2);
    snap_elf_add(bytes, physical, EV_CURRENT, 4);
    snap_elf_add(bytes, physical, 0, 8); /* entry */
    snap_elf_add(bytes, physical, sizeof(Elf64_Ehdr), 8);
    snap_elf_add(bytes, physical, 0, 8); /* sections */
    snap_elf_add(bytes, physical, 0, 4); /* flags */
    snap_elf_add(bytes, physical, sizeof(Elf64_Ehdr), 2);
    snap_elf_add(bytes, physical, sizeof(Elf64_Phdr), 2);
    snap_elf_add(bytes, physical, segments, 2);
    snap_elf_add(bytes, physical, 0, 2); /* section header, bytes */
    snap_elf_add(bytes, physical, 0, 2); /* sections */
    snap_elf_add(bytes, physical, 0, 2); /* their names */
}

/* Of RAM, the virtual address is the physical one: nobody looked at tables. */
static void add_segment(GByteArray *bytes, const SnapPhysical *physical,
                        uint32_t type, uint64_t offset, uint64_t address,
                        uint64_t size)
{
    bool load = type == PT_LOAD;

    snap_elf_add(bytes, physical, type, 4);
    snap_elf_add(bytes, physical, load ? PF_R | PF_W | PF_X : 0, 4);
    snap_elf_add(bytes, physical, offset, 8);
    snap_elf_add(bytes, physical, address, 8);
    snap_elf_add(bytes, physical, address, 8);
    snap_elf_add(bytes, physical, size, 8);
    snap_elf_add(bytes, physical, size, 8);
    snap_elf_add(bytes, physical, load ? 0 : NOTE_UNIT, 8);
}

GByteArray *snap_elf_header(const SnapPhysical *physical,
                            const GByteArray *notes)
{
    GByteArray *bytes = g_byte_array_new();
    guint segments = physical->ranges->len + (notes->len ? 1 : 0);
    uint64_t at = sizeof(Elf64_Ehdr) + segments * sizeof(Elf64_Phdr);
    guint i;

    add_file_header(bytes, physical, segments);
    if (notes->len) {
        add_segment(bytes, physical, PT_NOTE, at, 0, notes->len);
        at += notes->len;
    }
    for (i = 0; i < physical->ranges->len; i++) {
        const SnapPhysicalRange *range =
            &g_array_index(physical->ranges, SnapPhysicalRange, i);

        at = round_up(at, SNAP_ELF_UNIT);
        add_segment(bytes, physical, PT_LOAD, at, range->start, range->bytes);
        at += range->bytes;
    }
    g_byte_array_append(bytes, notes->data, notes->len);
    return bytes;
}
