# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PAM's obstacles to logins of the tunnels' account, and its limits; only looks.

Sources: pam.d(5), access.conf(5), limits.conf(5), pam_listfile(8).
"""

from __future__ import annotations

import glob
import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .._core.errors import OversshError
from .._core.files import read_text

FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d")
ACCESS, LIMITS = "/etc/security/access.conf", "/etc/security/limits.conf"
NOLOGIN = "/etc/nologin"
# Of the limits those that a link may run into.
ITEMS = ("maxlogins", "nproc", "cpu", "as", "data")
DEPTH = 8

Read = Callable[[str], "str | None"]


class Rule(NamedTuple):
    """A line of a stack; kind: account or session; module: without its folder."""

    kind: str
    module: str
    arguments: tuple[str, ...]
    place: str


class Entry(NamedTuple):
    """A line of a file, with its place."""

    text: str
    place: str


def readable(path: str) -> str | None:
    """A file's text; None where it is missing or can't be read."""
    try:
        return read_text(path)
    except OversshError:
        return None


def stack(
    service: str, read: Read = readable, kinds: Sequence[str] = ("account", "session"), depth: int = 0
) -> list[Rule]:
    """The lines of a service's stacks, includes followed."""
    path = next((f"{folder}/{service}" for folder in FOLDERS if read(f"{folder}/{service}") is not None), "")
    found: list[Rule] = []
    for entry in entries(path, read) if path and depth < DEPTH else ():
        words = _words(entry.text)
        kind = words[0].lstrip("-")
        if kind == "@include" and len(words) > 1:
            found += stack(words[1], read, kinds, depth + 1)
        elif kind in kinds and len(words) > 2 and words[1] in ("include", "substack"):
            found += stack(words[2], read, [kind], depth + 1)
        elif kind in kinds and len(words) > 2:
            found.append(Rule(kind, os.path.basename(words[2]), tuple(words[3:]), entry.place))
    return found


def _words(text: str) -> list[str]:
    """A line's words, where what is in brackets is one."""
    before, opening, rest = text.partition("[")
    inside, _closing, after = rest.partition("]")
    return [*before.split(), f"[{inside}]", *after.split()] if opening else text.split()


def entries(path: str, read: Read = readable) -> Iterator[Entry]:
    """The lines of a file without comments."""
    for number, line in enumerate((read(path) or "").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            yield Entry(text, f"{path} line {number}")


def look(service: str, user: str, groups: Sequence[str], peers: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Problems and warnings of the account stack, and the session stack's limits for the account."""
    rules = stack(service)
    said, warned = [], []
    if os.path.exists(NOLOGIN):
        said.append(f"{NOLOGIN} is there, so that sshd lets nobody but root in; remove it.")
    for rule in rules:
        if rule.kind == "account" and rule.module == "pam_access.so":
            path = argument(rule, "accessfile") or ACCESS
            listed = [entry for name in (path, *_more(path)) for entry in entries(name)]
            more_said, more_warned = access(listed, user, groups, peers, "|" if "fieldsep=|" in rule.arguments else ":")
            said += more_said
            warned += more_warned
        if rule.kind == "account" and rule.module == "pam_listfile.so":
            said += listfile(rule, user)
    limited = any(rule.kind == "session" and rule.module == "pam_limits.so" for rule in rules)
    files = (LIMITS, *_more(LIMITS)) if limited else ()
    found = limits([entry for name in files for entry in entries(name)], user, groups)
    return {"problems": said, "warnings": warned, "limits": found}


def _more(path: str) -> list[str]:
    """The files of the folder that goes with a file."""
    return sorted(glob.glob(f"{path.removesuffix('.conf')}.d/*.conf")) if path in (ACCESS, LIMITS) else []


def argument(rule: Rule, name: str) -> str:
    """The value of a module's argument, empty where the line lacks it."""
    return next((word.partition("=")[2] for word in rule.arguments if word.startswith(f"{name}=")), "")


def listfile(rule: Rule, user: str) -> Iterator[str]:
    """Why a list of users keeps the account out."""
    path = argument(rule, "file")
    if argument(rule, "item") != "user" or not path:
        return
    named = user in (readable(path) or "").split()
    if argument(rule, "sense") == "allow" and not named:
        yield f"PAM lets in nobody but those in {path} ({rule.place}), and {user} is not among them; add it."
    elif argument(rule, "sense") == "deny" and named:
        yield f"PAM keeps out those in {path} ({rule.place}), and {user} is among them; take it out."


def access(
    listed: Sequence[Entry], user: str, groups: Sequence[str], peers: Sequence[Mapping[str, str]], separator: str = ":"
) -> tuple[list[str], list[str]]:
    """What pam_access has against the account, for sure and as far as the inventory shows; the first match counts.

    The inventory has addresses but no host names, so a line with host names decides nothing for sure.
    """
    said, warned = [], []
    places = {entry.place: entry.text for entry in listed}
    way_out = f"put '+ : {user} : ALL' before that line."
    for peer in peers or [{"name": "", "address": ""}]:
        for place, text in places.items():
            fields = [field.strip() for field in text.split(separator, 2)]
            if len(fields) < 3 or not _listed(fields[1].split(), lambda word: _is_user(word, user, groups)):
                continue
            origins = fields[2].split()
            if origins == ["ALL"]:
                if fields[0] == "-":
                    said.append(f"PAM keeps {user} out, by '{text}' in {place}; {way_out}")
                break
            if peer["address"] and _listed(origins, _from(peer["address"])):
                if fields[0] == "-":
                    warned.append(
                        f"PAM keeps {user} out from {peer['address']}, where {peer['name']} dials from as far as the "
                        f"inventory tells, by '{text}' in {place}; {way_out}"
                    )
                break
    return list(dict.fromkeys(said)), list(dict.fromkeys(warned))


def _listed(words: Sequence[str], fits: Callable[[str], bool]) -> bool:
    """Whether a list of access.conf has something, what comes after EXCEPT left out."""
    if "EXCEPT" in words:
        at = words.index("EXCEPT")
        return _listed(words[:at], fits) and not _listed(words[at + 1 :], fits)
    return any(fits(word.rstrip(",")) for word in words)


def _is_user(word: str, user: str, groups: Sequence[str]) -> bool:
    return word in ("ALL", user) or word.strip("()") in groups


def _from(address: str) -> Callable[[str], bool]:
    return lambda word: _is_origin(word, address)


def _is_origin(word: str, address: str) -> bool:
    if word == "ALL":
        return True
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(word, strict=False)
    except ValueError:
        return word.endswith(".") and address.startswith(word)


def limits(listed: Sequence[Entry], user: str, groups: Sequence[str]) -> list[dict[str, Any]]:
    """The limits for the account, with their places; a later line wins, and a closer match wins over a later line."""
    found: dict[str, tuple[int, str, str]] = {}
    for entry in listed:
        words = entry.text.split()
        if len(words) < 4 or words[2] not in ITEMS:
            continue
        domain = words[0]
        close = (
            3 if domain == user else 2 if domain.startswith("@") and domain[1:] in groups else 1 if domain == "*" else 0
        )
        if close and close >= found.get(words[2], (0, "", ""))[0]:
            found[words[2]] = (close, words[3], entry.place)
    return [
        {"item": item, "value": int(value), "place": place}
        for item, (_close, value, place) in found.items()
        if value.isdecimal()
    ]
