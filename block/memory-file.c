/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * A block file in memory, so that tests see every single operation and decide
 * how it ends.
 *
 * An operation goes through: asked for (it is decided here whether it fails)
 * -> waiting in coroutine_yield() -> done, all of it at once. Content and
 * record change together at the last step, so the record is the history of the
 * content. That a write takes its bytes only then is on purpose: a caller who
 * reuses a buffer too early is found out.
 */
#include <errno.h>

#include "checked.h"
#include "event-loop.h"
#include "io-vector.h"
#include "memory-file.h"

/* A wild offset shall give an error and not take the machine's memory. */
#define MEMORY_FILE_MAX ((uint64_t)1 << 30)

/* More than a coroutine takes from one request to the next. */
#define MEMORY_FILE_QUIET_TURNS 8

typedef struct MemoryFileFailure {
    int countdown; /* 1: the next one; 0: never; negative: always */
    int error;
} MemoryFileFailure;

typedef struct MemoryFile {
    BlockFile file;
    GByteArray *content;
    GArray *records; /* of MemoryFileRecord */
    MemoryFileFailure failures[MEMORY_FILE_OPS];
    unsigned in_flight;
    unsigned most_in_flight; /* since the last reset of the records */
    unsigned window;         /* at most 1: nothing is held */
    GPtrArray *held;         /* of Coroutine, oldest first */
    uint64_t limit;          /* bytes; 0: none but MEMORY_FILE_MAX */
    size_t registered_bytes;
    unsigned registrations;

    /* Lets go of @held when there is no window's full. */
    guint watch_id;       /* source, or 0 */
    unsigned held_before; /* in the turn before */
    unsigned quiet_turns; /* since there came one more */
} MemoryFile;

static MemoryFile *memory_file_from(BlockFile *file)
{
    return (MemoryFile *)file;
}

static void memory_content_resize(GByteArray *content, size_t bytes)
{
    size_t before = content->len;

    g_byte_array_set_size(content, bytes);
    if (bytes > before) {
        memset(content->data + before, 0, bytes - before);
    }
}

static void memory_content_reserve(GByteArray *content, size_t bytes)
{
    if (bytes > content->len) {
        memory_content_resize(content, bytes);
    }
}

static void memory_content_apply(GByteArray *content,
                                 const MemoryFileRecord *record)
{
    switch (record->op) {
    case MEMORY_FILE_WRITE:
        memory_content_reserve(content, record->offset + record->bytes);
        memcpy(content->data + record->offset,
               g_bytes_get_data(record->data, NULL), record->bytes);
        break;
    case MEMORY_FILE_TRUNCATE:
        memory_content_resize(content, record->offset);
        break;
    case MEMORY_FILE_ALLOCATE:
        memory_content_reserve(content, record->offset + record->bytes);
        break;
    case MEMORY_FILE_DISCARD:
        if ((uint64_t)record->offset < content->len) {
            memset(content->data + record->offset, 0,
                   MIN((uint64_t)record->bytes,
                       content->len - (uint64_t)record->offset));
        }
        break;
    case MEMORY_FILE_READ:
    case MEMORY_FILE_FLUSH:
        break;
    case MEMORY_FILE_OPS:
        g_assert_not_reached();
    }
}

static void memory_file_release(MemoryFile *memory)
{
    while (memory->held->len > 0) {
        event_loop_wake(
            g_ptr_array_steal_index(memory->held, memory->held->len - 1));
    }
}

/* Runs once in each turn of the event loop while requests are held. */
static gboolean memory_file_watch_held(void *opaque)
{
    MemoryFile *memory = opaque;

    if (memory->held->len != memory->held_before) {
        memory->held_before = memory->held->len;
        memory->quiet_turns = 0;
    } else if (++memory->quiet_turns >= MEMORY_FILE_QUIET_TURNS) {
        memory_file_release(memory);
    }
    if (memory->held->len > 0) {
        return G_SOURCE_CONTINUE;
    }
    memory->watch_id = 0;
    return G_SOURCE_REMOVE;
}

/*
 * Of the same priority as everything else: a coroutine that turns the loop
 * until its requests are done must not keep them from being let go.
 */
static void memory_file_watch(MemoryFile *memory)
{
    if (memory->watch_id == 0) {
        memory->held_before = 0;
        memory->watch_id = g_idle_add_full(
            G_PRIORITY_DEFAULT, memory_file_watch_held, memory, NULL);
    }
}

/* Until this operation is let go, be it one turn of the loop. */
static void coroutine_fn memory_file_wait(MemoryFile *memory, MemoryFileOp op)
{
    bool is_transfer = op == MEMORY_FILE_READ || op == MEMORY_FILE_WRITE;

    if (!is_transfer || memory->window <= 1) {
        event_loop_wake(coroutine_self());
    } else {
        g_ptr_array_add(memory->held, coroutine_self());
        if (memory->held->len >= memory->window) {
            memory_file_release(memory);
        }
        memory_file_watch(memory);
    }
    coroutine_yield();
}

/* Does this operation fail? Returns 0 or a negative errno. */
static int memory_file_verdict(MemoryFile *memory, MemoryFileOp op)
{
    MemoryFileFailure *failure = &memory->failures[op];

    if (failure->countdown < 0) {
        return failure->error;
    }
    if (failure->countdown > 0 && --failure->countdown == 0) {
        return failure->error;
    }
    return 0;
}

/* All of an operation up to the moment when it takes effect. */
static int coroutine_fn memory_file_operate(MemoryFile *memory, MemoryFileOp op)
{
    int ret = memory_file_verdict(memory, op);

    memory->in_flight++;
    memory->most_in_flight = MAX(memory->most_in_flight, memory->in_flight);
    memory_file_wait(memory, op);
    memory->in_flight--;
    return ret;
}

/* Can the file have these bytes? Returns 0 or a negative errno. */
static int memory_file_check_room(const MemoryFile *memory, uint64_t offset,
                                  uint64_t bytes)
{
    if (!range_within(offset, bytes, MEMORY_FILE_MAX)) {
        return -EFBIG;
    }
    if (memory->limit &&
        offset + bytes > MAX(memory->limit, memory->content->len)) {
        return -ENOSPC;
    }
    return 0;
}

/* Takes over @record.data. */
static void memory_file_commit(MemoryFile *memory, MemoryFileRecord record)
{
    memory_content_apply(memory->content, &record);
    g_array_append_val(memory->records, record);
}

static int coroutine_fn memory_file_preadv(BlockFile *file, int64_t offset,
                                           const struct iovec *iov, int iovcnt)
{
    MemoryFile *memory = memory_file_from(file);
    MemoryFileRecord record = { .op = MEMORY_FILE_READ, .offset = offset };
    uint64_t bytes = io_vector_bytes(iov, iovcnt);
    uint64_t size;
    size_t present = 0;
    int ret;

    ret = memory_file_operate(memory, MEMORY_FILE_READ);
    if (ret < 0) {
        return ret;
    }
    size = memory->content->len;
    if ((uint64_t)offset < size) {
        present = MIN(bytes, size - offset);
        io_vector_copy_to(iov, 0, memory->content->data + offset, present);
    }
    io_vector_zero_from(iov, iovcnt, present);
    record.bytes = bytes;
    memory_file_commit(memory, record);
    return 0;
}

static int coroutine_fn memory_file_pwritev(BlockFile *file, int64_t offset,
                                            const struct iovec *iov, int iovcnt)
{
    MemoryFile *memory = memory_file_from(file);
    MemoryFileRecord record = { .op = MEMORY_FILE_WRITE, .offset = offset };
    uint64_t bytes = io_vector_bytes(iov, iovcnt);
    void *data;
    int ret;

    ret = memory_file_operate(memory, MEMORY_FILE_WRITE);
    if (ret == 0) {
        ret = memory_file_check_room(memory, offset, bytes);
    }
    if (ret < 0) {
        return ret;
    }
    data = g_malloc(bytes);
    io_vector_copy_from(iov, 0, data, bytes);
    record.bytes = bytes;
    record.data = g_bytes_new_take(data, bytes);
    memory_file_commit(memory, record);
    return 0;
}

/* For the record it is a write. */
static int coroutine_fn memory_file_clone(BlockFile *file, int64_t offset,
                                          BlockFile *source,
                                          int64_t source_offset, int64_t bytes)
{
    const MemoryFile *from = memory_file_from(source);
    struct iovec iov = { .iov_len = bytes };

    if (!range_within(source_offset, bytes, from->content->len)) {
        return -EINVAL;
    }
    iov.iov_base = from->content->data + source_offset;
    return memory_file_pwritev(file, offset, &iov, 1);
}

static int coroutine_fn memory_file_flush(BlockFile *file)
{
    MemoryFile *memory = memory_file_from(file);
    int ret = memory_file_operate(memory, MEMORY_FILE_FLUSH);

    if (ret == 0) {
        memory_file_commit(memory,
                           (MemoryFileRecord){ .op = MEMORY_FILE_FLUSH });
    }
    return ret;
}

static int64_t memory_file_size(BlockFile *file)
{
    return memory_file_from(file)->content->len;
}

static int coroutine_fn memory_file_truncate(BlockFile *file, int64_t size)
{
    MemoryFile *memory = memory_file_from(file);
    int ret = memory_file_operate(memory, MEMORY_FILE_TRUNCATE);

    if (ret == 0) {
        ret = memory_file_check_room(memory, size, 0);
    }
    if (ret < 0) {
        return ret;
    }
    memory_file_commit(memory, (MemoryFileRecord){ .op = MEMORY_FILE_TRUNCATE,
                                                   .offset = size });
    return 0;
}

static int coroutine_fn memory_file_allocate(BlockFile *file, int64_t offset,
                                             int64_t bytes)
{
    MemoryFile *memory = memory_file_from(file);
    int ret = memory_file_operate(memory, MEMORY_FILE_ALLOCATE);

    if (ret == 0) {
        ret = memory_file_check_room(memory, offset, bytes);
    }
    if (ret < 0) {
        return ret;
    }
    memory_file_commit(memory, (MemoryFileRecord){ .op = MEMORY_FILE_ALLOCATE,
                                                   .offset = offset,
                                                   .bytes = bytes });
    return 0;
}

static int coroutine_fn memory_file_discard(BlockFile *file, int64_t offset,
                                            int64_t bytes)
{
    MemoryFile *memory = memory_file_from(file);
    int ret = memory_file_operate(memory, MEMORY_FILE_DISCARD);

    if (ret == 0) {
        memory_file_commit(memory,
                           (MemoryFileRecord){ .op = MEMORY_FILE_DISCARD,
                                               .offset = offset,
                                               .bytes = bytes });
    }
    return ret;
}

/* Nobody else can know of this file. */
static bool memory_file_lock(BlockFile *file, BlockFileLock lock, GError **errp)
{
    return true;
}

/* Of no use here, but a caller can be checked. */
static void memory_file_register_buffers(BlockFile *file, void *buffers,
                                         size_t bytes)
{
    MemoryFile *memory = memory_file_from(file);

    g_assert(memory->registered_bytes == 0);
    memory->registered_bytes = bytes;
    memory->registrations++;
}

static void memory_file_unregister_buffers(BlockFile *file)
{
    MemoryFile *memory = memory_file_from(file);

    g_assert(memory->in_flight == 0);
    memory->registered_bytes = 0;
}

static void memory_file_close(BlockFile *file)
{
    MemoryFile *memory = memory_file_from(file);

    g_assert(memory->in_flight == 0);
    if (memory->watch_id) {
        g_source_remove(memory->watch_id);
    }
    g_ptr_array_free(memory->held, TRUE);
    g_array_free(memory->records, TRUE);
    g_byte_array_free(memory->content, TRUE);
    g_free(memory);
}

static const BlockFileOps memory_file_ops = {
    .preadv = memory_file_preadv,
    .pwritev = memory_file_pwritev,
    .flush = memory_file_flush,
    .size = memory_file_size,
    .truncate = memory_file_truncate,
    .allocate = memory_file_allocate,
    .discard = memory_file_discard,
    .clone = memory_file_clone,
    .lock = memory_file_lock,
    .register_buffers = memory_file_register_buffers,
    .unregister_buffers = memory_file_unregister_buffers,
    .close = memory_file_close,
};

static void memory_file_record_clear(void *opaque)
{
    MemoryFileRecord *record = opaque;

    g_clear_pointer(&record->data, g_bytes_unref);
}

BlockFile *memory_file_new(void)
{
    return memory_file_new_from(NULL, 0);
}

BlockFile *memory_file_new_from(const void *content, size_t bytes)
{
    MemoryFile *memory = g_new0(MemoryFile, 1);

    g_assert(bytes <= MEMORY_FILE_MAX);
    memory->file.ops = &memory_file_ops;
    memory->file.alignment = 1;
    memory->file.writable = true;
    memory->content = g_byte_array_new();
    g_byte_array_append(memory->content, content, bytes);
    memory->records = g_array_new(FALSE, FALSE, sizeof(MemoryFileRecord));
    g_array_set_clear_func(memory->records, memory_file_record_clear);
    memory->held = g_ptr_array_new();
    return &memory->file;
}

const uint8_t *memory_file_content(BlockFile *file, size_t *bytes)
{
    MemoryFile *memory = memory_file_from(file);

    *bytes = memory->content->len;
    return memory->content->data;
}

const MemoryFileRecord *memory_file_records(BlockFile *file, size_t *count)
{
    MemoryFile *memory = memory_file_from(file);

    *count = memory->records->len;
    return (const MemoryFileRecord *)memory->records->data;
}

void memory_file_reset_records(BlockFile *file)
{
    MemoryFile *memory = memory_file_from(file);

    g_array_set_size(memory->records, 0);
    memory->most_in_flight = memory->in_flight;
}

unsigned memory_file_most_in_flight(BlockFile *file)
{
    return memory_file_from(file)->most_in_flight;
}

size_t memory_file_count(BlockFile *file, MemoryFileOp op)
{
    size_t records;
    const MemoryFileRecord *record = memory_file_records(file, &records);
    size_t count = 0;

    for (size_t i = 0; i < records; i++) {
        count += record[i].op == op;
    }
    return count;
}

void memory_file_fail(BlockFile *file, MemoryFileOp op, int nth, int error)
{
    MemoryFileFailure *failure = &memory_file_from(file)->failures[op];

    g_assert(error < 0 || nth == 0);
    failure->countdown = nth;
    failure->error = error;
}

void memory_file_limit(BlockFile *file, uint64_t bytes)
{
    memory_file_from(file)->limit = bytes;
}

size_t memory_file_registered_bytes(BlockFile *file)
{
    return memory_file_from(file)->registered_bytes;
}

unsigned memory_file_registrations(BlockFile *file)
{
    return memory_file_from(file)->registrations;
}

void memory_file_shuffle(BlockFile *file, unsigned window)
{
    memory_file_from(file)->window = window;
}

GByteArray *memory_file_replay(const void *base, size_t base_bytes,
                               const MemoryFileRecord *records, size_t count)
{
    GByteArray *content = g_byte_array_new();

    g_byte_array_append(content, base, base_bytes);
    for (size_t i = 0; i < count; i++) {
        memory_content_apply(content, &records[i]);
    }
    return content;
}
