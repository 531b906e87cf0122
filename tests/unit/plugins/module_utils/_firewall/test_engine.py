# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of nft_rule: the wish, the plan, what is kept for the next boot."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer, CommandError
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.files import lock_folder
from ansible_collections.overssh.swarm.plugins.module_utils._core.program import program_files
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import desired as firewall_desired
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import engine as firewall_engine
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import info as firewall_info
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import options as firewall_options
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import persistence, restore, rollback_script
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import plan as firewall_plan
from ansible_collections.overssh.swarm.plugins.module_utils._linux import systemd as linux_systemd
from ansible_collections.overssh.swarm.plugins.module_utils._linux import way_in
from ansible_collections.overssh.swarm.plugins.module_utils._linux.ssh_session import Session
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import UnitState
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import chain_rule, rules_file
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import record as nftables_record
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.rules_file import Line
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.ruleset import (
    Chain,
    ChainKey,
    Rule,
    Ruleset,
    parse,
)
from ansible_collections.overssh.swarm.plugins.module_utils._watcher import unit as watcher_unit

RECORDED = Path(__file__).resolve().parents[4] / "recorded" / "nft" / "1.1.3"
DEFAULTS = {name: option.get("default") for name, option in firewall_options.ARGUMENTS.items()}
TCP = {"name": "swarm/tcp", "protocol": "tcp", "ports": ["2377"], "in_interfaces": ["tun1"]}
UDP = {"name": "swarm/udp", "protocol": "udp", "ports": ["4789"], "in_interfaces": ["tun1"]}
KEY = ChainKey("inet", "filter", "input")
OTHERS = rules_file.Line(KEY, 'iifname "tun9" accept comment "overssh:other"')
COMPLETE = {unit: UnitState(text=text, enabled=True, active="active") for unit, text in persistence.UNITS.items()}

PROGRAM = program_files(watcher_unit.PROGRAM_FOLDER, watcher_unit.PROGRAM)
WATCHING = watcher_unit.Watch(PROGRAM, UnitState(watcher_unit.unit_text(), True, "active"), rules=True)
KEEPING = {
    "script": persistence.SCRIPT,
    "program": persistence.PROGRAM_FILES,
    "units": COMPLETE,
    "watch": WATCHING,
}
WATCHER_GONE = ["stop_unit", "disable_unit", "delete_unit", "watch_program"]


def desired(**options):
    return firewall_desired.desired_from({**DEFAULTS, **options})


def firewall(name="cloud_reject_last", **more):
    ruleset = parse((RECORDED / f"{name}.json").read_text(), (RECORDED / f"{name}.txt").read_text())
    return firewall_plan.Observed(ruleset, **more)


def placed_firewall(**more):
    """The recorded ruleset with the two rules in their places."""
    found = firewall(**more)
    listing = json.loads((RECORDED / "cloud_reject_last.json").read_text())
    for handle, placement in enumerate(firewall_plan.decide(desired(rules=[TCP, UDP]), found).added, start=100):
        rule = {"family": "inet", "table": "filter", "chain": "input", "handle": handle}
        rule.update(expr=list(placement.piece.statements), comment=placement.piece.comment)
        position = next(
            index for index, entry in enumerate(listing["nftables"]) if entry.get("rule", {}).get("chain") == "input"
        )
        listing["nftables"].insert(position, {"rule": rule})
    return firewall_plan.Observed(parse(json.dumps(listing)), **more)


def recorded(found, **options):
    """The firewall with the record that the wish leaves."""
    record = firewall_plan.decide(desired(**options), found).record
    return replace(found, record=record, placed_text=record.text)


def test_one_rule_and_a_list_of_one_are_the_same_wish():
    assert desired(**TCP) == desired(rules=[TCP])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rules": [TCP, TCP]}, "stands for several rules"),
        ({"all": True}, "state: absent"),
        ({"all": True, "state": "absent", "name": "x"}, "no rule named"),
        ({"name": "x"}, "everything from everywhere"),
    ],
)
def test_wishes_that_contradict_themselves(options, sentence):
    with pytest.raises(OversshError, match=sentence):
        desired(**options)


def test_a_name_is_enough_to_take_a_rule_away():
    plan = firewall_plan.plan_rules(desired(state="absent", name="swarm/tcp", persist=False), placed_firewall())
    assert [step.action for step in plan.steps] == ["change"]
    assert [command["delete"]["rule"]["handle"] for command in plan.steps[0].args["commands"]] == [100]


def test_rules_are_taken_away_by_a_run_that_comes_by_ssh():
    """Also where nothing else is asked for: what cuts the connection is looked for all the same."""
    session = Session("192.0.2.1", "192.0.2.2", 22, "eth0")
    plan = firewall_plan.plan_rules(desired(state="absent", all=True), placed_firewall(session=session))
    assert [step.action for step in plan.steps] == ["change"]


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({"rules": [TCP], "exclusive_prefix": ["swarm/"]}, {101}),
        ({"rules": [], "exclusive_prefix": ["fleet/", "swarm/"]}, {100, 101}),
        ({"rules": [], "exclusive_prefix": [""]}, {100, 101}),
        ({"rules": [], "exclusive_prefix": ["swarm/"]}, {100, 101}),
        ({"rules": [], "exclusive_prefix": ["fleet/"]}, set()),
        ({"state": "absent", "exclusive_prefix": ["swarm/"]}, {100, 101}),
        ({"state": "absent", "all": True}, {100, 101}),
        ({"state": "absent", "name": "unheard"}, set()),
    ],
)
def test_what_else_of_ours_goes(options, gone):
    decision = firewall_plan.decide(desired(**options), placed_firewall())
    assert {rule.handle for _, rule in decision.removed} == gone
    assert decision.added == ()


DROP = {"name": "no", "chain": "inet overssh early", "hook": "input", "priority": -10, "verdict": "drop"}


@pytest.mark.parametrize(
    ("found", "options", "may"),
    [
        (firewall, {"rules": [TCP, UDP]}, False),
        (placed_firewall, {"rules": [TCP, UDP]}, False),
        (placed_firewall, {"rules": [TCP], "exclusive_prefix": ["swarm/"]}, True),
        (placed_firewall, {"rules": [{**TCP, "ports": ["9"]}, UDP]}, True),
        (placed_firewall, {"state": "absent", "all": True}, True),
    ],
)
def test_what_only_accepts_cuts_nobody(found, options, may):
    decision = firewall_plan.decide(desired(**options), found())
    assert decision.may_cut is may


def test_a_rule_in_a_chain_of_the_users_may_cut():
    written = {"no": (chain_rule.Written("overssh:no", ({"drop": None},), "drop"),)}
    decision = firewall_plan.decide(desired(**DROP), firewall(written=written))
    assert decision.may_cut


def test_all_changes_are_one_transaction_and_can_be_taken_back():
    plan = firewall_plan.plan_rules(desired(rules=[{**TCP, "ports": ["9"]}, UDP], persist=False), placed_firewall())
    known, step = plan.steps
    assert known.label == "write /etc/overssh/nft/placed"
    verbs = [next(iter(command)) for command in step.args["commands"]]
    assert verbs == ["delete", "insert"]
    assert step.args["commands"][1]["insert"]["rule"]["handle"] == 8
    (back,) = step.inverse.args["commands"]
    assert back["insert"]["rule"]["expr"][1]["match"]["right"] == 2377
    assert back["insert"]["rule"]["handle"] == 3


def test_a_host_as_wished_needs_nothing():
    lines = firewall_plan.decide(desired(rules=[TCP, UDP]), placed_firewall()).lines
    found = placed_firewall(kept_text=rules_file.file_text(lines), **KEEPING)
    assert firewall_plan.plan_rules(desired(rules=[TCP, UDP]), found).labels == ["write /etc/overssh/nft/placed"]
    plan = firewall_plan.plan_rules(desired(rules=[TCP, UDP]), recorded(found, rules=[TCP, UDP]))
    assert not plan.changed
    assert plan.before == plan.after


def test_rules_are_kept_for_the_next_boot():
    plan = firewall_plan.plan_rules(desired(rules=[TCP]), firewall())
    assert [step.action for step in plan.steps] == [
        "write",
        "change",
        *["write"] * 2,
        "program",
        *["write_unit"] * 2,
        *["watch_program", "write_unit"],
        *["enable_unit"] * 3,
        *["start_unit"] * 2,
        "restart_unit",
    ]
    assert [step.action for step in plan.inverse] == [
        *["stop_unit"] * 3,
        *["disable_unit"] * 3,
        *["delete_unit", "watch_program"],
        *["delete_unit"] * 2,
        "program",
        *["remove"] * 2,
        "take_back",
        "remove",
    ]
    (line,) = rules_file.read_lines(plan.steps[2].args["text"])
    assert line.name == "swarm/tcp"
    assert line.rule == 'iifname "tun1" tcp dport 2377 accept comment "overssh:swarm/tcp"'
    assert line.anchor == 'log prefix "rejected: " limit rate 5/minute burst 5 packets'


def test_what_other_tasks_keep_stays_kept():
    found = firewall(kept_text=rules_file.file_text([OTHERS]), **KEEPING)
    lines = firewall_plan.decide(desired(rules=[TCP]), found).lines
    assert [line.name for line in lines] == ["other", "swarm/tcp"]
    assert firewall_plan.decide(desired(state="absent", name="swarm/tcp"), found).lines == (OTHERS,)


def test_a_rule_that_is_not_to_be_kept_is_forgotten():
    lines = firewall_plan.decide(desired(rules=[TCP]), firewall()).lines
    found = placed_firewall(kept_text=rules_file.file_text(lines), **KEEPING)
    plan = firewall_plan.plan_rules(desired(rules=[TCP], persist=False), recorded(found, rules=[TCP], persist=False))
    assert [step.action for step in plan.steps] == [
        *WATCHER_GONE,
        *["stop_unit", "disable_unit", "delete_unit"] * 2,
        "program",
        *["remove"] * 2,
    ]


def test_a_watcher_that_has_devices_to_look_after_stays():
    watch = replace(WATCHING, devices=frozenset({"tun1001"}))
    lines = rules_file.file_text([OTHERS])
    found = placed_firewall(kept_text=lines, **{**KEEPING, "watch": watch})
    actions = [step.action for step in firewall_plan.plan_rules(desired(state="absent", all=True), found).steps]
    assert actions == ["change", *["stop_unit", "disable_unit", "delete_unit"] * 2, "program", *["remove"] * 2]


def test_the_last_rule_takes_everything_along():
    found = placed_firewall(kept_text=rules_file.file_text([OTHERS]), **KEEPING)
    plan = firewall_plan.plan_rules(desired(state="absent", all=True), found)
    assert [step.action for step in plan.steps] == [
        "change",
        *WATCHER_GONE,
        *["stop_unit", "disable_unit", "delete_unit"] * 2,
        "program",
        *["remove"] * 2,
    ]
    assert not any(plan.after.values())
    assert not firewall_plan.plan_rules(desired(state="absent", all=True), firewall()).changed


def test_the_kept_file_reads_back():
    lines = (OTHERS, rules_file.Line(KEY, 'accept comment "overssh:x"', "counter drop"))
    assert rules_file.read_lines(rules_file.file_text(lines)) == lines
    assert rules_file.read_lines("someone's own words\n") == ()
    assert rules_file.read_lines(None) == ()


def test_a_table_that_another_program_owns_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(nftables_record, "PLACED_FILE", str(tmp_path / "placed"))

    def run(argv, data=None, check=True):
        if argv[0] == "sh":
            return Answer(127, "", "")
        if "-c" in argv:
            raise CommandError("nft -j -c: internal:0:0-0: Error: Could not process rule: Operation not permitted")
        name = "cloud_reject_last.json" if "-j" in argv else "cloud_reject_last.txt"
        return Answer(0, (RECORDED / name).read_text(), "")

    engine = firewall_engine.NftRuleEngine(desired(rules=[TCP], persist=False), run)
    with pytest.raises(OversshError, match="inet filter: another program owns the table"):
        engine.perform(engine.plan(engine.observe()).steps[1])


@pytest.mark.parametrize("flags", ["owner", "owner,persist"])
def test_a_table_that_another_program_owns_is_known_beforehand(flags):
    listing, words = ((RECORDED / f"cloud_reject_last.{kind}").read_text() for kind in ("json", "txt"))
    owned = re.sub(
        r"^(table inet filter \{).*$", rf"\1 # progname other # handle 1\n\tflags {flags}", words, flags=re.M
    )
    with pytest.raises(OversshError, match=r"^nft may not write to inet filter: another program owns the table, or"):
        firewall_plan.plan_rules(desired(rules=[TCP]), firewall_plan.Observed(parse(listing, owned)))
    for other in (owned.replace("owner", "dormant"), f"table ip6 theirs {{\n\tflags {flags}\n}}\n{words}"):
        assert firewall_plan.plan_rules(desired(rules=[TCP]), firewall_plan.Observed(parse(listing, other))).changed


@pytest.fixture
def waiting(monkeypatch, tmp_path):
    """A change of the firewall that somebody has to confirm yet; what is to become of it."""
    monkeypatch.setattr(nftables_record, "PLACED_FILE", str(tmp_path / "placed"))
    monkeypatch.setattr(checkpoint, "FOLDER", str(tmp_path / "checkpoint"))
    monkeypatch.setattr(linux_systemd, "UNIT_FOLDER", str(tmp_path / "units"))
    monkeypatch.setattr(firewall_engine, "LOCK", str(tmp_path))
    monkeypatch.setattr(way_in, "found", lambda: way_in.Way(way_in.now() + 1, connected=True))

    def leave(confirm="auto"):
        checkpoint.create(linux_systemd.Systemd(host), "firewall", "true", 30, {"name": "x", "confirm": confirm})
        return tmp_path

    return leave


def host(argv, data=None, check=True):
    """The recorded host, on which nothing is done."""
    if argv[0] in ("sh", "grep"):
        return Answer(127, "", "")
    if argv[0] == "systemctl":
        return Answer(0, "", "")
    assert argv[0] == "nft" and "-f" not in argv, argv
    return Answer(0, (RECORDED / f"cloud_reject_last.{'json' if '-j' in argv else 'txt'}").read_text(), "")


def engine_of(phase="apply", **options):
    """The module's engine; in check mode in the phase apply."""
    options = {**DEFAULTS, "rules": [TCP], "persist": False, "probe": ["192.0.2.1:22"], **options}
    foresees = phase == "apply"
    return firewall_engine.NftRuleEngine(
        firewall_desired.desired_from(options), host, phase, options["rollback_timeout"], options, foresees
    )


def everything_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("phase", ["apply", "stage"])
@pytest.mark.parametrize("confirm", ["auto", "manual"])
def test_a_second_change_is_refused_by_the_plan_as_in_check_mode(waiting, phase, confirm):
    folder = waiting(confirm="manual")
    before = everything_in(folder)
    engine = engine_of(phase, confirm=confirm)
    assert engine.recovery() == ()
    with pytest.raises(OversshError, match=r"^the change firewall before this one is not confirmed yet, and is rolled"):
        engine.plan(engine.observe())
    assert everything_in(folder) == before


def test_what_a_run_that_was_broken_off_has_left_is_told_of_in_check_mode_and_left(waiting):
    folder = waiting()
    before = everything_in(folder)
    engine = engine_of()
    assert [step.label for step in engine.recovery()] == ["roll back the change firewall that an earlier run has left"]
    assert engine.plan(engine.observe()).changed
    engine.close()
    assert everything_in(folder) == before


def test_a_time_that_no_checkpoint_has_is_refused_by_the_plan():
    for seconds in (4, 86401):
        with pytest.raises(OversshError, match=f"a checkpoint waits for 5 to 86400 seconds, not for {seconds}"):
            firewall_plan.refuse_checkpoint((), "firewall", seconds)
    firewall_plan.refuse_checkpoint([checkpoint.Checkpoint("firewall", 1e9, 1e9)], "firewall", 60)


def test_a_change_that_is_kept_is_proved_and_gets_its_time_before_the_host_is_observed(waiting):
    folder = waiting()
    before = everything_in(folder)
    engine = engine_of("commit")
    engine.observe()
    assert everything_in(folder) == before
    engine.hold()
    assert (folder / "checkpoint" / "firewall" / "proved").exists()
    assert checkpoint.find("firewall").deadline > time.time() + 100
    held = everything_in(folder)
    engine.plan(engine.observe())
    engine.close()
    assert everything_in(folder) == held


def test_a_change_that_is_rolled_back_while_it_is_kept_is_refused_by_the_plan_and_then_forgotten(waiting):
    folder = waiting()
    engine = engine_of("commit")
    engine.hold()
    (folder / "checkpoint" / "firewall" / "rolled_back").write_text("1000000000\n")
    with pytest.raises(OversshError, match="the change firewall was rolled back at"):
        engine.plan(engine.observe())
    assert checkpoint.find("firewall") is not None
    engine.close()
    assert checkpoint.find("firewall") is None


def test_firewalld_that_owns_nothing_here_is_refused_by_the_plan():
    with pytest.raises(OversshError, match="firewalld has no table in this host's ruleset; start it, or set owner"):
        firewall_plan.plan_rules(desired(rules=[TCP], owner="firewalld"), firewall())


def test_our_rules_are_told_with_their_counters():
    listing = json.loads((RECORDED / "cloud_reject_last.json").read_text())
    rule = {"family": "inet", "table": "filter", "chain": "input", "handle": 50, "comment": "overssh:x"}
    listing["nftables"].append(
        {"rule": {**rule, "expr": [{"counter": {"packets": 3, "bytes": 180}}, {"accept": None}]}}
    )
    kept = rules_file.file_text([rules_file.Line(KEY, 'accept comment "overssh:x"')])
    (told,) = firewall_info.our_rules(parse(json.dumps(listing)), kept)
    assert told["name"] == "x"
    assert (told["packets"], told["bytes"], told["persistent"], told["handle"]) == (3, 180, True, 50)


def test_a_listing_that_is_no_json_is_an_error():
    with pytest.raises(OversshError, match="JSON"):
        parse("nft: command not found")


def test_a_firewalld_that_does_not_run_keeps_nothing_of_ours():
    kept = {"/etc/firewalld/zones/overssh.xml": "<zone/>"}
    assert not firewall_plan.plan_rules(desired(exclusive_prefix=["x"]), firewall(of_firewalld=kept)).changed
    plan = firewall_plan.plan_rules(desired(state="absent", all=True), firewall(of_firewalld=kept))
    assert plan.labels == ["remove /etc/firewalld/zones/overssh.xml"]


def test_one_run_of_ours_at_a_time(tmp_path):
    held = lock_folder(str(tmp_path))
    with pytest.raises(OversshError, match=r"the end of another run that holds .* did not happen within 0.1 s"):
        lock_folder(str(tmp_path), timeout=0.1)
    held.release()
    again = lock_folder(str(tmp_path), timeout=0.1)
    assert again is not None
    again.release()
    assert lock_folder(str(tmp_path / "nowhere")) is None


def test_each_group_of_rules_has_a_checkpoint_and_a_task_for_several_takes_the_first_ones():
    assert rollback_script.names_of(desired(name="x", protocol="tcp")) == ["firewall"]
    assert rollback_script.names_of(desired(rules=[], exclusive_prefix=["fleet-", "closed-"])) == [
        "firewall-fleet",
        "firewall-closed",
    ]


def test_a_prefix_may_be_given_by_itself():
    """As playbooks do that have one: Ansible makes a list of it."""
    assert firewall_options.ARGUMENTS["exclusive_prefix"] == {"type": "list", "elements": "str"}


@pytest.mark.parametrize(("name", "twice"), [("second", False), ("first", True)])
def test_what_says_the_same_under_another_name_is_another_rule(name, twice):
    drop = ({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 2399}},)
    key = ChainKey("inet", "overssh", "early")
    rules = [
        Rule(number, drop, f"overssh:{each}", f'tcp dport 2399 comment "overssh:{each}"')
        for number, each in enumerate(["first", name], start=1)
    ]
    lines = [Line(key, rule.text) for rule in rules]
    found = Ruleset({key: Chain(key, tuple(rules))})
    assert [rule.handle for _key, rule in restore.surplus(lines, found)] == ([2] if twice else [])
