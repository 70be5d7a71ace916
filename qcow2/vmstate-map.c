/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * See vmstate-map.h. Of the L1 table the part is held that maps VM state. The
 * L2 entries below it, numbered from the start of the VM state, are cut into
 * windows of equal length: a part of a table where clusters are large, several
 * tables, wherever they lie, where they are small.
 *
 * A window is empty, loading or ready. Whoever asks for an entry waits until
 * its window is ready, or loads it; the first one to ask sees to it that the
 * following window is loaded behind its back. So a stream waits for its first
 * window only. Invariants:
 *
 * 1. A window that is loading is its loader's: it is not made another one.
 * 2. An entry is taken out of a window in the turn in which the window was
 *    found ready. So any other may give its place to another one, and the one
 *    that was used least recently does.
 * 3. A window that could not be loaded is empty again. Who was waiting for it
 *    tries for itself, so an error is told to those who need the window, and
 *    never to others.
 */
#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "event-loop.h"
#include "read-group.h"
#include "snap-error.h"
#include "vmstate-map.h"

/* 64 KiB of L2 entries. They map 4 MiB with the smallest clusters. */
#define WINDOW_WORDS 8192

/*
 * What a stream is reading at once, 32 MiB, are 9 windows of the smallest
 * clusters, and one is fetched ahead; the others are for reads elsewhere. They
 * get their memory, 1 MiB at most, when they are used.
 */
#define WINDOWS 16

/*
 * To find the last cluster, so many L2 tables are looked at, the last ones. QEMU
 * leaves empty tables behind where there was a longer VM state before.
 */
#define LAST_TABLES 64

typedef enum WindowState {
    WINDOW_EMPTY,
    WINDOW_LOADING,
    WINDOW_READY,
} WindowState;

typedef struct Window {
    Qcow2VmstateMap *map;
    WindowState state;
    uint64_t number;    /* unless empty */
    uint64_t *entries;  /* as stored; NULL: no memory yet */
    uint64_t last_used; /* by the map's clock */
    bool next_asked;    /* fetching the following window has been begun */
} Window;

struct Qcow2VmstateMap {
    /* Constant after _open(). */
    const Qcow2Image *image;
    uint64_t bytes;
    uint64_t *l1; /* L2 table offsets, from the VM state's first on */
    uint64_t l1_entries;
    uint64_t window_entries;
    uint64_t windows_needed; /* for all of the VM state */

    Window windows[WINDOWS];
    uint64_t clock;         /* rises with every use of a window */
    unsigned loading;       /* how many windows are */
    CoroutineQueue changed; /* a window is no longer loading */
};

bool qcow2_check_vmstate(const Qcow2Image *image, const Qcow2Snapshot *snapshot,
                         GError **errp)
{
    const Qcow2Header *header = &image->header;
    uint64_t vm_index = qcow2_snapshot_vm_index(header, snapshot);
    uint64_t needed = div_round_up(snapshot->vm_state_size,
                                   1ULL << qcow2_l1_span_bits(header));

    if (snapshot->vm_state_size == 0) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_INVALID,
                    "snapshot '%s' holds no VM state, only the disk",
                    snapshot->name);
        return false;
    }
    if (snapshot->l1_size > QCOW2_MAX_L1_ENTRIES ||
        !is_aligned(snapshot->l1_table_offset, qcow2_cluster_size(header)) ||
        !range_within(snapshot->l1_table_offset,
                      snapshot->l1_size * sizeof(uint64_t), image->file_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "impossible L1 table of snapshot '%s': %u entries at "
                    "0x%" PRIx64,
                    snapshot->name, snapshot->l1_size,
                    snapshot->l1_table_offset);
        return false;
    }
    if (!range_within(vm_index, needed, snapshot->l1_size)) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_DAMAGED,
                    "the L1 table of snapshot '%s' with %u entries cannot map "
                    "%" PRIu64 " bytes of VM state",
                    snapshot->name, snapshot->l1_size, snapshot->vm_state_size);
        return false;
    }
    return true;
}

static bool coroutine_fn read_l1(Qcow2VmstateMap *map,
                                 const Qcow2Snapshot *snapshot, GError **errp)
{
    const Qcow2Header *header = &map->image->header;
    uint64_t vm_index = qcow2_snapshot_vm_index(header, snapshot);
    uint64_t i;

    map->l1 = qcow2_read_table(
        map->image->file,
        snapshot->l1_table_offset + vm_index * sizeof(uint64_t),
        map->l1_entries, "L1 table of the snapshot", errp);
    if (!map->l1) {
        return false;
    }
    for (i = 0; i < map->l1_entries; i++) {
        if (!qcow2_l1_entry_decode(map->image, map->l1[i], vm_index + i,
                                   &map->l1[i], errp)) {
            return false;
        }
    }
    return true;
}

/* Where the last cluster of an L2 table ends, bytes from the table's begin. */
static bool coroutine_fn find_last(const Qcow2VmstateMap *map, uint64_t table,
                                   uint64_t *end, GError **errp)
{
    const Qcow2Header *header = &map->image->header;
    uint64_t words = qcow2_l2_entries(header) * qcow2_l2_entry_words(header);
    uint64_t *entries = qcow2_read_table(map->image->file, map->l1[table],
                                         words, "L2 table", errp);

    if (!entries) {
        return false;
    }
    while (words > 0 && entries[words - 1] == 0) {
        words--;
    }
    free(entries);
    *end = div_round_up(words, qcow2_l2_entry_words(header))
           << header->cluster_bits;
    return true;
}

/*
 * Let the map end with the last cluster, or later if many empty tables follow.
 */
static bool coroutine_fn find_end(Qcow2VmstateMap *map, GError **errp)
{
    unsigned span_bits = qcow2_l1_span_bits(&map->image->header);
    uint64_t table = map->l1_entries;
    unsigned looked_at = 0;
    uint64_t end = 0;

    while (table > 0 && end == 0) {
        table--;
        if (map->l1[table] == 0) {
            continue;
        }
        if (looked_at++ == LAST_TABLES) {
            end = 1ULL << span_bits;
        } else if (!find_last(map, table, &end, errp)) {
            return false;
        }
    }
    if (end > 0) {
        map->bytes = MAX(map->bytes, (table << span_bits) + end);
    }
    return true;
}

uint64_t qcow2_vmstate_map_bytes(const Qcow2VmstateMap *map)
{
    return map->bytes;
}

/* Read the L1 table, and so know where the map ends. */
static bool coroutine_fn open_tables(Qcow2VmstateMap *map,
                                     const Qcow2Snapshot *snapshot, bool whole,
                                     GError **errp)
{
    const Qcow2Header *header = &map->image->header;

    map->bytes = snapshot->vm_state_size;
    map->l1_entries =
        whole ? snapshot->l1_size - qcow2_snapshot_vm_index(header, snapshot)
              : div_round_up(map->bytes, 1ULL << qcow2_l1_span_bits(header));
    if (!read_l1(map, snapshot, errp) || (whole && !find_end(map, errp))) {
        return false;
    }
    map->windows_needed = div_round_up(
        qcow2_bytes_to_clusters(header, map->bytes), map->window_entries);
    return true;
}

Qcow2VmstateMap *coroutine_fn qcow2_vmstate_map_open(
    const Qcow2Image *image, const Qcow2Snapshot *snapshot, bool whole,
    GError **errp)
{
    Qcow2VmstateMap *map;
    unsigned i;

    if (!qcow2_check_vmstate(image, snapshot, errp)) {
        return NULL;
    }
    map = g_new0(Qcow2VmstateMap, 1);
    map->image = image;
    map->window_entries = WINDOW_WORDS / qcow2_l2_entry_words(&image->header);
    for (i = 0; i < WINDOWS; i++) {
        map->windows[i].map = map;
    }
    if (!open_tables(map, snapshot, whole, errp)) {
        qcow2_vmstate_map_close(map);
        return NULL;
    }
    return map;
}

void coroutine_fn qcow2_vmstate_map_close(Qcow2VmstateMap *map)
{
    unsigned i;

    if (!map) {
        return;
    }
    while (map->loading > 0) {
        coroutine_queue_wait(&map->changed);
    }
    for (i = 0; i < WINDOWS; i++) {
        free(map->windows[i].entries);
    }
    free(map->l1);
    g_free(map);
}

static Window *find_window(Qcow2VmstateMap *map, uint64_t number)
{
    unsigned i;

    for (i = 0; i < WINDOWS; i++) {
        Window *window = &map->windows[i];

        if (window->state != WINDOW_EMPTY && window->number == number) {
            return window;
        }
    }
    return NULL;
}

/* An empty one, else that which was used least recently, else NULL. */
static Window *window_to_give_up(Qcow2VmstateMap *map)
{
    Window *oldest = NULL;
    unsigned i;

    for (i = 0; i < WINDOWS; i++) {
        Window *window = &map->windows[i];

        if (window->state == WINDOW_EMPTY) {
            return window;
        }
        if (window->state == WINDOW_READY &&
            (!oldest || window->last_used < oldest->last_used)) {
            oldest = window;
        }
    }
    return oldest;
}

/* To be loaded by the caller. Returns 0 or a negative errno. */
static int begin_loading(Qcow2VmstateMap *map, Window *window, uint64_t number)
{
    if (!window->entries) {
        window->entries =
            block_file_alloc_buffer(WINDOW_WORDS * sizeof(uint64_t));
    }
    if (!window->entries) {
        return -ENOMEM;
    }
    window->state = WINDOW_LOADING;
    window->number = number;
    window->last_used = ++map->clock;
    window->next_asked = false;
    map->loading++;
    return 0;
}

/*
 * Ask @group for the tables of @window, or for the part of one. Where there is
 * no table all entries are unallocated.
 */
static void coroutine_fn add_tables(Window *window, Qcow2ReadGroup *group)
{
    const Qcow2VmstateMap *map = window->map;
    const Qcow2Header *header = &map->image->header;
    uint64_t l2_entries = qcow2_l2_entries(header);
    uint64_t entry_bytes = qcow2_l2_entry_bytes(header);
    uint64_t part = MIN(l2_entries, map->window_entries);
    uint64_t first = window->number * map->window_entries;
    uint64_t i;

    for (i = 0; i < map->window_entries; i += part) {
        uint64_t table = (first + i) / l2_entries;
        uint64_t within = (first + i) % l2_entries;
        uint64_t *to = window->entries + i * qcow2_l2_entry_words(header);

        if (table >= map->l1_entries) {
            break;
        }
        if (map->l1[table] == 0) {
            memset(to, 0, part * entry_bytes);
        } else {
            qcow2_read_group_add(group, map->l1[table] + within * entry_bytes,
                                 to, part * entry_bytes);
        }
    }
}

/* Of a window that is loading; afterwards it is ready, or empty on failure. */
static bool coroutine_fn load(Window *window, GError **errp)
{
    Qcow2VmstateMap *map = window->map;
    Qcow2ReadGroup group = { .file = map->image->file };
    int ret;

    add_tables(window, &group);
    ret = qcow2_read_group_finish(&group);
    if (ret < 0) {
        snap_error_set_errno(errp, ret,
                             "cannot read the L2 table at 0x%" PRIx64,
                             group.error_offset);
    }
    window->state = ret < 0 ? WINDOW_EMPTY : WINDOW_READY;
    map->loading--;
    coroutine_queue_wake_all(&map->changed);
    return ret == 0;
}

static void coroutine_fn fetch_ahead_entry(void *opaque)
{
    (void)load(opaque, NULL);
}

/* Once for each time that @window is loaded, or random reads would go wild. */
static void fetch_ahead(Window *window)
{
    Qcow2VmstateMap *map = window->map;
    uint64_t next = window->number + 1;
    Window *other;

    if (window->next_asked) {
        return;
    }
    window->next_asked = true;
    if (next >= map->windows_needed || find_window(map, next)) {
        return;
    }
    other = window_to_give_up(map);
    if (other && begin_loading(map, other, next) == 0) {
        event_loop_start(fetch_ahead_entry, other);
    }
}

static bool coroutine_fn load_for_use(Qcow2VmstateMap *map, Window *window,
                                      uint64_t number, GError **errp)
{
    int ret = begin_loading(map, window, number);

    if (ret < 0) {
        snap_error_set_errno(errp, ret, "L2 tables");
        return false;
    }
    fetch_ahead(window);
    return load(window, errp);
}

/* The window, ready, or NULL. */
static Window *coroutine_fn get_window(Qcow2VmstateMap *map, uint64_t number,
                                       GError **errp)
{
    Window *window;

    while (!(window = find_window(map, number)) ||
           window->state != WINDOW_READY) {
        Window *place = window ? NULL : window_to_give_up(map);

        if (place) {
            if (!load_for_use(map, place, number, errp)) {
                return NULL;
            }
        } else {
            if (window) {
                fetch_ahead(window);
            }
            coroutine_queue_wait(&map->changed);
        }
    }
    return window;
}

/* An entry of the VM state. */
static bool coroutine_fn get_entry(Qcow2VmstateMap *map, uint64_t index,
                                   Qcow2L2Entry *entry, GError **errp)
{
    Window *window = get_window(map, index / map->window_entries, errp);

    if (!window) {
        return false;
    }
    window->last_used = ++map->clock;
    *entry = qcow2_l2_entry_load(&map->image->header, window->entries,
                                 index % map->window_entries);
    fetch_ahead(window);
    return true;
}

bool coroutine_fn qcow2_vmstate_map_find(Qcow2VmstateMap *map,
                                         uint64_t position,
                                         Qcow2Cluster *cluster, GError **errp)
{
    uint64_t index = position >> map->image->header.cluster_bits;
    Qcow2L2Entry entry;

    if (!get_entry(map, index, &entry, errp)) {
        return false;
    }
    if (!qcow2_l2_entry_decode(map->image, entry, index, cluster, errp)) {
        g_prefix_error(errp, "VM state position %" PRIu64 ": ", position);
        return false;
    }
    return true;
}
