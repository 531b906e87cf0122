# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a pipe or a socket holds."""

from __future__ import annotations

import fcntl
import os
import socket
import stat

# linux/fcntl.h
F_SETPIPE_SZ = 1031
# For how many bytes a pipe is to have room, at the least and at the most.
PIPE_LEAST, PIPE_MOST = 64 * 1024, 1024 * 1024


def resize(descriptor: int, size: int) -> bool:
    """Give a pipe or a socket room for so many bytes; False where it keeps what it has for now."""
    mode = os.fstat(descriptor).st_mode
    try:
        if stat.S_ISFIFO(mode):
            fcntl.fcntl(descriptor, F_SETPIPE_SZ, size)
        elif stat.S_ISSOCK(mode):
            with socket.socket(fileno=os.dup(descriptor)) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size // 2)  # the kernel doubles it (socket(7))
    except OSError:
        return False
    return True
