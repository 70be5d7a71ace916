/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * QEMU's image locking protocol, as QEMU and its tools speak it since 2.10.
 *
 * Every permission has two bytes in the file's lock space, far from any
 * meaning as data: one says "I use it", the other "nobody else may". Only read
 * locks are taken, so holders never collide with one another; a collision of
 * intentions is found by asking whether somebody holds the opposite byte.
 *
 * Everybody takes first and tests second. Of two that come at the same time at
 * least one sees the other; both may, and then both give way.
 *
 * Locks that are taken without open file description semantics vanish when any
 * descriptor of the file is closed. Where the kernel has no better ones we
 * take none, as QEMU does by default.
 */
#include <errno.h>
#include <fcntl.h>

#include "image-lock.h"
#include "snap-error.h"

typedef enum ImagePermission {
    IMAGE_PERMISSION_CONSISTENT_READ,
    IMAGE_PERMISSION_WRITE,
    IMAGE_PERMISSION_WRITE_UNCHANGED,
    IMAGE_PERMISSION_RESIZE,
    IMAGE_PERMISSIONS,
} ImagePermission;

#define IMAGE_LOCK_USED_BASE      100
#define IMAGE_LOCK_FORBIDDEN_BASE 200

/* QEMU's words; they occur in its messages. */
static const char *const image_permission_names[IMAGE_PERMISSIONS] = {
    [IMAGE_PERMISSION_CONSISTENT_READ] = "consistent read",
    [IMAGE_PERMISSION_WRITE] = "write",
    [IMAGE_PERMISSION_WRITE_UNCHANGED] = "write unchanged",
    [IMAGE_PERMISSION_RESIZE] = "resize",
};

/*
 * A set of lock bytes, as bits. Those of the second group, "nobody else may",
 * are above those of the first.
 */
typedef unsigned ImageLockSet;

#define IMAGE_LOCK_USE(permission)    (1u << (permission))
#define IMAGE_LOCK_FORBID(permission) (1u << (IMAGE_PERMISSIONS + (permission)))
#define IMAGE_LOCK_BYTES              (2 * IMAGE_PERMISSIONS)

/*
 * "Consistent read" is never forbidden, not even by a writer: the source of a
 * migration still uses it while the stream that it has sent is being saved.
 */
static const ImageLockSet image_lock_sets[] = {
    [BLOCK_FILE_LOCK_NONE] = 0,
    [BLOCK_FILE_LOCK_READ] = IMAGE_LOCK_USE(IMAGE_PERMISSION_CONSISTENT_READ) |
                             IMAGE_LOCK_FORBID(IMAGE_PERMISSION_WRITE) |
                             IMAGE_LOCK_FORBID(IMAGE_PERMISSION_RESIZE),
    [BLOCK_FILE_LOCK_WRITE] = IMAGE_LOCK_USE(IMAGE_PERMISSION_CONSISTENT_READ) |
                              IMAGE_LOCK_USE(IMAGE_PERMISSION_WRITE) |
                              IMAGE_LOCK_USE(IMAGE_PERMISSION_RESIZE) |
                              IMAGE_LOCK_FORBID(IMAGE_PERMISSION_WRITE) |
                              IMAGE_LOCK_FORBID(IMAGE_PERMISSION_RESIZE),
};

/* Where bit @bit of a set is in the file. */
static int image_lock_position(int bit)
{
    return bit < IMAGE_PERMISSIONS
               ? IMAGE_LOCK_USED_BASE + bit
               : IMAGE_LOCK_FORBIDDEN_BASE + bit - IMAGE_PERMISSIONS;
}

/* Returns 0 or a negative errno. */
static int image_lock_byte(int fd, int byte, short type)
{
    struct flock lock = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = byte,
        .l_len = 1,
    };

    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/*
 * Does anybody else hold @byte? A test for a write lock finds read locks, and
 * is allowed on a descriptor that cannot write. Returns a negative errno when
 * the question cannot be asked.
 */
static int image_lock_byte_is_held(int fd, int byte)
{
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = byte,
        .l_len = 1,
    };

    if (fcntl(fd, F_OFD_GETLK, &lock) < 0) {
        return -errno;
    }
    return lock.l_type != F_UNLCK;
}

/* Returns 0, or a negative errno and *@byte, where it happened. */
static int image_lock_acquire(int fd, ImageLockSet set, int *byte)
{
    for (int bit = 0; bit < IMAGE_LOCK_BYTES; bit++) {
        if (set & 1u << bit) {
            int ret;

            *byte = image_lock_position(bit);
            ret = image_lock_byte(fd, *byte, F_RDLCK);
            if (ret < 0) {
                return ret;
            }
        }
    }
    return 0;
}

/* What is not locked may be unlocked, and there is no remedy for a failure. */
static void image_lock_release(int fd, ImageLockSet set)
{
    for (int bit = 0; bit < IMAGE_LOCK_BYTES; bit++) {
        if (set & 1u << bit) {
            image_lock_byte(fd, image_lock_position(bit), F_UNLCK);
        }
    }
}

static void image_lock_set_conflict(GError **errp, const char *what,
                                    ImagePermission permission)
{
    g_set_error(errp, SNAP_ERROR, SNAP_ERROR_LOCKED,
                "Failed to get %s\"%s\" lock (is another process using the "
                "image?)",
                what, image_permission_names[permission]);
}

/* Tests @byte on behalf of @permission; @what is "" or "shared ". */
static bool image_lock_test_byte(int fd, int byte, const char *what,
                                 ImagePermission permission, GError **errp)
{
    int held = image_lock_byte_is_held(fd, byte);

    if (held < 0) {
        snap_error_set_errno(errp, held, "Failed to test the lock of byte %d",
                             byte);
    } else if (held) {
        image_lock_set_conflict(errp, what, permission);
    }
    return held == 0;
}

/*
 * The order is QEMU's and decides which permission an error names: first what
 * others forbid, then what they use.
 */
static bool image_lock_test(int fd, ImageLockSet set, GError **errp)
{
    for (int i = 0; i < IMAGE_PERMISSIONS; i++) {
        if ((set & IMAGE_LOCK_USE(i)) &&
            !image_lock_test_byte(fd, IMAGE_LOCK_FORBIDDEN_BASE + i, "", i,
                                  errp)) {
            return false;
        }
    }
    for (int i = 0; i < IMAGE_PERMISSIONS; i++) {
        if ((set & IMAGE_LOCK_FORBID(i)) &&
            !image_lock_test_byte(fd, IMAGE_LOCK_USED_BASE + i, "shared ", i,
                                  errp)) {
            return false;
        }
    }
    return true;
}

static void image_lock_set_refused(GError **errp, int error, int byte)
{
    if (error == -EAGAIN || error == -EACCES) {
        /* Somebody has a write lock there, which QEMU never takes. */
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_LOCKED,
                    "Failed to lock byte %d (is another process using the "
                    "image?)",
                    byte);
    } else {
        snap_error_set_errno(errp, error, "Failed to lock byte %d", byte);
    }
}

bool image_lock_change(int fd, BlockFileLock from, BlockFileLock to,
                       GError **errp)
{
    ImageLockSet held = image_lock_sets[from];
    ImageLockSet wanted = image_lock_sets[to];
    ImageLockSet more = wanted & ~held;
    int byte;
    int ret;

    /* Giving up what we have cannot conflict with anybody. */
    if (more) {
        ret = image_lock_acquire(fd, more, &byte);
        if (ret == -EINVAL) {
            /* A kernel without open file description locks. */
            return true;
        }
        if (ret < 0) {
            image_lock_set_refused(errp, ret, byte);
            image_lock_release(fd, more);
            return false;
        }
        if (!image_lock_test(fd, wanted, errp)) {
            image_lock_release(fd, more);
            return false;
        }
    }
    image_lock_release(fd, held & ~wanted);
    return true;
}
