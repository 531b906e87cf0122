# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port on which the nodes of a swarm gossip; without it a node has no overlay networks.

An engine that leaves a swarm has one second to tell its peers. A single peer takes 0.8 s and more (four rounds of
gossip), and peers that leave at the same time may not be found. After that second the engine gives up and leaves the
port open (moby, libnetwork/networkdb, clusterLeave). It may join again and report itself active, but its gossip can't
start, and its containers reach no others. Only a restart of the engine frees the port.
"""

from __future__ import annotations

import errno
import socket

PORT = 7946
EVERYWHERE = "0.0.0.0"  # noqa: S104 (it is asked about, not listened on)
WAY_OUT = "restart the engine there with 'systemctl restart docker'"


def listens(address: str) -> bool:
    """Whether a program on this host listens on the address; EVERYWHERE stands for any address.

    An address that the host does not have is no error.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        # Connections that have just ended are no listener.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, PORT))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
