/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The two forms in which `inspect --devices' prints what is in the devices of a
 * snapshot, on standard output while it is decoded.
 */
#ifndef SNAP_DEVICE_OUTPUT_H
#define SNAP_DEVICE_OUTPUT_H

#include "device-state.h"
#include "snap-devices.h"

/* All functions and those of the visitor get the same @opaque. */
typedef struct SnapDeviceOutput {
    void *(*begin)(const Qcow2Snapshot *snapshot);

    /* What the visitor is told then is in @device. */
    void (*begin_device)(const MigrationSection *device, void *opaque);
    DeviceVisitor visitor;
    void (*end_device)(void *opaque);

    /*
     * Instead of what the visitor is told: it cannot be decoded for the reason
     * @why, which ends without a full stop. @data NULL: its bytes are not
     * shown either.
     */
    void (*undecoded)(const char *why, const uint8_t *data, uint64_t bytes,
                      void *opaque);

    /* Frees @opaque. */
    void (*end)(void *opaque);
} SnapDeviceOutput;

extern const SnapDeviceOutput snap_device_text;
extern const SnapDeviceOutput snap_device_json;

/*
 * A number, true, false or null as text: unsigned numbers with all their
 * digits in base 16. Not for BYTES. To free.
 */
char *snap_device_number(const DeviceValue *value);

#endif /* SNAP_DEVICE_OUTPUT_H */
