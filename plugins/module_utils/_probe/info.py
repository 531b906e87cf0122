# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe of this host measures of others."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._core.errors import OversshError
from .engine import INSIDE


@dataclass(frozen=True)
class Measured:
    """The checks' results by the peer's name, and whether all of these peers are done with this host's probe, too."""

    peers: Mapping[str, Any]
    done: bool


def measure(docker: Any, name: str, peers: Sequence[Mapping[str, str]], timeout: float, linger: float = 0) -> Measured:
    """Have the probe of this host check its peers.

    peers: name, host (the peer's container) and address of each; timeout: seconds per check; linger: seconds to wait
    for the peers to be done. Raises OversshError where the probe itself can't be asked.
    """
    order = json.dumps({"peers": [dict(peer) for peer in peers], "timeout": timeout, "linger": linger})
    asked = docker.exec_create(name, [sys.executable, "-I", f"{INSIDE}/agent.py", "measure", order])["Id"]
    stdout, stderr = docker.exec_start(asked, demux=True)
    status = docker.exec_inspect(asked)["ExitCode"]
    if status != 0:
        raise OversshError(f"the probe in {name} failed: {(stderr or b'').decode(errors='replace').strip()[-400:]}")
    return Measured(**json.loads(stdout))
