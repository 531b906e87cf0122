# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ssh that was started."""

from __future__ import annotations

import socket
import subprocess

from buffers import PIPE_MOST, resize
from words import RefusedError


class Session:
    """An ssh with a socket to it and a socket from it.

    A pipe would do, and costs a link a quarter more processor time: its memory comes page by page.
    """

    def __init__(self, command: list[str]) -> None:
        (theirs, sink), (source, back) = socket.socketpair(), socket.socketpair()
        with theirs, back:
            resize(back.fileno(), PIPE_MOST)
            try:
                self.process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=back.fileno())
            except OSError as error:
                sink.close()
                source.close()
                raise RefusedError(f"{command[0]} can't be started ({error.strerror})") from error
        self.sink, self.source = sink.detach(), source.detach()
