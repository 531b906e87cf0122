# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.settings import read_settings
from tests.lab.shell import LabError

PROJECT = Path("/project")


def test_nothing_said_gives_the_default_lab() -> None:
    settings = read_settings({}, PROJECT)
    assert (settings.name, settings.nodes, settings.release) == ("overssh", 3, "trixie")
    assert settings.state == PROJECT / ".lab"
    assert settings.node_names == ["cloud1", "edge1", "edge2"]
    assert settings.container("edge1") == "overssh-edge1"


def test_empty_variables_count_as_unset() -> None:
    environment = {
        "LAB_NAME": "",
        "LAB_NODES": "",
        "LAB_RELEASE": "",
        "LAB_CLOUD_SUBNET": "",
        "LAB_MIRROR": "",
        "LAB_KIND": "",
    }
    assert read_settings(environment, PROJECT) == read_settings({}, PROJECT)


def test_a_named_lab_has_its_own_state_and_shares_the_engine() -> None:
    settings = read_settings({"LAB_NAME": "bw"}, PROJECT)
    assert settings.state == PROJECT / ".lab" / "bw"
    assert settings.engine_state == PROJECT / ".lab" / "engine"
    assert settings.network("cloud") == "bw-cloud"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LAB_NODES", "1"),
        ("LAB_NODES", "three"),
        ("LAB_NODES", "-2"),
        ("LAB_NODES", "51"),
        ("LAB_NODES", "²"),
        ("LAB_RELEASE", "sarge"),
        ("LAB_KIND", "zone"),
        ("LAB_NAME", "Über"),
        ("LAB_NAME", "a/b"),
        ("LAB_NAME", "engine"),
        ("LAB_NAME", "a" * 31),
        ("LAB_CLOUD_SUBNET", "10.1.2.3/24"),
        ("LAB_EDGE_SUBNET", "fd00::/64"),
        ("LAB_EDGE_SUBNET", "10.1.2.0/30"),
        ("LAB_PACKAGES", "socat --force-yes"),
        ("LAB_PACKAGES", "socat,tmux"),
    ],
)
def test_a_bad_value_is_one_sentence_with_the_variable_in_it(variable: str, value: str) -> None:
    with pytest.raises(LabError, match=variable) as failure:
        read_settings({variable: value}, PROJECT)
    assert "\n" not in str(failure.value)


def test_the_two_subnets_must_not_overlap() -> None:
    with pytest.raises(LabError, match="overlap"):
        read_settings({"LAB_CLOUD_SUBNET": "10.1.0.0/16", "LAB_EDGE_SUBNET": "10.1.2.0/24"}, PROJECT)
