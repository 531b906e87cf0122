# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a link is not up: one sentence, from the messages in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import causes_ssh as ssh
from . import causes_stream as stream
from .causes import Cause, Context, Reason
from .journal import Attempt


@dataclass(frozen=True)
class Finding:
    """One sentence, without its full stop; final: waiting longer won't help."""

    sentence: str
    final: bool


def explain(attempts: Sequence[Attempt], context: Context) -> Finding | None:
    """The cause of the latest attempt's failure; None before any message.

    A certain cause is final once it was seen twice.
    """
    causes = [cause for cause in (_cause(attempt, context) for attempt in attempts) if cause is not None]
    if not causes:
        return None
    last = causes[-1]
    if last.kind == "penalty":
        # The peer shuts us out for what we did before, so that is the reason to name.
        earlier = next((cause for cause in reversed(causes) if cause.certain), None)
        if earlier is not None:
            return Finding(f"{earlier.sentence}; by now the peer shuts this host's address out for a while", True)
    if last.kind == "not answered":
        # It is under way, and may end as the one before it, which says more.
        ended = next((cause for cause in reversed(causes) if cause.kind != last.kind), None)
        if ended is not None:
            return Finding(f"{ended.sentence}; one more attempt is not answered yet", False)
    return Finding(last.sentence, last.certain and sum(cause.kind == last.kind for cause in causes) > 1)


def _cause(attempt: Attempt, context: Context) -> Cause | None:
    for reason in REASONS[context.transport]:
        cause = reason(attempt, context)
        if cause is not None:
            return cause
    return None


# Highest first: what comes later in a list can be the consequence of what comes before.
LOGIN: tuple[Reason, ...] = (
    ssh.not_spawned,
    ssh.not_passed_on,
    ssh.not_negotiated,
    ssh.host_key,
    ssh.shut_out,
    ssh.key_refused,
)
REASONS: dict[str, tuple[Reason, ...]] = {
    "tun": (
        *LOGIN,
        ssh.rejected,
        ssh.local_device,
        ssh.remote_device,
        ssh.unreachable,
        ssh.nothing_crosses,
        ssh.own_words,
    ),
    "stream": (
        *LOGIN,
        stream.refused,
        stream.no_session,
        stream.not_bound,
        stream.no_helper_there,
        stream.no_helper_here,
        ssh.unreachable,
        stream.ended,
        stream.not_answered,
        ssh.nothing_crosses,
        ssh.own_words,
    ),
}
