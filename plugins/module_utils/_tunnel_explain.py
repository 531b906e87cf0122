# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a link is not up: one sentence, made from what ssh said in the journal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SPAWN = re.compile(r"Failed at step (?P<step>\w+) spawning (?P<program>\S+): (?P<why>.+)")
FINGERPRINT = re.compile(r"(SHA256:[A-Za-z0-9+/]+)")
# What LogVerbose puts before a message: its place in ssh's source.
PLACE = re.compile(r"^(?:debug\d: )?[\w.-]+\.c:\w+\(\):\d+ \([^)]*\): ")
# What ssh says while nothing is wrong, or when it is told to stop.
SMALL_TALK = ("version", "Server host key:", "Remote: ", "Transferred: ", "Bytes per second: ", "Killed by signal")
CONTROL = '"/dev/net/tun"'


@dataclass(frozen=True)
class Context:
    """What the sentence is about.

    fingerprints: of the host keys that are expected; device_owner: the account that the local device belongs to, ""
    where it belongs to nobody, None where there is no such device; device_up: whether it is up; carrier: whether a
    process holds it.
    """

    name: str
    host: str
    port: int
    user: str
    run_as: str
    identity_file: str
    device: str
    remote_device: str
    remote_address: str
    fingerprints: tuple[str, ...]
    device_owner: str | None
    device_up: bool
    carrier: bool

    @property
    def peer(self) -> str:
        """The peer and where it is dialled."""
        return f"{self.name} ({self.host} port {self.port})"


@dataclass(frozen=True)
class Finding:
    """One sentence, without its full stop; final: waiting longer won't help."""

    sentence: str
    final: bool


@dataclass(frozen=True)
class Attempt:
    """What one run of ssh said, in order."""

    lines: tuple[str, ...]

    def having(self, *parts: str) -> str | None:
        """The last line that has one of the parts."""
        return next((line for line in reversed(self.lines) if any(part in line for part in parts)), None)


@dataclass(frozen=True)
class _Cause:
    """A reason by its name, so that the same one can be counted; certain: trying again brings the same."""

    kind: str
    sentence: str
    certain: bool


def attempts_of(journal: str) -> tuple[Attempt, ...]:
    """The runs of ssh in a journal (as JSON, one entry a line); what systemd itself says is left out."""
    runs: dict[str, list[str]] = {}
    for text in journal.splitlines():
        entry = json.loads(text)
        message = entry.get("MESSAGE")
        if isinstance(message, list):  # bytes that are no UTF-8
            message = bytes(message).decode(errors="replace")
        if message and entry.get("SYSLOG_IDENTIFIER") != "systemd":
            runs.setdefault(entry.get("_PID", ""), []).append(PLACE.sub("", message).strip())
    return tuple(Attempt(tuple(lines)) for lines in runs.values())


def explain(attempts: Sequence[Attempt], context: Context) -> Finding | None:
    """The reason that the latest attempt gives; None where nothing was said yet.

    A reason that won't go away by itself is final once it was seen twice.
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
    return Finding(last.sentence, last.certain and sum(cause.kind == last.kind for cause in causes) > 1)


def _cause(attempt: Attempt, context: Context) -> _Cause | None:
    for reason in REASONS:
        cause = reason(attempt, context)
        if cause is not None:
            return cause
    return None


def _not_spawned(attempt: Attempt, context: Context) -> _Cause | None:
    for line in attempt.lines:
        found = SPAWN.search(line)
        if found and found["step"] == "USER":
            return _Cause("spawn", f"the account {context.run_as} does not exist on this host; make it first", True)
        if found:
            return _Cause("spawn", f"systemd can't start {found['program']} ({found['step']}: {found['why']})", True)
    return None


def _not_negotiated(attempt: Attempt, context: Context) -> _Cause | None:
    line = attempt.having("Unable to negotiate with")
    if line is None:
        return None
    words = line.split(": ", 1)[-1]
    return _Cause("negotiation", f"{context.peer} and this host's ssh have no algorithm in common ({words})", True)


def _host_key(attempt: Attempt, context: Context) -> _Cause | None:
    if not attempt.having("Host key verification failed", "you have requested strict checking"):
        return None
    offered = attempt.having("Server host key:", "SHA256:")
    found = FINGERPRINT.search(offered or "")
    shown = found[1] if found else "an unknown host key"
    expected = " or ".join(context.fingerprints)
    return _Cause(
        "host key",
        f"{context.peer} shows the host key {shown}, expected is {expected}; where its keys were changed on purpose, "
        "give the new ones in host_keys, otherwise another host answers there",
        True,
    )


def _shut_out(attempt: Attempt, context: Context) -> _Cause | None:
    if attempt.having("Not allowed at this time"):
        return _Cause(
            "penalty",
            f"{context.peer} shuts this host's address out for a while ('Not allowed at this time', sshd's "
            "PerSourcePenalties), because logins from it failed before; wait, or restart sshd there",
            False,
        )
    if attempt.having("Exceeded MaxStartups"):
        return _Cause("startups", f"{context.peer} has too many logins going on at once (sshd's MaxStartups)", False)
    return None


def _key_refused(attempt: Attempt, context: Context) -> _Cause | None:
    line = attempt.having("Permission denied (", "Too many authentication failures")
    if line is None:
        return None
    missing = attempt.having("no such identity:")
    if missing:
        return _Cause("identity", f"there is no key {context.identity_file} on this host; make it first", True)
    unread = attempt.having("Load key ")
    if unread:
        why = unread.rsplit(": ", 1)[-1]
        return _Cause(
            "identity",
            f"ssh can't use the key {context.identity_file} ({why}); it has to belong to {context.run_as}, with mode "
            "0600 and no passphrase",
            True,
        )
    words = line[line.index("Permission denied") :] if "Permission denied" in line else line
    return _Cause(
        "key",
        f"{context.peer} refuses the key {context.identity_file} for the account {context.user} ({words.rstrip('.')}); "
        "see that it is in the authorized keys there and has no passphrase, and that sshd lets the account in",
        True,
    )


def _rejected(attempt: Attempt, context: Context) -> _Cause | None:
    line = attempt.having("rejected tunnel device", "administratively prohibited")
    if line is None:
        return None
    return _Cause(
        "rejected",
        f"{context.peer} permits no tunnels to the account {context.user} ({_bare(line)}); set PermitTunnel "
        "point-to-point for it in sshd's configuration there",
        True,
    )


def _remote_device(attempt: Attempt, context: Context) -> _Cause | None:
    line = (
        attempt.having("Failed to open the tunnel device")
        or attempt.having("open failed: ")
        or attempt.having("Tunnel forwarding failed")
    )
    if line is None:
        return None
    return _Cause(
        "remote device",
        f"{context.peer} can't open its device {context.remote_device} ({_bare(line)}): it is missing there, or does "
        f"not belong to {context.user}, or the authorized key is for another one, or an earlier connection "
        "still holds it",
        False,
    )


def _local_device(attempt: Attempt, context: Context) -> _Cause | None:
    if not attempt.having("Tunnel device open failed", "sys_tun_open: failed"):
        return None
    line = attempt.having("sys_tun_open: failed") or ""
    device = context.device
    if context.device_owner is None:
        return _Cause("local device", _no_device(context), True)
    if CONTROL in line:
        why = line.rsplit(": ", 1)[-1]
        return _Cause(
            "local device",
            f"{context.run_as} can't open /dev/net/tun ({why}); it has to be there, with mode 0666 as udev makes it",
            True,
        )
    if "Invalid argument" in line:
        return _Cause("local device", f"the device {device} is no plain tun device (a tap or one of many queues)", True)
    if "busy" in line or (not line and context.device_owner in ("", context.run_as)):
        return _Cause("local busy", f"another process holds the device {device} on this host", False)
    owner = context.device_owner or "no account"
    return _Cause(
        "local device",
        f"{context.run_as} may not open the device {device} on this host, which belongs to {owner}; give it that owner",
        True,
    )


def _unreachable(attempt: Attempt, context: Context) -> _Cause | None:
    for part, sentence in (
        ("Could not resolve hostname", f"this host can't resolve the name {context.host}"),
        ("Connection refused", f"nothing listens at {context.host} port {context.port} (Connection refused)"),
        ("No route to host", f"there is no way to {context.host} (No route to host)"),
        ("Network is unreachable", f"there is no way to {context.host} (Network is unreachable)"),
        ("timed out", f"{context.host} port {context.port} does not answer; a firewall may drop ssh there"),
        ("not responding", f"{context.peer} was reached and fell silent (its keepalives are not answered)"),
    ):
        line = attempt.having(part)
        if line is not None:
            return _Cause(part, sentence, False)
    line = attempt.having("Connection closed by", "Connection reset by", "kex_exchange_identification")
    if line is not None:
        return _Cause(
            "closed",
            f"{context.host} port {context.port} takes the connection and ends it ({line}); see whether sshd runs "
            "there and what it says in its journal",
            False,
        )
    return None


def _nothing_crosses(attempt: Attempt, context: Context) -> _Cause | None:
    if not attempt.having("Authenticated to"):
        return None
    return _Cause("nothing crosses", silent(context), False)


def _own_words(attempt: Attempt, context: Context) -> _Cause | None:
    spoken = [line for line in attempt.lines if not any(part in line for part in SMALL_TALK)]
    if not spoken:
        return None
    return _Cause("other", f"ssh to {context.peer} ends with: {spoken[-1].rstrip('.')}", False)


def _no_device(context: Context) -> str:
    return f"there is no device {context.device} on this host; make it first"


def _bare(line: str) -> str:
    """The peer's own words."""
    return line.replace("Remote: ", "", 1).rstrip(".")


def silent(context: Context) -> str:
    """The sentence for a link that is connected, and nothing comes back."""
    if context.device_owner is None:
        return _no_device(context)
    if not context.device_up:
        return f"the device {context.device} on this host is down; set it up"
    return (
        f"ssh is connected to {context.peer}, but {context.remote_address} does not answer through {context.device}: "
        f"the device {context.remote_device} there may be down or have no such address, or a firewall there may drop "
        "ICMP from it"
    )


# Highest first: what comes later in this list can be the consequence of what comes before.
REASONS: tuple[Callable[[Attempt, Context], _Cause | None], ...] = (
    _not_spawned,
    _not_negotiated,
    _host_key,
    _shut_out,
    _key_refused,
    _rejected,
    _local_device,
    _remote_device,
    _unreachable,
    _nothing_crosses,
    _own_words,
)
