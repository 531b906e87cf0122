# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where this machine gets its Debian packages from, in either of apt's two notations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .shell import LabError

_DEBIAN_SUITES = frozenset(
    (
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    )
)
# Acquire settings that say how to reach a mirror or whether to believe it; the others are about this machine's disk.
_CARRIED = re.compile(
    r"^Acquire::(https?|ftp|tor|socks|Retries|Proxy|Check-Valid-Until|Check-Date|ForceIPv[46])\b", re.I
)


@dataclass(frozen=True)
class Source:
    """One place and suite that apt reads."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)


def parse_one_line(text: str) -> list[Source]:
    """The entries of a `sources.list`."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?([^\s#]+)\s+([^\s#]+)([^#]*)", line)
        if match:
            options = dict(word.split("=", 1) for word in (match[1] or "").split() if "=" in word)
            options = {name.lower(): value for name, value in options.items()}
            found.append(Source(match[2].rstrip("/"), match[3], tuple(match[4].split()), options))
    return found


def _stanzas(text: str) -> Iterable[dict[str, str]]:
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line.lstrip().startswith("#"):
                continue
            if line[:1].isspace() and last:
                fields[last] += "\n" + line.strip()
            elif ":" in line:
                last, value = line.split(":", 1)
                last = last.strip().lower()
                fields[last] = value.strip()
        if fields:
            yield fields


def parse_deb822(text: str) -> list[Source]:
    """The entries of a `*.sources` file."""
    found = []
    for fields in _stanzas(text):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in {"no", "false"}:
            continue
        options: dict[str, str] = {name: fields[name] for name in ("signed-by", "trusted") if name in fields}
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                found.append(Source(uri.rstrip("/"), suite, components, options))
    return found


def read_sources(etc_apt: Path) -> list[Source]:
    """All entries of a machine, in apt's order."""
    found = []
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    for file in files:
        if file.is_file() and file.suffix in {".list", ".sources"}:
            text = file.read_text(encoding="utf-8", errors="replace")
            found += parse_deb822(text) if file.suffix == ".sources" else parse_one_line(text)
    return [_through_mirror_list(source) for source in found]


def _through_mirror_list(source: Source) -> Source:
    """Debian's cloud images name a local file with the mirrors in it; its first mirror stands for it."""
    match = re.fullmatch(r"mirror\+file:(?://)?(/.*)", source.uri)
    if not match or not Path(match[1]).is_file():
        return source
    for line in Path(match[1]).read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            return Source(words[0].rstrip("/"), source.suite, source.components, source.options)
    return source


def _archive(sources: list[Source], suffix: str) -> Source | None:
    """The entry most like Debian's own archive; other vendors use Debian's suite names as well."""
    suites = {suite + suffix for suite in _DEBIAN_SUITES}
    fitting = [source for source in sources if source.suite in suites and "main" in source.components]
    path = f"/debian{suffix}"

    def rank(source: Source) -> tuple[bool, bool]:
        keyring = source.options.get("signed-by", "")
        return ("debian-archive" not in keyring, path not in source.uri)

    return min(fitting, key=rank, default=None)


def debian_lines(sources: list[Source], release: str, mirror: str | None = None) -> list[str]:
    """One-line entries for `release` from the mirrors that this machine uses for its own Debian."""
    if mirror:
        return [f"deb {mirror} {release} main"]
    main = _archive(sources, "")
    if main is None:
        raise LabError(
            "no Debian mirror in this machine's apt sources: say which one to use, LAB_MIRROR=http://…/debian"
        )
    lines = [_line(main, release)]
    security = _archive(sources, "-security")
    if security is not None:
        lines.append(_line(security, f"{release}-security"))
    return lines


def _line(source: Source, suite: str) -> str:
    """Debian's own keyrings are found by mmdebstrap; anybody else's must be named."""
    options = []
    keyring = source.options.get("signed-by", "")
    if keyring.startswith("/") and "debian-archive" not in keyring:
        options.append(f"signed-by={keyring}")
    if source.options.get("trusted", "").lower() == "yes":
        options.append("trusted=yes")
    shown = f"[{' '.join(options)}] " if options else ""
    return f"deb {shown}{source.uri} {suite} main"


def carried_options(dump: str) -> list[str]:
    """The lines of `apt-config dump` that the image's apt needs to reach the same mirrors."""
    return [line for line in dump.splitlines() if _CARRIED.match(line) and not line.endswith('"";')]
