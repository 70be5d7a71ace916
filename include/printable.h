/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Text from an image or a stream, made fit for a terminal and for one line.
 */
#ifndef PRINTABLE_H
#define PRINTABLE_H

/*
 * @text with every control character (of ASCII, and the second set that UTF-8
 * writes as c2 80 to c2 9f) as \xNN: they could do anything to a terminal,
 * and a line end would begin a new message. All else stays as it is. Free it.
 */
char *printable(const char *text);

/*
 * The same for @json, a whole value that is valid: what JSON lets pass inside
 * strings, DEL and the second set, as \u00NN, so that it means the same. Free
 * it.
 */
char *printable_json(const char *json);

#endif /* PRINTABLE_H */
