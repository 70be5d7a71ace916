/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Arithmetic and copying on vectors of buffers. That a vector is long enough
 * has been checked by whoever took the request.
 */
#include <string.h>
#include <glib.h>

#include "checked.h"
#include "io-vector.h"

bool io_vector_is_valid(const struct iovec *iov, int iovcnt)
{
    uint64_t sum = 0;

    for (int i = 0; i < iovcnt; i++) {
        if (!checked_add(sum, iov[i].iov_len, &sum)) {
            return false;
        }
    }
    return iovcnt >= 0;
}

uint64_t io_vector_bytes(const struct iovec *iov, int iovcnt)
{
    uint64_t sum = 0;

    for (int i = 0; i < iovcnt; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

bool io_vector_is_aligned(const struct iovec *iov, int iovcnt, size_t alignment)
{
    for (int i = 0; i < iovcnt; i++) {
        if (!is_aligned((uintptr_t)iov[i].iov_base, alignment) ||
            !is_aligned(iov[i].iov_len, alignment)) {
            return false;
        }
    }
    return true;
}

/* Leaves out the elements that end within the first *@skip bytes. */
static const struct iovec *io_vector_seek(const struct iovec *iov, size_t *skip)
{
    while (*skip >= iov->iov_len) {
        *skip -= iov->iov_len;
        iov++;
    }
    return iov;
}

void io_vector_copy_from(const struct iovec *iov, size_t skip, void *buffer,
                         size_t bytes)
{
    char *to = buffer;

    while (bytes > 0) {
        size_t part;

        iov = io_vector_seek(iov, &skip);
        part = MIN(bytes, iov->iov_len - skip);
        memcpy(to, (char *)iov->iov_base + skip, part);
        to += part;
        bytes -= part;
        skip += part;
    }
}

void io_vector_copy_to(const struct iovec *iov, size_t skip, const void *buffer,
                       size_t bytes)
{
    const char *from = buffer;

    while (bytes > 0) {
        size_t part;

        iov = io_vector_seek(iov, &skip);
        part = MIN(bytes, iov->iov_len - skip);
        memcpy((char *)iov->iov_base + skip, from, part);
        from += part;
        bytes -= part;
        skip += part;
    }
}

void io_vector_zero_from(const struct iovec *iov, int iovcnt, size_t skip)
{
    for (int i = 0; i < iovcnt; i++) {
        size_t kept = MIN(skip, iov[i].iov_len);

        if (kept < iov[i].iov_len) {
            memset((char *)iov[i].iov_base + kept, 0, iov[i].iov_len - kept);
        }
        skip -= kept;
    }
}

struct iovec *io_vector_slice(const struct iovec *iov, size_t skip,
                              uint64_t bytes, int *count)
{
    const struct iovec *first = io_vector_seek(iov, &skip);
    const struct iovec *end = first;
    uint64_t present = 0;
    struct iovec *slice;

    while (present < skip + bytes) {
        present += end->iov_len;
        end++;
    }
    *count = end - first;
    slice = g_memdup2(first, *count * sizeof(*slice));
    slice[*count - 1].iov_len -= present - (skip + bytes);
    slice[0].iov_base = (char *)slice[0].iov_base + skip;
    slice[0].iov_len -= skip;
    return slice;
}

void io_vector_advance(struct iovec **iov, int *iovcnt, size_t bytes)
{
    while (*iovcnt > 0 && bytes >= (*iov)->iov_len) {
        bytes -= (*iov)->iov_len;
        (*iov)++;
        (*iovcnt)--;
    }
    if (bytes > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + bytes;
        (*iov)->iov_len -= bytes;
    }
}
