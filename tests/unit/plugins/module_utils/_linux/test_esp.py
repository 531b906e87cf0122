# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel has ESP, by its own words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._linux.esp import has_esp


@pytest.mark.parametrize(
    ("rc", "stderr", "has"),
    [
        (0, "", True),
        (2, "Error: Requested AEAD algorithm not found.", False),  # Linux 6.18 without GCM for IPsec
        (2, "Error: Requested type not found.", False),
        (2, "RTNETLINK answers: Protocol not supported", False),
        (1, "Cannot open netlink socket: Protocol not supported", False),  # without IPsec
        (2, "RTNETLINK answers: Operation not permitted", None),
        (1, "unshare: unshare failed: Operation not permitted", None),
        (127, "unshare: failed to execute ip: Permission denied", None),
    ],
)
def test_the_kernel_is_asked_in_a_network_of_its_own(rc: int, stderr: str, has: bool | None) -> None:
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
        assert not check
        asked.append(argv)
        return Answer(rc, "", stderr)

    assert has_esp(run) is has
    assert list(asked[0][:5]) == ["unshare", "--net", "ip", "xfrm", "state"]


def test_a_missing_program_leaves_it_unknown() -> None:
    def run(argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
        raise OversshError("unshare is not installed on this host")

    assert has_esp(run) is None
