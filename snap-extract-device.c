/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * extract --device: what the stream has of one device, between the header and
 * the footer of its section.
 */
#include "snap-devices.h"
#include "snap-error.h"
#include "snap-extract.h"

bool snap_extract_device(const SnapExtract *extract, SnapLayout *layout,
                         GError **errp)
{
    const char *text = extract->options->device;
    const MigrationSection *section =
        snap_find_device(stream_index_info(extract->state.index), text, errp);

    if (!section) {
        return false;
    }
    if (section->payload_bytes == 0 && !section->delimited) {
        g_set_error(errp, SNAP_ERROR, SNAP_ERROR_UNSUPPORTED,
                    "where the state of device '%s' ends is not known", text);
        return false;
    }
    snap_layout_add_stream(layout, 0, section->payload_offset,
                           section->payload_bytes);
    return true;
}
