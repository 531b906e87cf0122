# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done for the account of the tunnels, and in which order."""

from __future__ import annotations

import pathlib
import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._account.engine import TunnelAccountEngine
from ansible_collections.overssh.swarm.plugins.module_utils._account.model import (
    AUTHORIZED_KEYS,
    COMMENT,
    FILE_MODE,
    FOLDER_MODE,
    HOME,
    KEY,
    KEY_MODE,
    KEYS,
    KEYS_MODE,
    PROGRAMS,
    Desired,
    Entry,
    Observed,
    Path,
    plan_account,
    sshd_texts,
)
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import checkpoint, left
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint.checkpoint import Checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._sshd import facts as sshd_facts
from ansible_collections.overssh.swarm.plugins.modules.tunnel_account import ARGUMENTS, desired_of

MAIN = "Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n"
NO_DROP_INS = "Port 22\n"
BLOCK = "Match User overssh\n    PermitTTY no\n"
FRESH = Observed(None, {}, main=MAIN, probed=("permittty no",))
STREAM = {"stream/__main__.py": "program", "stream/wire.py": "part"}
HUB = Desired(
    "overssh",
    login_shell="/bin/sh",
    programs=STREAM,
    authorized_keys="key\n",
    sshd_config=BLOCK,
    effective=("permittty no",),
)
EDGE = Desired("overssh", login_shell="/bin/sh", key="overssh:edge1", programs=STREAM)


def file(text: str, uid: int = 0, mode: int = FILE_MODE) -> Path:
    return Path(text, uid, uid, mode)


STANDING = Observed(
    Entry(990, 990, COMMENT, HOME, "/bin/sh"),
    {
        HOME: Path(None, 0, 0, FOLDER_MODE),
        PROGRAMS: Path(None, 0, 0, FOLDER_MODE),
        f"{PROGRAMS}/stream": Path(None, 0, 0, FOLDER_MODE),
        **{f"{PROGRAMS}/{name}": file(text) for name, text in STREAM.items()},
        AUTHORIZED_KEYS: file("key\n"),
        sshd_facts.OUR_DROP_IN: file(BLOCK),
        KEYS: Path(None, 990, 990, KEYS_MODE),
        KEY: file("", 990, KEY_MODE),
    },
    main=MAIN,
    effective=("permittty no",),
    probed=("permittty no",),
)


def labels(desired: Desired, observed: Observed) -> list[str]:
    return plan_account(desired, observed).labels


def test_a_dialled_host_lets_keys_in_before_sshd_is_told() -> None:
    assert labels(HUB, FRESH) == [
        "make the folder /etc/overssh",
        "make the account overssh",
        "make the folder /usr/local/lib/overssh",
        "make the folder /usr/local/lib/overssh/stream",
        "write /usr/local/lib/overssh/stream/wire.py",
        "write /usr/local/lib/overssh/stream/__main__.py",
        "write /etc/overssh/authorized_keys",
        "tell sshd about overssh",
    ]


def test_a_dialling_host_has_a_key_and_sshd_is_left_alone() -> None:
    assert labels(EDGE, replace(FRESH, probed=())) == [
        "make the folder /etc/overssh",
        "make the account overssh",
        "make a key for overssh",
        "make the folder /usr/local/lib/overssh",
        "make the folder /usr/local/lib/overssh/stream",
        "write /usr/local/lib/overssh/stream/wire.py",
        "write /usr/local/lib/overssh/stream/__main__.py",
    ]


@pytest.mark.parametrize("desired", [HUB, EDGE, replace(HUB, authorized_keys=None, sshd_config=None)])
def test_nothing_is_done_where_all_stands(desired: Desired) -> None:
    plan = plan_account(desired, STANDING)
    assert (plan.steps, plan.before) == ((), plan.after)


def test_sshd_forgets_before_the_keys_go() -> None:
    nobody = replace(HUB, authorized_keys="", sshd_config="", effective=())
    assert labels(nobody, STANDING) == ["have sshd forget overssh", "remove /etc/overssh/authorized_keys"]
    assert (
        labels(nobody, replace(STANDING, main=sshd_facts.with_block(NO_DROP_INS, BLOCK)))[0]
        == "have sshd forget overssh"
    )


def test_everything_goes_and_nobody_is_let_in_from_the_first_step_on() -> None:
    assert labels(Desired("overssh", present=False), STANDING) == [
        "have sshd forget overssh",
        "remove /etc/overssh/authorized_keys",
        "remove the account overssh",
        "remove /etc/overssh/keys",
        "remove /usr/local/lib/overssh",
    ]
    assert labels(Desired("overssh", present=False), FRESH) == []


@pytest.mark.parametrize(
    "entry",
    [
        Entry(1000, 1000, "", "/home/overssh", "/bin/bash"),
        Entry(990, 990, COMMENT, "/srv", "/bin/sh"),
        Entry(0, 0, "root", HOME, "/bin/bash"),
    ],
)
def test_an_account_of_somebody_else_is_neither_changed_nor_removed(entry: Entry) -> None:
    with pytest.raises(OversshError, match=r"^the account overssh is there and not ours .* overssh_user$"):
        plan_account(HUB, replace(STANDING, entry=entry))
    assert "remove the account overssh" not in labels(Desired("overssh", present=False), replace(STANDING, entry=entry))


def test_another_shell_is_given_and_given_back() -> None:
    (step,) = plan_account(replace(EDGE, login_shell="/bin/false"), STANDING).steps
    assert step.inverse is not None
    assert (step.args["shell"], step.inverse.args["shell"]) == ("/bin/false", "/bin/sh")


@pytest.mark.parametrize(
    ("path", "found", "label"),
    [
        (HOME, Path(None, 990, 990, FOLDER_MODE), "make the folder /etc/overssh"),
        (PROGRAMS, Path(None, 0, 0, 0o777), "make the folder /usr/local/lib/overssh"),
        (f"{PROGRAMS}/stream", Path(None, 0, 0, 0o700), "make the folder /usr/local/lib/overssh/stream"),
        (f"{PROGRAMS}/stream/wire.py", file("another"), "write /usr/local/lib/overssh/stream/wire.py"),
        (f"{PROGRAMS}/stream/wire.py", file("part", 990), "write /usr/local/lib/overssh/stream/wire.py"),
        (f"{PROGRAMS}/stream/json.py", file("stray"), "remove /usr/local/lib/overssh/stream/json.py"),
        (
            f"{PROGRAMS}/stream/__pycache__",
            Path(None, 0, 0, FOLDER_MODE),
            "remove /usr/local/lib/overssh/stream/__pycache__",
        ),
        (AUTHORIZED_KEYS, file("key\n", mode=0o666), "write /etc/overssh/authorized_keys"),
        (sshd_facts.OUR_DROP_IN, file(BLOCK, mode=0o666), "tell sshd about overssh"),
        (sshd_facts.OUR_DROP_IN, file(f"{BLOCK}    PermitTTY yes\n"), "tell sshd about overssh"),
        (KEY, file("", 0, KEY_MODE), "give the key to overssh alone"),
        (KEY, file("", 990, 0o644), "give the key to overssh alone"),
        (KEYS, Path(None, 990, 990, 0o755), "give the key to overssh alone"),
    ],
)
def test_what_somebody_has_changed_comes_right_again(path: str, found: Path, label: str) -> None:
    both = replace(HUB, key=EDGE.key)
    assert labels(both, replace(STANDING, paths={**STANDING.paths, path: found})) == [label]


def test_what_sshd_would_not_hold_to_is_refused_before_anything_is_changed() -> None:
    with pytest.raises(
        OversshError, match=r'^sshd does not hold to our Match block for overssh: it lacks "permittty no"'
    ):
        plan_account(HUB, replace(FRESH, probed=("permittty yes",)))


def test_a_configuration_that_stands_and_is_overruled_is_refused_too() -> None:
    with pytest.raises(OversshError, match="another Match block decides before ours"):
        plan_account(HUB, replace(STANDING, effective=("permittty yes",)))


def test_a_change_of_sshd_that_can_not_have_a_checkpoint_is_refused_before_anything_is_changed() -> None:
    waits = replace(FRESH, change=Checkpoint("sshd", 1e9, None))
    with pytest.raises(OversshError, match="the change sshd before this one is not confirmed yet"):
        plan_account(HUB, waits, rollback_timeout=60)
    with pytest.raises(OversshError, match="a checkpoint waits for 5 to 86400 seconds, not for 4"):
        plan_account(HUB, FRESH, rollback_timeout=4)
    assert plan_account(HUB, waits).changed, "where nobody has to confirm it, it has none"
    assert not plan_account(HUB, replace(STANDING, change=waits.change), rollback_timeout=4).changed
    gone = replace(FRESH, change=Checkpoint("sshd", 1e9, 1e9))
    assert plan_account(HUB, gone, rollback_timeout=60).changed


@pytest.mark.parametrize(
    ("present", "takes_back", "labels"),
    [
        (True, True, ["roll back the change sshd that an earlier run has left"]),
        (True, False, []),
        (False, False, ["forget the change sshd that an earlier run has left"]),
    ],
)
def test_what_a_run_that_was_broken_off_has_left_goes_first(
    present: bool, takes_back: bool, labels: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "FOLDER", str(tmp_path))

    def engine() -> TunnelAccountEngine:
        return TunnelAccountEngine(Desired("overssh", present), pytest.fail, takes_back=takes_back)

    assert engine().recovery() == ()
    (tmp_path / "sshd").mkdir()
    (tmp_path / "sshd" / "deadline").write_text("1000000000.000\n")
    assert [step.label for step in engine().recovery()] == labels
    (tmp_path / "sshd" / "rolled_back").write_text("1000000000\n")
    if takes_back:
        assert [step.label for step in left.taken_back("sshd")] == [
            "forget the change sshd that an earlier run has left"
        ]


@pytest.mark.parametrize(
    ("path", "found", "words"),
    [
        (PROGRAMS, file("x"), f"can't make {PROGRAMS}: [Errno 17] File exists: '{PROGRAMS}'"),
        (HOME, file("x"), f"can't make {HOME}: [Errno 17] File exists: '{HOME}'"),
        (AUTHORIZED_KEYS, Path(None, 0, 0, FOLDER_MODE), f"can't write {AUTHORIZED_KEYS}: [Errno 21] Is a directory"),
        (f"{PROGRAMS}/stream/wire.py", Path(None, 0, 0, 0o700), f"can't write {PROGRAMS}/stream/wire.py: [Errno 21]"),
    ],
)
def test_what_stands_in_the_way_is_known_beforehand(path: str, found: Path, words: str) -> None:
    with pytest.raises(OversshError, match=f"^{re.escape(words)}"):
        plan_account(HUB, replace(STANDING, paths={**STANDING.paths, path: found}))
    link = Path(None, 0, 0, 0o777, special=True)
    if found.text is None:
        assert labels(HUB, replace(STANDING, paths={**STANDING.paths, path: link})) == [f"write {path}"]


def test_a_folder_in_the_place_of_a_file_is_not_removed() -> None:
    found = {**STANDING.paths, AUTHORIZED_KEYS: Path(None, 0, 0, FOLDER_MODE)}
    with pytest.raises(OversshError, match=f"^can't remove {AUTHORIZED_KEYS}: .Errno 21. Is a directory"):
        plan_account(replace(HUB, present=False), replace(STANDING, paths=found))


def test_sshds_own_file_is_left_alone_where_it_reads_others() -> None:
    assert sshd_texts(MAIN, BLOCK) == {sshd_facts.OUR_DROP_IN: BLOCK, sshd_facts.MAIN: MAIN}


def test_a_block_comes_after_all_else_and_moves_there() -> None:
    texts = sshd_texts(NO_DROP_INS, BLOCK)
    assert texts[sshd_facts.OUR_DROP_IN] == ""
    appended = f"{texts[sshd_facts.MAIN]}X11Forwarding no\n"  # sshd takes that for a part of our Match block
    assert (
        sshd_texts(appended, BLOCK)[sshd_facts.MAIN]
        == f"Port 22\nX11Forwarding no\n{texts[sshd_facts.MAIN][len(NO_DROP_INS) :]}"
    )
    assert sshd_texts(appended, "")[sshd_facts.MAIN] == "Port 22\nX11Forwarding no\n"


def test_sshds_files_go_back_together() -> None:
    (step,) = plan_account(HUB, replace(STANDING, main=sshd_facts.with_block(NO_DROP_INS, "Match User other"))).steps
    assert step.inverse is not None
    assert set(step.args["texts"]) == set(step.inverse.args["texts"]) == {sshd_facts.OUR_DROP_IN, sshd_facts.MAIN}
    assert step.inverse.args["texts"][sshd_facts.OUR_DROP_IN] == BLOCK


def params(**options: Any) -> dict[str, Any]:
    return {**{name: argument.get("default") for name, argument in ARGUMENTS.items()}, **options}


def test_options_that_are_left_out_are_not_asked_for() -> None:
    found = desired_of(params())
    assert (found.authorized_keys, found.sshd_config, found.key, found.present) == (None, None, "", True)


def test_a_part_that_is_no_more_goes_after_all_else_and_comes_back() -> None:
    newer = replace(HUB, programs={"stream/__main__.py": "other program", "stream/frames.py": "part"})
    plan = plan_account(newer, STANDING)
    assert plan.labels == [
        "write /usr/local/lib/overssh/stream/frames.py",
        "write /usr/local/lib/overssh/stream/__main__.py",
        "remove /usr/local/lib/overssh/stream/wire.py",
    ]
    inverse = plan.steps[-1].inverse
    assert inverse is not None
    assert inverse.args == {"path": "/usr/local/lib/overssh/stream/wire.py", "text": "part"}
    assert set(plan.before["programs"]) ^ set(plan.after["programs"]) == {"stream/wire.py"}


@pytest.mark.parametrize(
    "programs",
    [
        {"../x": "text"},
        {"x/..": "text"},
        {"x/../../y": "text"},
        {"/x": "text"},
        {"x/": "text"},
        {"x//y": "text"},
        {"x/y/z": "text"},
        {".hidden": "text"},
        {"x/.hidden": "text"},
        {"x y": "text"},
        {"x\n": "text"},
        {"x": "text", "x/y": "text"},
        {"x.py": 1},
    ],
)
def test_a_program_is_a_text_under_a_plain_name(programs: dict[str, Any]) -> None:
    with pytest.raises(OversshError, match="has to be the plain name of a file"):
        desired_of(params(programs=programs))
