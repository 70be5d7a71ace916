/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The registers of an x86 CPU, as a stream has them, as notes of a core file.
 */
#ifndef SNAP_CPU_H
#define SNAP_CPU_H

#include "snap-physical.h"

/* The id of the section that a CPU has, and the version that is known. */
#define SNAP_CPU_SECTION "cpu"
#define SNAP_CPU_VERSION 12

/* How much of its payload is looked at, from the start. */
#define SNAP_CPU_BYTES 864

/*
 * Is @state, SNAP_CPU_BYTES of a payload, what a 64-bit QEMU writes? One for
 * 32-bit guests writes half as much.
 */
bool snap_cpu_is_known(const uint8_t *state);

/*
 * What debuggers look for (CORE, NT_PRSTATUS) of the CPU whose number is @cpu,
 * from 0 on, and what QEMU adds: segments and control registers.
 */
void snap_cpu_add_status(GByteArray *notes, const SnapPhysical *physical,
                         unsigned cpu, const uint8_t *state);
void snap_cpu_add_system(GByteArray *notes, const SnapPhysical *physical,
                         const uint8_t *state);

#endif /* SNAP_CPU_H */
