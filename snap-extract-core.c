/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * extract --format=elf: a core file of the machine.
 */
#include <elf.h>
#include <string.h>

#include "checked.h"
#include "snap-cpu.h"
#include "snap-elf.h"
#include "snap-error.h"
#include "snap-extract.h"

static bool is_cpu(const MigrationSection *section)
{
    return section->device && section->delimited &&
           !strcmp(section->name, SNAP_CPU_SECTION);
}

/*
 * The state of all CPUs, SNAP_CPU_BYTES of each; of none if one of them is not
 * understood.
 */
static bool coroutine_fn read_cpus(const SnapExtract *extract, GByteArray *cpus,
                                   GError **errp)
{
    const SnapSource *source = &extract->source;
    const GPtrArray *sections =
        stream_index_info(extract->state.index)->sections;
    guint i;

    for (i = 0; i < sections->len; i++) {
        const MigrationSection *section = sections->pdata[i];
        uint8_t state[SNAP_CPU_BYTES];

        if (!is_cpu(section)) {
            continue;
        }
        if (section->payload_bytes >= sizeof(state) &&
            !source->fetch(source->opaque, section->payload_offset, state,
                           sizeof(state), errp)) {
            return false;
        }
        if (section->payload_bytes < sizeof(state) ||
            section->version != SNAP_CPU_VERSION || !snap_cpu_is_known(state)) {
            g_byte_array_set_size(cpus, 0);
            return true;
        }
        g_byte_array_append(cpus, state, sizeof(state));
    }
    return true;
}

/* In the order in which QEMU writes them. */
static void add_notes(GByteArray *notes, const SnapPhysical *physical,
                      const GByteArray *cpus)
{
    unsigned count = cpus->len / SNAP_CPU_BYTES;
    unsigned i;

    for (i = 0; i < count; i++) {
        snap_cpu_add_status(notes, physical, i,
                            cpus->data + i * SNAP_CPU_BYTES);
    }
    for (i = 0; i < count; i++) {
        snap_cpu_add_system(notes, physical, cpus->data + i * SNAP_CPU_BYTES);
    }
}

bool coroutine_fn snap_extract_core(const SnapExtract *extract,
                                    SnapLayout *layout,
                                    const SnapPhysical *physical,
                                    SnapResult *result, GError **errp)
{
    g_autoptr(GByteArray) cpus = g_byte_array_new();
    g_autoptr(GByteArray) notes = g_byte_array_new();
    uint64_t at;
    guint i;

    if (!physical->elf_machine) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "what a core file of this machine is like is not known");
        return false;
    }
    if (physical->elf_machine == EM_X86_64) {
        if (!read_cpus(extract, cpus, errp)) {
            return false;
        }
        add_notes(notes, physical, cpus);
    }
    if (notes->len == 0) {
        g_ptr_array_add(result->warnings,
                        g_strdup("the state of the CPUs is not understood: "
                                 "the core file has no registers"));
    }
    snap_layout_add_bytes(layout, 0, snap_elf_header(physical, notes));
    for (i = 0; i < physical->ranges->len; i++) {
        const SnapPhysicalRange *range =
            &g_array_index(physical->ranges, SnapPhysicalRange, i);

        at = round_up(snap_layout_bytes(layout), SNAP_ELF_UNIT);
        snap_layout_add_block(layout, at, range->block, range->offset,
                              range->bytes);
    }
    return true;
}
