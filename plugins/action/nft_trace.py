# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of nft_trace: a second host sends the packets that the first one traces."""

from __future__ import annotations

import contextlib
import inspect
import json
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._trace import engine as trace_engine
from ansible_collections.overssh.swarm.plugins.module_utils._trace import sender as trace_sender
from ansible_collections.overssh.swarm.plugins.module_utils._trace.options import ARGUMENTS
from ansible_collections.overssh.swarm.plugins.plugin_utils._action import remote_command

MODULE = "overssh.swarm.nft_trace"
# Seconds that the host may take until it begins to look.
START = 20


class ActionModule(ActionBase):  # type: ignore[misc]
    """Starts the sender on the peer, runs the module until the first traced packet, and stops the sender."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, with a sender on the peer where one is named."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        probe = _probe(arguments)
        if probe is None:
            result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables))
            return result
        peer = str(arguments["peer"])
        try:
            sender = int(self._ask(peer, probe, variables))
        except (AnsibleError, ValueError) as error:
            words = getattr(error, "message", str(error))
            return {**result, "failed": True, "msg": f"no packet can be sent from {peer}: {words}."}
        try:
            result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables))
        finally:
            # It ends by itself as well.
            with contextlib.suppress(AnsibleError):
                self._ask(peer, {"stop": sender}, variables)
        return result

    def _ask(self, peer: str, order: dict[str, Any], variables: dict[str, Any]) -> str:
        """The program's output on the peer."""
        hostvars = variables["hostvars"]
        if peer not in hostvars:
            raise AnsibleError("there is no such host in the inventory")
        there = hostvars[peer]
        argv = [remote_command.interpreter(there), "-c", inspect.getsource(trace_sender), json.dumps(order)]
        return remote_command.ask(self, peer, there, argv)


def _probe(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """The sender's task; None where no peer is named, or where the module will refuse these arguments."""
    checked = ArgumentSpecValidator(ARGUMENTS).validate(arguments)
    options = checked.validated_parameters
    if checked.error_messages or not options["peer"] or options["inject"]:
        return None
    try:
        return {**trace_engine.probe_from(options), "seconds": options["timeout"] + START}
    except OversshError:
        return None
