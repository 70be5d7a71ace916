/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Is a stream still what was saved? What is found, and how it is told.
 */
#ifndef SNAP_VERIFY_H
#define SNAP_VERIFY_H

#include "snap-json.h"
#include "snap-state.h"

typedef enum SnapDamageKind {
    SNAP_DAMAGE_UNREADABLE, /* the device or the image does not give it */
    SNAP_DAMAGE_CHECKSUM,   /* it is not what was saved */
    SNAP_DAMAGE_STRUCTURE,  /* no stream can be so */
    SNAP_DAMAGE_INDEX,      /* the index describes another stream */
    SNAP_DAMAGE_TRAILER,    /* the trailer is not what was saved */
} SnapDamageKind;

/* Bytes of the VM state. */
typedef struct SnapDamage {
    SnapDamageKind kind;
    uint64_t offset;
    uint64_t bytes; /* 0: all of what it is about */
    char *text;     /* what else there is to say; or NULL */
} SnapDamage;

/* What came of one snapshot. */
typedef struct SnapVerdict {
    const Qcow2Snapshot *snapshot;
    const SnapState *state; /* all 0: it could not be opened */
    bool compared;          /* there were checksums to compare with */
    GPtrArray *damage;      /* of SnapDamage, by kind and offset */
} SnapVerdict;

/* "intact", "complete" (but not compared) or "damaged". */
const char *snap_verdict_name(const SnapVerdict *verdict);

/* On standard output, and for a program as an object of an array. */
void snap_verdict_print(const SnapVerdict *verdict);
void snap_verdict_add(const SnapVerdict *verdict, JsonBuilder *json);

#endif /* SNAP_VERIFY_H */
