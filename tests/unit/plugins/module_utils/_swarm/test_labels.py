# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels that a task names are set or removed, others stay, and the way back leads to what was."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._swarm import labels
from hypothesis import given
from hypothesis import strategies as st

NAMES, VALUES = st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "x", "y"])
PRESENT = st.dictionaries(NAMES, VALUES)
CHANGES = st.dictionaries(NAMES, st.none() | VALUES)


@given(PRESENT, CHANGES)
def test_only_what_is_named_changes_and_can_be_undone(present, change):
    after = labels.changed(present, change)
    assert {name: after.get(name) for name in change} == change
    assert {name: value for name, value in after.items() if name not in change} == {
        name: value for name, value in present.items() if name not in change
    }
    assert labels.needed(after, change) == {}
    lacking = labels.needed(present, change)
    assert labels.changed(present, lacking) == after
    assert labels.changed(after, labels.way_back(present, lacking)) == present


def test_values_are_texts_as_docker_keeps_them():
    assert labels.change_of({"n": 1, "yes": True, "empty": "", "gone": None}) == {
        "n": "1",
        "yes": "true",
        "empty": "",
        "gone": None,
    }
    assert labels.change_of(None) == {}
    for wrong in ({"zone": ["a"]}, {"zone": {"a": 1}}, {"": "a"}):
        with pytest.raises(OversshError, match="labels takes a text for each label's name, or null to remove it, not"):
            labels.change_of(wrong)


def test_a_change_in_words():
    assert labels.words({"zone": "north", "old": None, "ssd": ""}) == "with zone=north, ssd= and without old"
    assert labels.words({"old": None}) == "without old"
