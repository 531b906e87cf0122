# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench's pure parts: what it reads out of the tools' answers, ratios, aims, chart, page."""

from __future__ import annotations

import errno
import operator
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import agent, firewall, fleet, page, process, ruleset, site
from tests.bench.cases import CASES, PIPE, RAW, RECIPE, STREAM, TUN
from tests.bench.chart import draw
from tests.bench.links import let_in
from tests.bench.measure import Sample, median, p95, per_gbyte, received
from tests.bench.options import PARTS, SMALLEST, options
from tests.bench.process import BenchError, alone, put, run
from tests.bench.report import aims, paired, rows
from tests.bench.soak import disconnects

PING = """\
PING 172.31.0.1 (172.31.0.1) 56(84) bytes of data.
64 bytes from 172.31.0.1: icmp_seq=1 ttl=64 time=0.541 ms
64 bytes from 172.31.0.1: icmp_seq=3 ttl=64 time=12.0 ms

--- 172.31.0.1 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 20ms
rtt min/avg/max/mdev = 0.541/6.270/12.000/5.729 ms
"""


def sample(
    case: str, number: int, gbit_s: float | None, path: str = "overlay", streams: int = 1, **more: float
) -> Sample:
    return Sample(case, path, streams, number, gbit_s=gbit_s, **more)  # type: ignore[arg-type]


def test_round_trips_are_those_that_came_back() -> None:
    assert agent.round_trips(PING) == [0.541, 12.0]
    assert agent.round_trips("") == []


def test_the_recipe_is_let_in_on_a_hub_that_forbids_it_to_everybody() -> None:
    """Outside a Match block the drop-in that is read first decides; inside one nothing else does."""
    first, *rest = let_in("192.0.2.5").splitlines()
    assert first == "Match User root Address 192.0.2.5"
    assert [line.split() for line in rest] == [
        ["PermitRootLogin", "prohibit-password"],
        ["DisableForwarding", "no"],
        ["PermitTunnel", "yes"],
    ]


def test_a_program_runs_in_the_network_of_a_process_or_at_home() -> None:
    assert agent.within("12") == ["nsenter", "--target=12", "--net"]
    assert agent.within("") == []


def test_both_directions_count() -> None:
    end = {"bytes": 500, "seconds": 2.0}
    assert received({"error": None, "end": {"sum_received": end}}) == (500.0, 2.0)
    both = {"sum_received": end, "sum_received_bidir_reverse": {"bytes": 700, "seconds": 2.5}}
    assert received({"error": None, "end": both}) == (1200.0, 2.5)


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "unable to connect", "end": {}},
        {"error": None, "end": {}},
        {"error": None, "end": {"sum_received": {"bytes": 0, "seconds": 3.0}}},
    ],
)
def test_a_transfer_that_brought_nothing_is_no_figure(answer: dict) -> None:
    with pytest.raises(BenchError, match="iperf3"):
        received(answer)


def test_what_the_machine_does_anyway_is_not_charged() -> None:
    assert per_gbyte(busy=5.0, seconds=2.0, rest=0.5, count=2e9) == 2.0
    assert per_gbyte(busy=0.1, seconds=2.0, rest=0.5, count=2e9) is None


def test_the_middle_and_the_far_end() -> None:
    assert median([]) is None
    assert p95([]) is None
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert p95([float(number) for number in range(100)]) == 95.0


def test_ratios_are_taken_within_a_round() -> None:
    """The second round ran on a machine half as fast: the ratio does not see it."""
    found = [
        sample("recipe", 0, 0.4),
        sample("stream", 0, 4.0),
        sample("recipe", 1, 0.2),
        sample("stream", 1, 2.0),
        sample("stream", 2, 9.0),  # its pair failed
        sample("recipe", 2, None),
    ]
    stream, recipe = ("stream", "overlay", 1), ("recipe", "overlay", 1)
    assert paired(found, stream, recipe) == pytest.approx(10.0)
    assert paired(found, stream, recipe, compare=operator.sub) == pytest.approx(2.7)
    assert paired(found, stream, ("recipe", "bare", 1)) is None


def test_a_row_compares_with_the_recipe_on_the_same_path_and_with_the_one_pipe() -> None:
    found = [
        sample("recipe", 0, 0.5, streams=8),
        sample("stream", 0, 5.0, streams=8, rtt_idle_ms=0.5, restarts=1),
        sample("pipe", 0, 6.25, path="bare"),
    ]
    table = {row["case"]: row for row in rows(found)}
    assert list(table) == ["recipe", "stream", "pipe"]
    row = table["stream"]
    assert (row["path"], row["streams"], row["gbit_s"]) == ("overlay", 8, 5.0)
    assert (row["ratio_to_recipe"], row["ratio_to_pipe"], row["rtt_idle_ms"]) == (10.0, 0.8, 0.5)
    assert (row["restarts"], row["failed"], row["rtt_loaded_ms"]) == (1, 0, None)
    assert table["pipe"]["ratio_to_pipe"] == 1.0


def test_what_each_process_of_a_stream_uses_is_told_apart() -> None:
    found = [
        sample("stream", 0, 5.0, path="bare", dialling=0.7, ssh=0.8, sshd=0.9, serving=1.25, cpu_s_per_gbyte=3.75),
        sample("tun", 0, 2.0, path="bare", cpu_s_per_gbyte=6.0),
        sample("pipe", 0, 6.25, path="bare", ssh=0.6, cpu_s_per_gbyte=2.5),
    ]
    assert page.processes({"rows": rows(found)}).splitlines()[2:] == [
        f"| {STREAM.label}, node to node | 1 | 0.70 | 0.80 | 0.90 | 1.25 | 3.75 |",
        f"| {PIPE.label} | 1 | - | 0.60 | - | - | 2.50 |",
    ]
    assert page.processes({"rows": rows(found[1:2])}) == ""


def test_the_processor_seconds_of_a_process_are_the_kernels() -> None:
    before = agent.processor_seconds(str(os.getpid()))
    deadline = time.monotonic() + 60
    while agent.processor_seconds(str(os.getpid())) < before + 0.05:
        assert time.monotonic() < deadline, "this loop uses a processor"
    assert agent.link_processes("tun4040404") == {"helper": 0, "ssh": 0}


def test_every_row_has_the_keys_that_were_promised() -> None:
    promised = "case path streams gbit_s ratio_to_recipe ratio_to_pipe rtt_idle_ms rtt_loaded_ms cpu_s_per_gbyte"
    (row,) = rows([Sample("tun", "bare", 8, 0, error="iperf3: no figures")])
    assert set(promised.split()) <= set(row)
    assert (row["gbit_s"], row["failed"]) == (None, 1)


def verdicts(found: list[Sample], soak: dict | None = None, helper: float | None = 25.0) -> dict[str, dict]:
    return {aim["aim"]: aim for aim in aims(found, soak, helper)}


def test_an_aim_is_met_or_missed_by_so_much() -> None:
    found = [
        sample("recipe", 0, 0.4),
        sample("stream", 0, 5.0, cpu_s_per_gbyte=4.0),
        sample("stream", 0, 5.0, path="bare", rtt_loaded_ms=3.0),
        sample("pipe", 0, 10.0, path="bare", cpu_s_per_gbyte=2.0, rtt_loaded_ms=0.5, rtt_full_ms=4.0),
    ]
    told = verdicts(found)
    times = told["overlay, 1 stream: times the recipe"]
    assert (times["got"], times["met"], times["by_percent"]) == (12.5, True, 25.0)
    share = told["overlay, 1 stream: share of ssh cat"]
    assert (share["got"], share["met"]) == (0.5, False)
    assert share["by_percent"] == pytest.approx(-33.3)
    cost = told["overlay, 1 stream: CPU per gigabyte, times ssh cat's"]
    assert (cost["got"], cost["met"], cost["by_percent"]) == (2.0, False, -33.3)
    delay = "bare, 1 stream: round trip under load, times that of an ssh pipe "
    assert [told[delay + kind]["got"] for kind in ("at the same rate", "kept full")] == [6.0, 0.75]
    assert told["overlay, 8 streams: times the recipe"]["met"] is None
    assert told["peak memory of a helper, MB"]["met"] is True


def test_a_session_that_ended_is_a_disconnect() -> None:
    log = (
        "overssh-stream: connected to stream, 1 lane\n"
        "overssh-stream (far end): ended: the dialling end has been silent for 2.5 s\n"
        "overssh-stream: ended: stream has been silent for 2.5 s\n"
        "Killed by signal 15.\n"
        "overssh-stream: connected to stream, 1 lane\n"
    )
    assert disconnects(log) == 1


def test_a_soak_has_to_stay_connected() -> None:
    told = verdicts([], {"disconnects": 1, "restarts": 0}, None)
    assert (told["soak: disconnects"]["met"], told["soak: restarts"]["met"]) == (False, True)
    assert told["peak memory of a helper, MB"]["met"] is None


def table() -> list[dict]:
    found = []
    for number, case in enumerate(CASES):
        for path in ("bare", "overlay") if case != PIPE else ("bare",):
            found += [
                sample(case.name, 0, 0.5 + number, path, streams) for streams in ((1, 8) if case != PIPE else (1,))
            ]
    return rows(found)


def test_the_chart_shows_each_case_but_the_raw_link_and_the_pipe_as_a_line() -> None:
    chart = draw(table())
    ElementTree.fromstring(chart)  # noqa: S314 - our own text
    for case in CASES:
        assert (f">{case.label}<" in chart) == (case not in (RAW, PIPE))
    assert 'class="pipe"' in chart
    assert "ssh cat 7.50" in chart
    assert chart.count('<rect class="s8" x="160"') == len(CASES) - 2


def test_the_chart_stands_without_figures() -> None:
    ElementTree.fromstring(draw([]))  # noqa: S314 - our own text
    ElementTree.fromstring(draw(rows([sample(TUN.name, 0, None)])))  # noqa: S314 - our own text


def report() -> dict:
    facts = {
        "cpus": 2,
        "cpu": "x",
        "memory_gib": 24.0,
        "kernel": "6",
        "load_before": [0.1],
        "versions": {"openssh": "10"},
    }
    return {
        "rows": table(),
        "aims": aims([], None, 25.0),
        "soak": {"streams": 8, "minutes": 10, "gbit_s": 3.0, "disconnects": 0, "restarts": 0},
        "machine": facts,
        "settings": {case.name: case.settings for case in CASES},
        "rounds": 5,
        "seconds_per_transfer": 3,
    }


def test_the_page_is_filled_in_its_marked_parts_only_and_the_same_each_time() -> None:
    text = "Words.\n<!-- bench: overlay -->\nold\n<!-- end -->\nMore.\n<!-- bench: soak -->\n<!-- end -->\n"
    filled = page.filled(text, page.parts(report()))
    assert filled.startswith("Words.\n<!-- bench: overlay -->\n| transport |")
    assert "old" not in filled
    assert "\nMore.\n" in filled
    assert f"| {STREAM.label} | 3.50 | 3.50 |" in filled
    assert f"| {PIPE.label} |" not in filled  # no overlay without packets
    assert "0 disconnects" in filled
    assert page.filled(filled, page.parts(report())) == filled


def test_kept_figures_come_to_their_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.md"
    path.write_text("<!-- bench: fleet -->\nold\n<!-- end -->\n<!-- bench: site -->\nkept\n<!-- end -->\n")
    monkeypatch.setattr(page, "DOCS", tmp_path)
    monkeypatch.setattr(page, "PAGES", (path,))
    plans = [{"nodes": 10_000, "links": 19997, "seconds": 1.5, "memory_mb": 130.0}]
    page.keep({"bench_fleet": {"plans": plans, "aims": fleet.aims(plans), "samples": [1.5]}})
    page.write()
    assert "samples" not in (tmp_path / "bench_fleet.json").read_text()
    assert "| 10000 | 19997 | 1.50 | 130 |" in path.read_text()
    assert "kept" in path.read_text()


def test_a_part_without_figures_stays_as_it_is() -> None:
    text = "<!-- bench: window -->\nold\n<!-- end -->\n"
    assert page.filled(text, page.parts(report())) == text


def test_how_long_a_tunnel_lived() -> None:
    lived = [
        {"mtu": 9000, "share": None, "lived_s": 11.4, "ended": True},
        {"mtu": 9000, "share": 0.5, "lived_s": 180.2, "ended": False},
    ]
    told = page.window({"carried": [{"mtu": 9000, "bare_1": 2.71, "overlay_1": None}], "lived": lived})
    assert told.splitlines()[0].endswith("| lived unshaped | shaped to 50% |")
    assert told.splitlines()[2] == "| 9000 | 2.71 | - | 11 s | 180 s and on |"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("transports", ("overlay", "bare", "aims", "soak", "setting", "window")),
        ("lines", ("wan",)),
        ("firewall", ("firewall",)),
        ("speed", ("site", "fleet")),
    ],
)
def test_the_pages_have_every_part(name: str, parts: tuple[str, ...]) -> None:
    (path,) = [path for path in page.PAGES if path.stem == name]
    text = path.read_text(encoding="utf-8")
    for part in parts:
        assert f"<!-- bench: {part} -->\n" in text
    for chart, its_page in (("bench.svg", "transports"), ("lines.svg", "lines")):
        assert (f"({chart})" in text) == (name == its_page)


@pytest.mark.parametrize(
    "words",
    [
        ["--quick"],
        ["--parts", "site,firewall"],
        ["--cases", "stream,recipe"],
        ["--rounds", "4"],
        ["--seconds", "2.5"],
        ["--soak-minutes", "9"],
        ["--site-rounds", "1"],
        ["--control", "cubic"],
    ],
)
def test_only_a_complete_run_is_kept_for_the_docs(words: list[str]) -> None:
    assert options([]).complete
    assert options(["--rounds", "6", "--beside", "HEAD"]).complete
    assert not options(words).complete


def test_the_user_chooses_parts_cases_and_amounts() -> None:
    assert options([]).parts == PARTS
    some = options(["--parts", "site, firewall", "--cases", "stream,recipe", "--rounds", "2"])
    assert (some.parts, some.cases, some.amounts.rounds) == (("firewall", "site"), (RECIPE, STREAM), 2)
    assert options(["--quick"]).amounts == SMALLEST
    assert options(["--quick", "--seconds", "2"]).amounts.seconds == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--parts", "site,pigeon"], f"--parts has pigeon; there are {', '.join(PARTS)}"),
        (["--parts", ","], "--parts has no name; there are transports, soak, window, wan, firewall, fleet, site"),
        (["--cases", "carrier-pigeon"], "--cases has carrier-pigeon; there are raw, recipe, tun, stream"),
        (["--rounds", "0"], "argument --rounds: 0 is no number above 0"),
        (["--seconds", "nan"], "argument --seconds: nan is no number above 0"),
        (["--soak-minutes", "long"], "argument --soak-minutes: long is no number above 0"),
        (["--parts", "soak", "--beside", "HEAD"], "--beside is about the parts site and wan, which --parts leaves out"),
        (["--parts", "soak", "--control", "bbr"], "--control is about the part wan, which --parts leaves out"),
        (["--beside", "HEAD", "please"], "unrecognized arguments: please"),
    ],
)
def test_a_wrong_word_is_one_sentence(words: list[str], complaint: str) -> None:
    with pytest.raises(BenchError) as told:
        options(words)
    assert str(told.value).startswith(complaint)
    assert "\n" not in str(told.value)


def test_a_second_bench_has_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOCK", f"\0overssh-bench-test-{os.getpid()}")
    with alone(), pytest.raises(BenchError, match="another bench runs on this machine"), alone():
        pass
    with alone():
        pass


def test_a_file_that_can_not_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "new" / "bench.json", "old")

    def full(_self: Path, _text: str, **_more: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(BenchError, match=r"bench\.json can't be written: No space left on device"):
        put(tmp_path / "new" / "bench.json", "new")
    assert (tmp_path / "new" / "bench.json").read_text() == "old"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["bench.json"]


def test_a_program_that_is_missing_or_does_not_end_is_a_sentence() -> None:
    with pytest.raises(BenchError, match="overssh-no-such is not installed here"):
        run(["overssh-no-such"], 1)
    with pytest.raises(BenchError, match=r"`sleep 60 …` did not end within 0 s"):
        run(["sleep", "60"], 0.1)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Also where the tests were begun in the background, which is to ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_what_interrupts_the_bench_ends_what_a_program_started(tmp_path: Path) -> None:
    """The program clears up, as plain.sh does."""
    script = f"trap 'touch {tmp_path}/cleared' EXIT; touch {tmp_path}/there; sleep 60; touch {tmp_path}/late"

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while not (tmp_path / "there").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    started = time.monotonic()
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(["bash", "-c", script], 60)
    thread.join()
    assert time.monotonic() - started < 50
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cleared", "there"]


def build_of(*rounds: tuple[float, float, float]) -> site.Build:
    tasks = {"cloud1": 120, "edge1": 100}
    steps = [step for step, _playbook in site.STEPS]
    return site.Build(
        process.ROOT,
        process.ROOT,
        dict(zip(steps, map(list, zip(*rounds, strict=True)), strict=True)),
        dict.fromkeys(steps, tasks),
    )


def test_site_is_held_against_the_script_of_its_round() -> None:
    """The second round ran on a machine half as fast: the ratio does not see it."""
    found = site.report([10.0, 20.0], [build_of((18.0, 14.0, 4.0), (36.0, 28.0, 8.0))], None)
    assert (found["script_s"], found["site_first_s"], found["verify_s"]) == (15.0, 27.0, 6.0)
    assert (found["first_to_script"], found["second_to_script"]) == (1.8, 1.4)
    assert (found["beside"], found["ratio_to_beside"]) == (None, None)
    assert [(aim["aim"], aim["limit"], aim["met"]) for aim in found["aims"]] == [
        ("first_to_script", 2.0, True),
        ("second_to_script", 1.3, False),
        ("verify_s", 5.0, False),
    ]
    told = page.site({"nodes": 3, "load_before": 0.1, **found})
    assert "| the shell script | 15.0 | 1.00 | - |\n" in told
    assert "| `site` on fresh nodes | 27.0 | 1.80 | 120 |\n" in told
    assert "the first run, times the script: 1.80 of 2, met; " in told
    assert "3 nodes, medians of 2 rounds on" in told


def test_site_is_held_against_another_revision() -> None:
    builds = [build_of((18.0, 12.0, 4.0)), build_of((36.0, 24.0, 16.0))]
    found = site.report([10.0], builds, site.Revision("0123456789abcdef", "v1"))
    assert found["ratio_to_beside"] == {"first": 0.5, "second": 0.5, "verify": 0.25}
    assert (found["beside"]["revision"], found["beside"]["first_to_script"]) == ("0123456789ab", 3.6)
    told = page.site({"nodes": 3, "load_before": 0.1, **found})
    assert "| `verify` alone | 4.0 | 0.40 | 120 | 16.0 | 1.60 | 0.25 |\n" in told


def test_a_revision_that_does_not_exist_is_named() -> None:
    with pytest.raises(BenchError, match="--beside=no-such is no revision of this repository"):
        site.revision("no-such")


def test_another_revision_is_unpacked_for_as_long_as_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a repository of its own, as the checkout that is tested may have none."""
    monkeypatch.setattr(site, "BESIDE", tmp_path / "build" / "beside")
    (tmp_path / "galaxy.yml").write_text("then")
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
    for words in (["init", "--quiet"], ["add", "galaxy.yml"], [*who, "commit", "--quiet", "--message", "then"]):
        assert run(["git", *words], 60, tmp_path).returncode == 0
    (tmp_path / "galaxy.yml").write_text("now")
    with site.built(site.revision("HEAD", tmp_path)) as (_here, then):
        assert (then.home / "galaxy.yml").read_text() == "then"
        assert then.home == then.collections / "ansible_collections" / "overssh" / "swarm"
    assert not site.BESIDE.exists()


def test_the_tasks_of_a_host_are_those_of_the_recap() -> None:
    recap = "cloud1   : ok=80   changed=0    unreachable=0    failed=0    skipped=12   rescued=0    ignored=0\n"
    assert site.tasks_per_host(recap) == {"cloud1": 92}


def test_the_largest_fleet_decides_about_its_aims() -> None:
    plans = [{"nodes": 1000, "links": 1997, "seconds": 3.0, "memory_mb": 70.0}]
    assert [aim["met"] for aim in fleet.aims(plans)] == [None, None]
    plans.append({"nodes": 10_000, "links": 19997, "seconds": 2.5, "memory_mb": 130.0})
    assert [aim["met"] for aim in fleet.aims(plans)] == [False, True]
    told = page.fleet({"plans": plans, "aims": fleet.aims(plans)})
    assert "| 10000 | 19997 | 2.50 | 130 |" in told
    assert "the largest fleet, s: 2.50 of 2, **missed**" in told


def looked(seconds: float, run: float = 1.0) -> dict[str, float]:
    names = (*page.SPEEDS, "observe_s", "plan_s", "memory_mb", "nft_memory_mb")
    return {**dict.fromkeys(names, 1.0), "look_s": seconds, "run_s": run}


def test_the_worst_task_decides_about_the_aims_of_the_firewall() -> None:
    found = [
        firewall.row(case, 10, [looked(3.0 if case.ruleset == "usual" else 1.5, 2.0 * case.rules / 50)] * 2)
        for case in firewall.CASES
    ]
    assert [(aim["aim"], aim["got"], aim["met"]) for aim in firewall.aims(found)] == [
        ("look_s", 1.5, True),
        ("memory_mb", 1.0, True),
        ("run_s", 2.0, True),
    ]
    slow = [{**row, "look_s": 2.1} if row["places"] == "named" else row for row in found]
    assert firewall.aims(slow)[0]["met"] is False
    report = {"rows": slow, "aims": firewall.aims(slow), "rounds": 2, "load_before": 0.1, "cpus": 2}
    assert "| 10 | 50 | named | 1.00 | 1.00 | 2.10 | 1.00 | 1.00 | 2.00 | 1.00 | 1 | 1 |" in page.firewall(report)
    assert "observe and plan, s: 2.10 of 2, **missed**" in page.firewall(report)


def test_the_large_ruleset_has_as_many_rules_as_it_says() -> None:
    iptables = sum(line.startswith("-A") for line in ruleset.iptables().splitlines())
    rows = [line for line in ruleset.nft().splitlines() if line.startswith("    ") and " hook " not in line]
    assert iptables + len(rows) == ruleset.RULES
