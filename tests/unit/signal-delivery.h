/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * Sending a signal to ourselves, for tests of those who listen to signals.
 */
#ifndef SIGNAL_DELIVERY_H
#define SIGNAL_DELIVERY_H

/*
 * Send the signal and turn the default main context until everybody who
 * listens with g_unix_signal_add() has heard it. Uses SIGUSR2 along the way.
 */
void signal_deliver(int number);

#endif /* SIGNAL_DELIVERY_H */
