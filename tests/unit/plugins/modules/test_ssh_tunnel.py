# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh_tunnel says of options that are missing, for one link and in a list."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.engine import Local
from ansible_collections.overssh.swarm.plugins.modules.ssh_tunnel import LINK, wanted_of

# As AnsibleModule hands them over: what the user leaves out is None.
NOTHING: dict[str, Any] = {name: option.get("default") for name, option in LINK.items()}
SHARED = {"state": "started", "all": False, "wait": True, "wait_timeout": 30}
MISSING = (
    "state is started but all of the following are missing: host, identity_file, host_keys, device, remote_device, "
    "remote_address"
)


def refused(params: dict[str, Any]) -> str:
    def run(*_words: Any, **_more: Any) -> Any:
        pytest.fail("no program is asked about options that are missing")

    with pytest.raises(OversshError) as told:
        list(wanted_of({**SHARED, **params}, Local(run)))
    return str(told.value)


def test_one_link_without_its_options() -> None:
    assert refused({**NOTHING, "name": "hub", "links": None}) == MISSING


def test_a_link_of_a_list_without_its_options() -> None:
    assert refused({"name": None, "links": [{**NOTHING, "name": "hub"}]}) == f"links: hub: {MISSING}"


def test_all_links_are_removed_and_not_started() -> None:
    assert refused({**NOTHING, "name": None, "links": None, "all": True}) == (
        "all removes every link of ours; it goes with state: absent"
    )
