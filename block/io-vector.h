/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * What a request needs to know of and do with its vector of buffers.
 */
#ifndef IO_VECTOR_H
#define IO_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Is it one that a request can have: not of negative length, and with a sum
 * that fits into 64 bits? All other functions take this for granted.
 */
bool io_vector_is_valid(const struct iovec *iov, int iovcnt);

/* Sum of the lengths. */
uint64_t io_vector_bytes(const struct iovec *iov, int iovcnt);

/* Are all buffers and all lengths multiples of @alignment (a power of two)? */
bool io_vector_is_aligned(const struct iovec *iov, int iovcnt,
                          size_t alignment);

/*
 * Copy @bytes between @buffer and the vector, whose first @skip bytes are left
 * out. The vector is long enough.
 */
void io_vector_copy_from(const struct iovec *iov, size_t skip, void *buffer,
                         size_t bytes);
void io_vector_copy_to(const struct iovec *iov, size_t skip, const void *buffer,
                       size_t bytes);

/* Fill the vector behind its first @skip bytes with zeros. */
void io_vector_zero_from(const struct iovec *iov, int iovcnt, size_t skip);

/*
 * The part of the vector that begins after @skip bytes and has @bytes, which
 * are more than 0: an array of *@count elements, to be freed with g_free().
 */
struct iovec *io_vector_slice(const struct iovec *iov, size_t skip,
                              uint64_t bytes, int *count);

/* Cut the first @bytes off a vector that is the caller's to change. */
void io_vector_advance(struct iovec **iov, int *iovcnt, size_t bytes);

#endif /* IO_VECTOR_H */
