# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes in the messages of ssh and systemd."""

from __future__ import annotations

import re

from .causes import Cause, Context, busy, may_drop, no_control, no_device, not_ours, not_plain, silent
from .device import wrong_kind
from .journal import Attempt

SPAWN = re.compile(r"Failed at step (?P<step>\w+) spawning (?P<program>\S+): (?P<why>.+)")
FINGERPRINT = re.compile(r"(SHA256:[A-Za-z0-9+/]+)")
CONTROL = '"/dev/net/tun"'


def not_spawned(attempt: Attempt, context: Context) -> Cause | None:
    """systemd could not start the program."""
    for line in attempt.lines:
        found = SPAWN.search(line)
        if found and found["step"] == "USER":
            return Cause("spawn", f"the account {context.run_as} does not exist on this host; make it first", True)
        if found:
            return Cause("spawn", f"systemd can't start {found['program']} ({found['step']}: {found['why']})", True)
    return None


def not_passed_on(attempt: Attempt, context: Context) -> Cause | None:
    """A jump host did not open the connection to the next host."""
    if not attempt.having("stdio forwarding failed"):
        return None
    line = attempt.having("open failed: ") or "open failed: it did not say why"
    words = line.split("open failed: ", 1)[1].removeprefix("connect failed: ")
    prohibited = "prohibited" in words
    way_out = "run the role tunnel on it, so that it may" if prohibited else "see that it has a way there"
    return Cause(
        "jump",
        f"the last jump host before {context.peer} does not connect to it ({words}); {way_out}",
        prohibited,
    )


def not_negotiated(attempt: Attempt, context: Context) -> Cause | None:
    """The two ssh versions have no algorithm in common."""
    line = attempt.having("Unable to negotiate with")
    if line is None:
        return None
    words = line.split(": ", 1)[-1]
    return Cause("negotiation", f"{context.peer} and this host's ssh have no algorithm in common ({words})", True)


def host_key(attempt: Attempt, context: Context) -> Cause | None:
    """The peer has another host key than the expected ones."""
    if not attempt.having("Host key verification failed", "you have requested strict checking"):
        return None
    offered = attempt.having("Server host key:", "SHA256:")
    found = FINGERPRINT.search(offered or "")
    shown = found[1] if found else "an unknown host key"
    expected = " or ".join(context.fingerprints)
    return Cause(
        "host key",
        f"{context.peer} shows the host key {shown}, expected is {expected}; where its keys were changed on purpose, "
        "give the new ones in host_keys, otherwise another host answers there",
        True,
    )


def shut_out(attempt: Attempt, context: Context) -> Cause | None:
    """The peer accepts no login for now."""
    if attempt.having("Not allowed at this time"):
        return Cause(
            "penalty",
            f"{context.peer} shuts this host's address out for a while ('Not allowed at this time', sshd's "
            "PerSourcePenalties), because logins from it failed before; wait, or restart sshd there",
            False,
        )
    if attempt.having("Exceeded MaxStartups"):
        return Cause("startups", f"{context.peer} has too many logins going on at once (sshd's MaxStartups)", False)
    return None


def key_refused(attempt: Attempt, context: Context) -> Cause | None:
    """This host can't use its key, or the peer does not accept it."""
    line = attempt.having("Permission denied (", "Too many authentication failures")
    if line is None:
        return None
    missing = attempt.having("no such identity:")
    if missing:
        return Cause("identity", f"there is no key {context.identity_file} on this host; make it first", True)
    unread = attempt.having("Load key ")
    if unread:
        why = unread.rsplit(": ", 1)[-1]
        return Cause(
            "identity",
            f"ssh can't use the key {context.identity_file} ({why}); it has to belong to {context.run_as}, with mode "
            "0600 and no passphrase",
            True,
        )
    words = line[line.index("Permission denied") :] if "Permission denied" in line else line
    return Cause(
        "key",
        f"{context.peer} refuses the key {context.identity_file} for the account {context.user} ({words.rstrip('.')}); "
        "see that it is in the authorized keys there and has no passphrase, that the account's shell exists there, and "
        "that sshd lets the account in",
        True,
    )


def rejected(attempt: Attempt, context: Context) -> Cause | None:
    """The peer permits no tunnels."""
    line = attempt.having("rejected tunnel device", "administratively prohibited")
    if line is None:
        return None
    return Cause(
        "rejected",
        f"{context.peer} permits no tunnels to the account {context.user} ({_bare(line)}); set PermitTunnel "
        "point-to-point for it in sshd's configuration there, or take transport: stream where the peer serves that",
        True,
    )


def remote_device(attempt: Attempt, context: Context) -> Cause | None:
    """The device at the other end of a tunnel is unusable."""
    line = (
        attempt.having("Failed to open the tunnel device")
        or attempt.having("open failed: ")
        or attempt.having("Tunnel forwarding failed")
    )
    if line is None:
        return None
    return Cause(
        "remote device",
        f"{context.peer} can't open its device {context.remote_device} ({_bare(line)}): it is missing there, or has "
        f"several queues, or does not belong to {context.user}, or the authorized key is for another one, or an "
        "earlier connection still holds it",
        False,
    )


def local_device(attempt: Attempt, context: Context) -> Cause | None:
    """The device at this end of a tunnel is unusable."""
    if not attempt.having("Tunnel device open failed", "sys_tun_open: failed"):
        return None
    line = attempt.having("sys_tun_open: failed") or ""
    if "busy" in line or (not line and context.device_owner in ("", context.run_as)):
        return Cause("local busy", busy(context), False)
    return Cause("local device", _local_fault(line, context), True)


def _local_fault(line: str, context: Context) -> str:
    if context.device_owner is None:
        return no_device(context)
    if CONTROL in line:
        return no_control(context, line.rsplit(": ", 1)[-1])
    if "Invalid argument" in line and context.several_queues:
        return wrong_kind(context.device, "on this host", True, context.lanes)
    if "Invalid argument" in line:
        return not_plain(context)
    return not_ours(context)


def unreachable(attempt: Attempt, context: Context) -> Cause | None:
    """The peer can't be reached, or not any longer."""
    for part, sentence in (
        ("Could not resolve hostname", f"this host can't resolve the name {context.host}"),
        ("Connection refused", f"nothing listens at {context.host} port {context.port} (Connection refused)"),
        ("No route to host", f"there is no way to {context.host} (No route to host)"),
        ("Network is unreachable", f"there is no way to {context.host} (Network is unreachable)"),
        ("timed out", f"{context.host} port {context.port} does not answer; {may_drop(context)}"),
        ("not responding", f"{context.peer} was reached and fell silent (its keepalives are not answered)"),
    ):
        line = attempt.having(part)
        if line is not None:
            return Cause(part, sentence, False)
    line = attempt.having("Connection closed by", "Connection reset by", "kex_exchange_identification")
    if line is not None:
        return Cause(
            "closed",
            f"{context.host} port {context.port} takes the connection and ends it ({line}); see whether sshd runs "
            "there and what it says in its journal: where logins from this host's address failed before, it may be "
            "shut out for a while (PerSourcePenalties)",
            False,
        )
    return None


def nothing_crosses(attempt: Attempt, context: Context) -> Cause | None:
    """The link is up according to ssh and the helpers."""
    if not attempt.connected and not attempt.having("Authenticated to"):
        return None
    return Cause("nothing crosses", silent(context), False)


def own_words(attempt: Attempt, context: Context) -> Cause | None:
    """Any other fault, in its last message."""
    words = attempt.last_words
    return Cause("other", f"ssh to {context.peer} ends with: {words}", False) if words else None


def _bare(line: str) -> str:
    """The peer's own words in a line of ssh's."""
    return line.replace("Remote: ", "", 1).rstrip(".")
