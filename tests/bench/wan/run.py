# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part wan: what links carry over each line, in both directions, and how long a ping beside it takes."""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.lab.docker_engine import docker

from ..cases import CIPHER, OPENVPN, PIPE, RAW, RECIPE, STREAM, STREAM_AUTO, TUN, WIREGUARD, Case
from ..links import SERVER, build, choose, prepare, running, ssh_words, wait_for
from ..measure import median, percentile, received
from ..nodes import AGENT, Pair, pair_of_nodes
from ..options import Amounts, Tell
from ..process import ROOT, BenchError, say
from ..process import run as run_program
from ..report import rounded
from ..site import Revision
from .check import checks
from .emulator import ENDS, Emulator, emulator
from .lines import LINES, SLOW_TIMES, Line

LAB = "bench-wan"
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
# Where it is in a checkout, a folder; and where it was when it was a file.
HELPER, FORMER = "roles/tunnel/files/stream", "roles/tunnel/files/stream.py"
INSTALLED = "/usr/local/lib/overssh/stream"
# The texts of its files by their names.
Helper = dict[str, str]
CASES = (RAW, PIPE, RECIPE, TUN, OPENVPN, WIREGUARD, STREAM, STREAM_AUTO)
# The stream with the helper of another revision.
BEFORE = "stream-before"
# Those that fetches and datagrams are tried beside.
FETCHED = (RAW.name, TUN.name, STREAM.name, BEFORE)
SHARE = 0.9
# What an ssh session has under way at most, and what a link of lanes "auto" carries at least of what TCP does without a
# tunnel where a line could carry more; by how many connections it is filled before, so that its lanes are open.
SESSION_BYTES, LANES_SHARE, OPENING_STREAMS = 2 * 1024 * 1024, 0.8, 8
# What many connections carry at least of what one carries, on lines that lose so much.
MANY, MANY_SHARE, MANY_LOSS_PERCENT = 128, 0.5, 1.0
IDLE_SECONDS = 2.0
# What is on its way when a transfer ends still has to arrive.
MORE_SECONDS = 60.0


@dataclass(frozen=True)
class Sample:
    """One transfer over a line; error: why it gave nothing.

    mbit_s: with what is fetched beside it; ping_ms and ping_99_ms: beside it;
    fetch_ms: what 100 KB over a fresh connection take beside it and in its direction; datagram_loss_percent: of a flow
    of 50 datagrams a second that goes with them; lanes: how many were open before, of a link that opens them by itself.
    There is no ping beside many connections: to make them takes about as long as the transfer.
    """

    line: str
    case: str
    streams: int
    back: bool = False
    mbit_s: float | None = None
    ping_idle_ms: float | None = None
    ping_ms: float | None = None
    ping_99_ms: float | None = None
    fetch_ms: float | None = None
    datagram_loss_percent: float | None = None
    lanes: int | None = None
    error: str | None = None


def measure(
    pair: Pair, line: Line, case: Case, amounts: Amounts, ways: Sequence[tuple[int, bool]], control: str | None
) -> Iterator[Sample]:
    """What a case carries over the line, for each number of connections and direction."""
    seconds = amounts.line_seconds * line.times
    if case == PIPE:
        answer = pair.edge.ask("pipe", seconds, ssh_words("-c", CIPHER), timeout=seconds + MORE_SECONDS)
        yield Sample(line.name, case.name, 1, mbit_s=rounded(answer["bytes"] * 8 / answer["seconds"] / 1e6))
        return
    if case.unit:
        # What it learnt of the line before is not for this one. wireguard-go learns nothing, and forgets its keys.
        if case != WIREGUARD:
            pair.edge.sh(f"systemctl restart {case.unit}")
        wait_for(pair, case)
    choose(pair, case, control)
    lanes = None
    if case == STREAM_AUTO:
        _transfer(pair, Sample(line.name, case.name, OPENING_STREAMS), amounts.opening_seconds)
        lanes = lanes_in(pair.edge.sh(f"journalctl --unit={case.unit} --output=cat --no-pager"))
    idle = median(pair.edge.ask("idle", "", pair.cloud.underlay, IDLE_SECONDS)["pings"])
    for streams, back in ways:
        sample = Sample(line.name, case.name, streams, back, ping_idle_ms=rounded(idle), lanes=lanes)
        yield _transfer(pair, sample, seconds)


def _transfer(pair: Pair, sample: Sample, seconds: float) -> Sample:
    target, patience = pair.cloud.underlay, seconds + MORE_SECONDS + sample.streams
    if sample.case in FETCHED and (sample.streams, sample.back) == (1, False):
        answer = pair.edge.ask("beside", target, seconds, timeout=patience)
    else:
        more = ["--reverse"] if sample.back else []
        answer = pair.edge.ask("transfer", "", target, seconds, sample.streams, *more, timeout=patience)
    if answer["error"] or sample.streams >= MANY:
        # A server that still has to do with the connections of this one takes no others.
        pair.cloud.sh(f"systemctl restart {SERVER}")
        # Without a program of their own too they would go on sending what they hold, over whatever link comes next.
        pair.each(lambda node, other: node.sh(f"ss --kill dst {other.underlay}"))
    try:
        count, took = received(answer)
    except BenchError as error:
        return replace(sample, error=str(error))
    pings = answer["pings"] if sample.streams < MANY else []
    return replace(
        sample,
        mbit_s=rounded((count + answer.get("fetched_bytes", 0)) * 8 / took / 1e6),
        ping_ms=rounded(median(pings)),
        ping_99_ms=rounded(percentile(pings, 0.99)),
        fetch_ms=rounded(median(answer.get("fetches", []))),
        datagram_loss_percent=rounded(lost_percent(**answer["datagrams"])) if "datagrams" in answer else None,
    )


def lanes_in(journal: str) -> int:
    """How many lanes a link has by its helper's last word about it; 0 where that has said none."""
    said = re.findall(r"(?:connected to .*, |goes on with )(\d+)", journal)
    return int(said[-1]) if said else 0


def lost_percent(sent: int, arrived: int) -> float | None:
    """The share of what was sent that did not arrive; None of nothing."""
    return (sent - arrived) / sent * 100 if sent else None


def rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The samples with their share of what ssh cat carried over the same line."""
    pipes = {sample.line: sample.mbit_s for sample in samples if sample.case == PIPE.name}
    found = []
    for sample in samples:
        pipe = pipes.get(sample.line)
        share = rounded(sample.mbit_s / pipe) if sample.mbit_s is not None and pipe else None
        found.append({**asdict(sample), "ratio_to_pipe": share})
    return found


def _aim(what: str, limit: float, got: float | None) -> dict[str, Any]:
    return {
        "aim": what,
        "wanted": "at least",
        "limit": limit,
        "got": rounded(got),
        "met": None if got is None else got >= limit,
    }


def aims(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """On each line the stream's share of ssh cat with 1 and 8 connections, and what 128 carry of what 1 carries."""
    there = {(row["line"], row["streams"]): row for row in found if row["case"] == STREAM.name and not row["back"]}
    shares = [
        _aim(f"{line}, {streams}", SHARE, row["ratio_to_pipe"])
        for (line, streams), row in there.items()
        if streams in (1, 8)
    ]
    carried = {(row["line"], row["case"], row["streams"]): row["mbit_s"] for row in found if not row["back"]}
    for (line, case, streams), mbit_s in carried.items():
        if case == STREAM_AUTO.name:
            raw = carried.get((line, RAW.name, streams))
            share = mbit_s / raw if raw and mbit_s is not None else None
            shares.append(_aim(f"{line}, lanes auto, {streams}", LANES_SHARE, share))
    lossy = [line.name for line in LINES if line.there.loss >= MANY_LOSS_PERCENT]
    many = []
    for name in lossy:
        if (name, MANY) in there:
            one, all_of_them = (there.get((name, streams), {}).get("mbit_s") for streams in (1, MANY))
            share = all_of_them / one if one and all_of_them is not None else None
            many.append(_aim(f"{name}, {MANY} of 1", MANY_SHARE, share))
    return [*shares, *many]


def ways(case: Case, line: Line, amounts: Amounts) -> list[tuple[int, bool]]:
    """Connections and directions a case is measured with: the stream with all, many only where packets get lost.

    Several lanes only where one session's window is the limit, and beside them no tunnel with as many connections.
    """
    counts = [streams for streams in amounts.line_streams if streams < MANY]
    narrow = line.there.mbit_s * 1e6 / 8 * line.round_trip_ms / 1000 > SESSION_BYTES
    if case == STREAM_AUTO or (case == RAW and narrow):
        return [(streams, False) for streams in counts] if narrow else []
    if case.name not in (STREAM.name, BEFORE):
        return [(1, False)]
    counts = [streams for streams in amounts.line_streams if streams < MANY or line.there.loss]
    # What many connections leave in the link is in nobody's way at the end.
    few, many = ([(streams, False) for streams in counts if (streams >= MANY) == late] for late in (False, True))
    return [*few, (1, True), *many]


def _with_helper(pair: Pair, helper: Helper) -> None:
    """Both ends run this helper from their next start on."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as files:
        for name, text in helper.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            files.addfile(entry, io.BytesIO(text.encode()))
    unpack = f"rm -rf {INSTALLED} && mkdir -m 0755 {INSTALLED} && tar -x -C {INSTALLED}"
    for node in pair.both:
        docker("exec", "-i", node.container, "sh", "-c", unpack, stdin=packed.getvalue())


def _checked(pair: Pair, wan: Emulator, line: Line) -> Iterator[dict[str, Any]]:
    for check in checks(pair, wan, line):
        found = check.as_dict()
        if not found["agrees"]:
            say(f"  {found['what']}: {found['got']} measured, {found['asked']:g} asked")
        yield found


def _over(
    pair: Pair,
    wan: Emulator,
    amounts: Amounts,
    before: Helper | None,
    control: str | None,
    checked: list[dict[str, Any]],
) -> Iterator[Sample]:
    """checked: takes what each line was found to be."""
    now = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / HELPER).glob("*.py")}
    compared: list[tuple[Case, Helper]] = [(case, now) for case in CASES]
    if before is not None:
        compared.append((replace(STREAM, name=BEFORE, label="stream before"), before))
    for line in (line for line in LINES if line.name in amounts.lines):
        wan.become(line)
        say(f"line {line.label}")
        checked += _checked(pair, wan, line)
        for case, helper in compared:
            found = ways(case, line, amounts)
            if not found:
                continue
            if case.name in (STREAM.name, BEFORE, STREAM_AUTO.name):
                _with_helper(pair, helper)
            for sample in measure(pair, line, case, amounts, found, control):
                words = f"{sample.mbit_s:.1f} Mbit/s" if sample.mbit_s is not None else f"nothing: {sample.error}"
                say(f"  {case.name}, {sample.streams}{' back' if sample.back else ''}: {words}")
                yield sample


def helper_of(revision: Revision) -> Helper:
    """The helper in another revision, in which it may be the one file that it was."""

    def asked(*words: str) -> str:
        done = run_program(["git", *words], 60, revision.repository)
        if done.returncode:
            raise BenchError(f"{revision.word} has no {HELPER}: {done.stderr.strip().splitlines()[-1]}")
        return done.stdout

    names = asked("ls-tree", "--name-only", f"{revision.commit}:roles/tunnel/files").split()
    if Path(FORMER).name in names:
        return {"__main__.py": asked("show", f"{revision.commit}:{FORMER}")}
    rooms = asked("ls-tree", "--name-only", f"{revision.commit}:{HELPER}").split()
    return {name: asked("show", f"{revision.commit}:{HELPER}/{name}") for name in rooms}


def check_control(name: str) -> None:
    """Whether this kernel, which the nodes share, has a congestion control."""
    known = AVAILABLE.read_text(encoding="ascii").split()
    if name not in known:
        raise BenchError(f"--control={name} is not what this kernel has; there are {', '.join(known)}")


def run(amounts: Amounts, beside: Revision | None, control: str | None, tell: Tell) -> None:
    """The report is bench_wan; control: what the connections over the lines use, None for the kernel's default.

    Those inside a link go another way, and have the default in any case.
    """
    started = time.monotonic()
    before = helper_of(beside) if beside else None
    with pair_of_nodes(LAB) as nodes, emulator(nodes, control) as wan:
        cloud, edge = (replace(node, address=end) for node, end in zip(nodes.both, ENDS, strict=True))
        pair = Pair(nodes.name, cloud, edge)
        prepare(pair)
        pair.cloud.sh(running(f"python3 {AGENT} answer '[]'", unit="bench-answer"))
        build(pair, CASES)
        checked: list[dict[str, Any]] = []
        samples = list(_over(pair, wan, amounts, before, control, checked))
        default = pair.edge.sh("sysctl -n net.ipv4.tcp_congestion_control")
    found = rows(samples)
    report = {
        "rows": found,
        "aims": aims(found),
        "checks": checked,
        "lines": {line.name: line.label for line in LINES if line.name in amounts.lines},
        "congestion_control": control or default,
        "inner_congestion_control": default,
        "beside": beside.word if beside else None,
        "seconds_per_transfer": amounts.line_seconds,
        "seconds_over_slow_lines": amounts.line_seconds * SLOW_TIMES,
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    tell("bench_wan", report)
