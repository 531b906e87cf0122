# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes in the messages of a stream's helpers, and of shells and Pythons that can't run a helper."""

from __future__ import annotations

import re
from collections.abc import Callable

from .causes import Cause, Context, busy, no_control, no_device, not_ours, not_plain
from .device import wrong_kind
from .helper import CANT_FIND, CANT_GO_ON, CANT_OPEN, CANT_READ, TOO_OLD, too_old
from .journal import Attempt, Verdict

ENOENT = "2"
NO_ANSWER = re.compile(r"ended before its helper answered(?: \(ssh's exit status (?P<status>-?\d+)\))?")
NO_PROGRAM = re.compile(r"^-?\w*sh: .*(not found|[Nn]o such file or directory|Permission denied)")
# ssh's detailed message about the line in which the peer's sshd found the key.
KEY_OPTIONS = "key options:"

SAYS = re.compile(r"\S+ says: (?P<words>.+)")
DEVICE_GONE = re.compile(r"there is no device (?P<device>\S+)")
NO_CONTROL = re.compile(r"/dev/net/tun can't be opened .*\((?P<why>[^)]+)\)")
QUEUES = re.compile(r"the device (?P<device>\S+) .*made for (?P<kind>one queue|several queues)")
NOT_OPENED = re.compile(r"the device (?P<device>\S+) .*can't be opened \((?P<why>[^)]+)\)")
IN_USE = re.compile(r"the device (?P<device>\S+) is in use")
VERSIONS = re.compile(r"has version (?P<other>.+) and this one (?P<own>[^;]+)")
LANES = re.compile(r"has lanes: '?(?P<other>[^\s']+)'? and this end lanes: (?P<own>[^;]+)")
PRINTED = re.compile(r"printed (?P<text>.+) before the first frame")
NO_LOGIN = "not available"  # as nologin says it
SILENT = re.compile(r"has been silent for (?P<seconds>\S+) s")


def refused(attempt: Attempt, context: Context) -> Cause | None:
    """A helper's refusal that another attempt won't change."""
    verdict = attempt.verdict
    if verdict is None or not verdict.refused:
        return None
    says = SAYS.match(verdict.words)
    if says:
        verdict = Verdict(True, True, says["words"])
    if PRINTED.search(verdict.words) and _unbound(attempt):
        return Cause("not bound", _not_bound(context), True)
    return Cause("refused", _sentence(verdict, context), True)


def ended(attempt: Attempt, context: Context) -> Cause | None:
    """The end of a session that may succeed next time."""
    verdict = attempt.verdict
    if verdict is None or verdict.refused:
        return None
    words = verdict.words
    says = SAYS.match(words)
    if says:
        verdict = Verdict(False, True, says["words"])
    used, quiet, unanswered = IN_USE.search(words), SILENT.search(words), NO_ANSWER.search(words)
    if used and verdict.far:
        sentence = f"another process holds the device {used['device']} of {context.peer}"
    elif used:
        sentence = busy(context)
    elif quiet:
        sentence = f"{context.peer} was reached and fell silent (nothing came from it for {quiet['seconds']} s)"
    elif unanswered:
        said = f"exit status {unanswered['status']}" + (f": {attempt.last_words}" if attempt.last_words else "")
        sentence = f"ssh to {context.peer} ended before the helper there answered ({said})"
    elif verdict.far:
        sentence = f"{context.peer} ended the link and says: {verdict.words}"
    else:
        sentence = f"the link to {context.peer} ended: {words}"
    return Cause("ended", sentence, False)


def no_session(attempt: Attempt, context: Context) -> Cause | None:
    """The peer accepts the key but opens no session for it, such as one for tunnels only."""
    line = attempt.having("open failed: ", "Session open refused")
    silently = _unanswered(attempt) == "1" and not attempt.last_words
    if line is None and not silently:
        return None
    words = line or "its shell or a forced command ends with status 1 and says nothing, as /bin/false does"
    return Cause(
        "no session",
        f"{context.peer} runs no helper for the account {context.user} ({words}): it may serve the transport tun; run "
        "the role tunnel on it to have it serve the transport stream, or take transport: tun",
        True,
    )


def not_bound(attempt: Attempt, context: Context) -> Cause | None:
    """The key opens a shell, which takes the helper's first line for a command."""
    if attempt.having("OVERSSH-STREAM") or (_unbound(attempt) and _unanswered(attempt)):
        return Cause("not bound", _not_bound(context), True)
    return None


def no_helper_there(attempt: Attempt, context: Context) -> Cause | None:
    """The far shell or the far Python can't run the helper."""
    if _unanswered(attempt) is None:
        return None
    for line in reversed(attempt.spoken):
        missing, unseen = CANT_OPEN.search(line), CANT_FIND.search(line)
        closed = missing or CANT_READ.search(line)
        if missing and missing["number"] == ENOENT:
            sentence = (
                f"there is no helper {missing['path']} at {context.peer}; run the role tunnel on it, which installs it"
            )
        elif unseen:
            sentence = (
                f"{context.user} can't read the helper {unseen['path']} at {context.peer}, or it is not complete; run "
                "the role tunnel on it, which installs it"
            )
        elif closed:
            sentence = (
                f"{context.user} can't read the helper {closed['path']} at {context.peer} ({closed['why']}); it takes "
                "mode 0644, and 0755 above it"
            )
        elif NO_PROGRAM.search(line):
            sentence = f"{context.peer} can't start Python for the helper ({line}); install python3 there"
        elif CANT_GO_ON.match(line):
            sentence = (
                f"Python at {context.peer} can't run the helper ({line}); it takes Python 3.9 or later with the whole "
                "standard library, and all files of the helper, which the role tunnel installs"
            )
        else:
            continue
        return Cause("no helper there", sentence, True)
    return None


def no_helper_here(attempt: Attempt, context: Context) -> Cause | None:
    """This host's Python can't read the helper, although it was readable before the start."""
    closed = CANT_OPEN.search(attempt.having("can't open file") or "")
    closed = closed or CANT_READ.search(attempt.having("PermissionError: ") or "")
    unseen = CANT_FIND.search(attempt.having("can't find '__main__' module") or "")
    if attempt.verdict is not None or not (closed or unseen):
        return None
    why = f" ({closed['why']})" if closed else ""
    return Cause(
        "no helper here",
        f"the unit can't read the helper {context.helper} on this host{why}; it can't see what lies in homes "
        "and in /tmp",
        True,
    )


def not_answered(attempt: Attempt, context: Context) -> Cause | None:
    """The far end's helper has not answered yet."""
    if not attempt.having("Authenticated to") or attempt.connected:
        return None
    return Cause(
        "not answered", f"ssh is connected to {context.peer}, but the helper there has not answered yet", False
    )


def _sentence(verdict: Verdict, context: Context) -> str:
    for pattern, sentence in SENTENCES:
        found = pattern.search(verdict.words)
        if found:
            return sentence(found, verdict.far, context)
    return f"{context.peer} refuses the link and says: {verdict.words}" if verdict.far else verdict.words


def _device_gone(found: re.Match[str], far: bool, context: Context) -> str:
    if far:
        return f"there is no device {found['device']} at {context.peer}; run the role tunnel on it, which makes it"
    return no_device(context)


def _no_control(found: re.Match[str], far: bool, context: Context) -> str:
    if far:
        return (
            f"{context.user} can't open /dev/net/tun at {context.peer} ({found['why']}); it has to be there, with mode "
            "0666 as udev makes it"
        )
    return no_control(context, found["why"])


def _wrong_kind(found: re.Match[str], far: bool, context: Context) -> str:
    if not far and context.several_queues is None:
        return not_plain(context)
    where = f"of {context.peer}" if far else "on this host"
    return wrong_kind(found["device"], where, found["kind"] == "several queues", context.lanes)


def _not_opened(found: re.Match[str], far: bool, context: Context) -> str:
    if far:
        return (
            f"{context.user} may not open the device {found['device']} of {context.peer} ({found['why']}); make it the "
            "device's owner there"
        )
    return not_ours(context)


def _versions(found: re.Match[str], far: bool, context: Context) -> str:
    theirs, ours = (found["own"], found["other"]) if far else (found["other"], found["own"])
    return (
        f"the helper at {context.peer} has version {theirs} and this host's has version {ours}; run the role tunnel on "
        "both, which installs the same one"
    )


def _lanes(found: re.Match[str], far: bool, context: Context) -> str:
    theirs, ours = (found["own"], found["other"]) if far else (found["other"], found["own"])
    return (
        f"{context.peer} serves the link with lanes: {theirs}, and this host dials it with lanes: {ours}; both need "
        "the same, so run the role tunnel on both"
    )


def _printed(found: re.Match[str], _far: bool, context: Context) -> str:
    if NO_LOGIN in found["text"]:
        return f"the account {context.user} of {context.peer} has no shell ({found['text']}); give it /bin/sh"
    return (
        f"{context.peer} printed {found['text']} before the helper's first word; a startup file of the shell of "
        f"{context.user} there does that, and has to be silent where nobody looks at it"
    )


def _too_old(found: re.Match[str], far: bool, context: Context) -> str:
    if far:
        return f"{too_old(found, f'of {context.peer}')}; install a later one there"
    return f"{too_old(found, 'on this host')}; name a later one in python"


def _unanswered(attempt: Attempt) -> str | None:
    """ssh's exit status where the session ended before the far end's helper said anything."""
    found = NO_ANSWER.search(attempt.verdict.words) if attempt.verdict else None
    return (found["status"] or "") if found else None


def _unbound(attempt: Attempt) -> bool:
    """Whether sshd has found the key in a line without a command."""
    line = attempt.having(KEY_OPTIONS)
    return line is not None and "command" not in line.split(KEY_OPTIONS)[1].split()


def _not_bound(context: Context) -> str:
    return (
        f"the key {context.identity_file} opens a shell at {context.peer} instead of the helper; run the role tunnel "
        "on it, which binds the key"
    )


SENTENCES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], bool, Context], str]], ...] = (
    (PRINTED, _printed),  # first, as it quotes anything
    (DEVICE_GONE, _device_gone),
    (NO_CONTROL, _no_control),
    (QUEUES, _wrong_kind),
    (NOT_OPENED, _not_opened),
    (VERSIONS, _versions),
    (LANES, _lanes),
    (TOO_OLD, _too_old),
)
