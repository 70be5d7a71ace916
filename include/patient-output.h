/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Standard output that waits. Whoever started us may have made it non-blocking,
 * and stdio then loses what does not fit at once: a long table would end in its
 * midst. The flag is not ours to take away: it is the other side's, too.
 */
#ifndef PATIENT_OUTPUT_H
#define PATIENT_OUTPUT_H

/*
 * Let stdout wait as long as its descriptor is non-blocking and full. To be
 * called before anything is printed; does nothing where it is not needed.
 */
void patient_output_init(void);

#endif /* PATIENT_OUTPUT_H */
