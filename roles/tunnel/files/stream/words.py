# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an end says, and why it can't do its work, or no longer.

Of this, too, nothing is what Python 3.6 can't read.
"""

import contextlib
import sys
import syslog


class RefusedError(Exception):
    """Why this can't work; trying again brings the same."""


class EndedError(Exception):
    """Why the session is over; another one may last longer."""


class ClosedError(EndedError):
    """The session ended under this end."""


class StoppedError(Exception):
    """A signal asked this process to end."""


def say(text: str) -> None:
    """One line for whoever reads the log: at the far end, that is the dialling end's."""
    where = " (far end)" if sys.argv[1:2] == ["serve"] else ""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"overssh-stream{where}: {text}\n")
    if where:
        syslog.syslog(syslog.LOG_WARNING, text)


def say_without(who: str, reason: Exception, lanes: int) -> None:
    """A further lane can't be opened."""
    say(f"a further lane to {who} can't be opened ({reason}); the link goes on with {lanes}")
