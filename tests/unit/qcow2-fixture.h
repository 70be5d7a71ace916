/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Images for tests of the qcow2 layer: built in memory by a second writer,
 * judged by a second reader. Neither shares code with the one under test, so
 * that a misunderstanding of the format must be made twice to go unnoticed.
 *
 * Images are byte arrays, digests are hexadecimal strings. Who asks for
 * something impossible ends the test.
 */
#ifndef QCOW2_FIXTURE_H
#define QCOW2_FIXTURE_H

#include <inttypes.h>

#include "qcow2-vmstate.h"

#define QCOW2_FIXTURE_L2_TABLES 8

/* What to build. Zero everywhere but in cluster_bits means an empty disk. */
typedef struct Qcow2FixtureOptions {
    uint32_t version;          /* 0: 3 */
    uint32_t cluster_bits;     /* no default */
    uint32_t refcount_bits;    /* 0: 16 */
    uint32_t header_length;    /* 0: 112, or 72 in version 2 */
    uint64_t disk_size;        /* bytes */
    uint32_t spare_l1_entries; /* behind those that the disk needs */
    uint32_t free_clusters;    /* nobody's, before each L2 table */
    bool extended_l2;
    /*
     * What the active L1 maps. One string for each L2 table, NULL for none,
     * one letter for each guest cluster:
     *   . unallocated            d data            c compressed
     *   z zeros, none allocated  Z zeros, a cluster is held
     * and with extended L2, where others are what these are not:
     *   p some subclusters are data, some zeros
     *   q some subclusters are zeros, none allocated
     * Behind the end of a string everything is unallocated. Tables behind
     * those of the disk need spare L1 entries.
     */
    const char *l2[QCOW2_FIXTURE_L2_TABLES];
} Qcow2FixtureOptions;

/* A sound image with all COPIED flags set where they belong. */
GByteArray *qcow2_fixture_build(const Qcow2FixtureOptions *options);

/*
 * What a guest cluster of kind 'd', 'p' or 'c' holds. Compressed ones have a
 * period, so that they can be packed.
 */
void qcow2_fixture_fill_cluster(uint64_t guest_cluster, char kind,
                                uint8_t *buffer, size_t bytes);

/* The digest of the disk that qcow2_fixture_build() builds. */
char *qcow2_fixture_disk_digest(const Qcow2FixtureOptions *options);

/* Stored numbers: big-endian, 1 to 8 bytes; behind the end everything is 0. */
uint64_t qcow2_fixture_peek(const GByteArray *image, uint64_t offset,
                            unsigned bytes);
void qcow2_fixture_poke(GByteArray *image, uint64_t offset, unsigned bytes,
                        uint64_t value);

GByteArray *qcow2_fixture_copy(const GByteArray *image);

typedef struct Qcow2FixtureHeader {
    uint32_t version;
    uint32_t cluster_bits;
    uint64_t cluster_size;
    bool extended_l2;
    unsigned l2_entry_bytes;
    unsigned parts; /* of a cluster: 1, or 32 subclusters */
    uint64_t l2_entries;
    uint64_t l1_span; /* guest bytes of one L1 entry */
    uint64_t disk_size;
    uint32_t l1_size;
    uint64_t l1_offset;
    uint64_t refcount_table_offset;
    uint64_t refcount_table_entries;
    uint32_t snapshot_count;
    uint64_t snapshots_offset;
    uint32_t refcount_bits;
    uint64_t refcounts_per_block;
} Qcow2FixtureHeader;

void qcow2_fixture_header(const GByteArray *image, Qcow2FixtureHeader *header);

/* One entry of the snapshot table and where it stands. */
typedef struct Qcow2FixtureEntry {
    uint64_t at;    /* file offset */
    uint64_t bytes; /* without padding */
    uint64_t l1_offset;
    uint32_t l1_size;
    uint32_t extra_bytes;
    uint64_t vm_state_size;
    uint64_t disk_size;
    uint64_t vm_index; /* first L1 entry of the VM state */
    char *id;          /* freed by qcow2_fixture_entry_clear() */
    char *name;
} Qcow2FixtureEntry;

void qcow2_fixture_entry(const GByteArray *image, unsigned index,
                         Qcow2FixtureEntry *entry);
void qcow2_fixture_entry_clear(Qcow2FixtureEntry *entry);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Qcow2FixtureEntry, qcow2_fixture_entry_clear)

/* What the parts of a cluster are; the first one is bit 0. */
typedef struct Qcow2FixtureParts {
    uint32_t data;
    uint32_t zeros;
} Qcow2FixtureParts;

/* The parts of a cluster of that kind, of one part or of 32. */
Qcow2FixtureParts qcow2_fixture_parts(char kind, bool extended_l2);

/* File offset of the L2 entry for a guest cluster, below that L1 table. */
uint64_t qcow2_fixture_l2_entry_at(const GByteArray *image, uint64_t l1_offset,
                                   uint64_t guest_cluster);

/* File offset of the L2 entry for a position in a snapshot's VM state. */
uint64_t qcow2_fixture_vmstate_entry_at(const GByteArray *image,
                                        unsigned snapshot, uint64_t position);

/* Stored refcounts, of clusters that a refcount block describes. */
uint64_t qcow2_fixture_refcount(const GByteArray *image, uint64_t cluster);
uint64_t qcow2_fixture_refcount_at(const GByteArray *image,
                                   const Qcow2FixtureHeader *header,
                                   uint64_t cluster);
void qcow2_fixture_set_refcount(GByteArray *image, uint64_t cluster,
                                uint64_t value);

/* The number of the first cluster behind all that have a refcount. */
uint64_t qcow2_fixture_first_fresh(const GByteArray *image);

/*
 * Count all references anew. Returns NULL when every stored refcount and every
 * COPIED flag of the active tables is right, else what is wrong first.
 */
char *qcow2_fixture_check(const GByteArray *image);
void qcow2_fixture_assert_sound(const GByteArray *image);

/* Sound but for refcounts that are too high. */
void qcow2_fixture_assert_only_leaks(const GByteArray *image);

/* The exit status of `qemu-img check'. */
int qcow2_fixture_qemu_img_check(const GByteArray *image);

/* That of `qemu-img snapshot -a', which loads a snapshot as QEMU does. */
int qcow2_fixture_qemu_img_apply(const GByteArray *image, const char *snapshot);

/*
 * All that a user of the image can see, as text: the digest of the active disk
 * and a line for each snapshot with the digests of its disk and VM state. Two
 * images in the same state have the same text, wherever the clusters lie.
 */
char *qcow2_fixture_describe(const GByteArray *image);

/* The same of a memory file, which must be sound. */
char *qcow2_fixture_describe_sound(BlockFile *file);

/* Such a text but for the line of the snapshot called @name. */
char *qcow2_fixture_without(const char *text, const char *name);

/* The bytes of a stream of this @seed from @position on. */
void qcow2_fixture_fill(uint64_t seed, uint64_t position, void *buffer,
                        size_t bytes);

/*
 * A memory file of the image. It promises no disk space, because the steps in
 * which space is taken are large.
 */
BlockFile *qcow2_fixture_file(const GByteArray *image);

/* The present content of a memory file. */
GByteArray *qcow2_fixture_content(BlockFile *file);

typedef struct Qcow2FixtureSave {
    const char *name;
    uint64_t seed;    /* of the VM state and of its date */
    uint64_t bytes;   /* of VM state */
    size_t piece;     /* bytes for each write; 0: 64 KiB */
    unsigned writers; /* coroutines that write at once; 0: one */
    bool abandon;     /* end without a commit */
    bool replace;     /* the snapshot of that name, which is there */

    /* Filled in: numbers of records in the file. */
    size_t records_begun;   /* when the writer had been made */
    size_t records_written; /* when all VM state had been written */
    bool stream_taken;      /* all VM state was written without an error */
} Qcow2FixtureSave;

/*
 * Open @file, save a snapshot, close the image. Turns the event loop. Returns
 * false and fills @errp when anything fails.
 */
bool qcow2_fixture_save(BlockFile *file, Qcow2FixtureSave *save, GError **errp);

/* The same for what must succeed. */
void qcow2_fixture_must_save(BlockFile *file, Qcow2FixtureSave *save);

/*
 * Open @file, make a disk-only snapshot as of qcow2_fixture_save() with no
 * bytes, or delete one, close the image. Turns the event loop. Returns false
 * and fills @errp when anything fails.
 */
bool qcow2_fixture_create(BlockFile *file, const char *name, uint64_t seed,
                          GError **errp);
bool qcow2_fixture_delete(BlockFile *file, const char *id_or_name,
                          GError **errp);

/* The same for what must succeed. */
void qcow2_fixture_must_create(BlockFile *file, const char *name,
                               uint64_t seed);
void qcow2_fixture_must_delete(BlockFile *file, const char *id_or_name);

/*
 * What the first of them does with @image open: a disk-only snapshot, instead
 * of @old unless that is NULL. Yields.
 */
bool coroutine_fn qcow2_fixture_add_snapshot(Qcow2Image *image,
                                             const char *name,
                                             const Qcow2Snapshot *old,
                                             uint64_t seed, GError **errp);

/* The other verbs, and those above in another form. */
typedef enum Qcow2FixtureVerb {
    QCOW2_FIXTURE_REPLACE, /* by a disk-only snapshot of the same name */
    QCOW2_FIXTURE_APPLY,
    QCOW2_FIXTURE_RENAME, /* to `new_name' */
    QCOW2_FIXTURE_DELETE,
    QCOW2_FIXTURE_FREE_STALE, /* VM state in the active L1; no name */
    QCOW2_FIXTURE_REPLACE_TAIL,
} Qcow2FixtureVerb;

typedef struct Qcow2FixtureChange {
    Qcow2FixtureVerb verb;
    const char *name; /* or ID, of a snapshot that is there */
    const char *new_name;
    uint64_t seed;    /* REPLACE: of its date; REPLACE_TAIL: of the data */
    uint64_t kept;    /* REPLACE_TAIL: bytes of VM state; 0: all */
    uint64_t bytes;   /* REPLACE_TAIL: of data */
    bool keeps_freed; /* nothing is discarded */
} Qcow2FixtureChange;

/*
 * Open @file, carry the verb out, close the image. Turns the event loop.
 * Returns false and fills @errp when anything fails.
 */
bool qcow2_fixture_change(BlockFile *file, const Qcow2FixtureChange *change,
                          GError **errp);

/* The same for what must succeed, without a seed. */
void qcow2_fixture_must_change(BlockFile *file, Qcow2FixtureVerb verb,
                               const char *name, const char *new_name);

/*
 * What a guest does that discards a cluster, which is there, in an active L2
 * table that is the disk's alone. The file is another one afterwards.
 */
void qcow2_fixture_guest_discards(BlockFile **file, uint64_t guest_cluster);

/* VM state in the active L1, as qcow2_look_at_stale_vmstate() sees it. */
void qcow2_fixture_look_at_stale(BlockFile *file, Qcow2StaleVmstate *stale);

/* The snapshot's line in qcow2_fixture_describe(). */
char *qcow2_fixture_expected(const Qcow2FixtureSave *save, unsigned id,
                             uint64_t disk_size, const char *disk_digest);

/*
 * Open @file and read from the VM state of a snapshot. Turns the event loop.
 * Returns false and fills @errp when anything fails.
 */
bool qcow2_fixture_load(BlockFile *file, const char *id_or_name,
                        uint64_t position, void *buffer, size_t bytes,
                        GError **errp);

/*
 * @error must be set, of that code (SnapError), and have @text in it; it is
 * freed.
 */
void qcow2_fixture_assert_error(GError **error, int code, const char *text);

#endif /* QCOW2_FIXTURE_H */
