# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port over which the nodes of a swarm gossip about who is where; without it a node has no overlay networks.

An engine that leaves a swarm has one second for its last word to its peers. To a single peer the word takes 0.8 s and
more (four rounds of gossip), and where peers leave at the same time it may find nobody. When the second is over, the
engine gives up without closing the port (moby, libnetwork/networkdb, clusterLeave). It may join again and call itself
active, but its gossip can't start, and no container on it reaches any other. Only a restart of the engine frees it.
"""

from __future__ import annotations

import errno
import socket

PORT = 7946
EVERYWHERE = "0.0.0.0"  # noqa: S104 (it is asked about, not listened on)
WAY_OUT = "restart the engine there with 'systemctl restart docker'"


def listens(address: str) -> bool:
    """Whether something on this host listens there, on EVERYWHERE for any address.

    An address that the host does not have is no trouble here.
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
