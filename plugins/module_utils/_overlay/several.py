# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several overlay networks as one subject: one look, one plan, and all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .._core.errors import OversshError
from .._core.plan import Plan
from .._core.several import Several, step_of
from .engine import OverlayNetworkEngine
from .model import Desired, Observed, OverlayNetwork

Found = tuple[Observed, ...]


class OverlayNetworkEngines(Several[Observed]):
    """The networks in their order of making; each has its own engine."""

    def __init__(self, networks: Sequence[OverlayNetworkEngine]) -> None:
        names = [network.desired.name for network in networks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OversshError(f"networks has {', '.join(twice)} more than once; give each network one entry")
        super().__init__(dict(zip(names, networks)))
        self._networks = networks

    def observe(self) -> Found:
        """Observe all networks, with one look at their surroundings; the swarm changes them, so nothing is cached."""
        if not self._networks:
            return ()
        around = self._networks[0].look()
        return tuple(network.observe_in(around) for network in self._networks)

    def plan(self, observed: Found) -> Plan:
        """Plan each network beside the earlier ones as they will be, and the later ones as they are.

        All refusals come in one error.
        """
        plans: list[Plan] = []
        earlier: list[tuple[Observed, OverlayNetwork | None]] = []
        refused: list[str] = []
        for network, found in zip(self._networks, observed):
            try:
                plan = network.plan(_beside(found, earlier))
            except OversshError as error:
                refused.append(str(error))
                continue
            earlier.append((found, _to_be(network.desired, found, plan)))
            plans.append(plan)
        if refused:
            raise OversshError(". ".join(refused))
        names = [network.desired.name for network in self._networks]
        return Plan(
            {name: plan.before for name, plan in zip(names, plans)},
            {name: plan.after for name, plan in zip(names, plans)},
            tuple(step_of(name, step) for name, plan in zip(names, plans) for step in plan.steps),
        )

    def in_effect(self, observed: Found) -> bool:
        """Whether all networks are in effect."""
        return all(network.in_effect(found) for network, found in zip(self._networks, observed))

    def result(self, observed: Found) -> dict[str, Any]:
        """The networks in the order of the option, and the MTU that fits all of them."""
        results = [network.result(found) for network, found in zip(self._networks, observed)]
        answer: dict[str, Any] = {"networks": [result.pop("network") for result in results]}
        answer["warnings"] = [words for result in results for words in result.pop("warnings", [])]
        for result in results:
            answer.update(result)
        return answer


def _beside(found: Observed, earlier: Sequence[tuple[Observed, OverlayNetwork | None]]) -> Observed:
    """The network with the earlier ones among its neighbours as they are going to be."""
    before = {one.network.network_id for one, _after in earlier if one.network}
    after = tuple(network for _one, network in earlier if network)
    return replace(found, others=(*(one for one in found.others if one.network_id not in before), *after))


def _to_be(desired: Desired, found: Observed, plan: Plan) -> OverlayNetwork | None:
    """The network after its plan, None where it is gone; the swarm's choice of a subnet isn't known beforehand."""
    if desired.state == "absent":
        return None
    if found.network and not plan.changed:
        return found.network
    return OverlayNetwork(desired.name, "", "overlay", "swarm", desired.subnets)
