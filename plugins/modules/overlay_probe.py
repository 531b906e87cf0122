#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""overlay_probe: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_probe
short_description: A throwaway container that sends and answers probes on an overlay network
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Starts one container on an attachable overlay network. M(overssh.swarm.overlay_probe_info) uses it for measurements.
  - No image is pulled. The image is an empty one, made on the spot, and the host's own userland is mounted read-only.
  - The container runs as nobody, without any capability, on a read-only file system.
extends_documentation_fragment:
  - overssh.swarm.attributes
  - overssh.swarm.wait
options:
  name:
    description:
      - The container's name, also in Docker's DNS.
    type: str
    required: true
  network:
    description:
      - The overlay network to be on.
      - Required where O(state=present).
    type: str
  state:
    description:
      - V(present) starts the container. A stale container, or one on another network, is replaced.
      - V(absent) removes the container, its image and its files.
    type: str
    choices: [present, absent]
    default: present
  peers:
    description:
      - With O(state=absent), other probes to measure before this one is removed; RV(peers) has the results.
      - The probe is removed as soon as each peer has measured it, too. Otherwise it stays after O(linger) seconds;
        RV(removed) shows that. So the task has to run on all hosts at the same time.
    type: list
    elements: dict
    suboptions:
      name:
        description: The peer's name in RV(peers).
        type: str
        required: true
      host:
        description: The name of its container.
        type: str
        required: true
      address:
        description: The address that DNS has to return for it.
        type: str
        required: true
  services:
    description:
      - Services that this probe reaches as well before it is removed, as
        RV(overssh.swarm.service_probe#module:services) tells them. It takes O(peers). RV(services) tells how that went.
    type: list
    elements: dict
    suboptions:
      name:
        description: The service's name.
        type: str
        required: true
      endpoint_mode:
        description: Whether the service has an address of its own.
        type: str
        choices: [vip, dnsrr]
        required: true
      address:
        description: Its own address in the network; empty where it has none.
        type: str
        required: true
      tasks:
        description: Its tasks, each with C(id), C(node) and C(address).
        type: list
        elements: dict
        required: true
      published:
        description: Where its port answers, each with C(address), C(port), C(mode) and C(tasks).
        type: list
        elements: dict
        default: []
  check_timeout:
    description:
      - How many seconds a check of O(peers) or O(services) is tried again.
    type: int
    default: 20
  linger:
    description:
      - For how many seconds to wait until O(peers) have measured this probe; with V(0) it stays.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Put a probe on the network
  overssh.swarm.overlay_probe:
    name: overssh-verify-{{ inventory_hostname }}
    network: overssh
  register: started

- name: Reach all other containers from it, and take it away
  overssh.swarm.overlay_probe:
    name: overssh-verify-{{ inventory_hostname }}
    state: absent
    peers: "{{ ansible_play_hosts_all | overssh.swarm.verify_peers(hostvars, 'started', inventory_hostname) }}"

- name: Take the container away in any case
  overssh.swarm.overlay_probe:
    name: overssh-verify-{{ inventory_hostname }}
    state: absent
"""

RETURN = r"""
container:
  description: The container's name.
  returned: success
  type: str
  sample: overssh-verify-edge1
address:
  description: Its address on the network; empty where there is no container.
  returned: success
  type: str
  sample: 10.200.0.5
peers:
  description: Each peer's checks, by the peer's name, as of M(overssh.swarm.overlay_probe_info).
  returned: with O(peers)
  type: dict
  sample:
    edge2:
      icmp: {"ok": true, "rtt_ms": 0.61}
      tcp: {"ok": true, "rtt_ms": 1.4}
      udp: {"ok": false, "reason": "no answer"}
      dns: {"ok": true, "ms": 0.3}
      mtu: {"ok": true, "bytes": 1450}
services:
  description:
    - Each service's checks, by the service's name. C(dns) is its name, C(tasks) the name of its tasks, C(each) each
      task by itself. C(vip) and C(vip_udp) are all tasks in turn through the service's own address, C(bulk) is a
      quarter of a MiB through it. C(ports) is its published ports, tried from the host itself.
  returned: with O(services)
  type: dict
  sample:
    overssh-verify-global:
      dns: {"ok": true, "ms": 0.4}
      tasks: {"ok": true, "ms": 0.3}
      each: {"ok": true, "rtt_ms": 1.2}
      vip: {"ok": true, "tasks": 3, "rtt_ms": 1.6}
      vip_udp: {"ok": true, "tasks": 3, "rtt_ms": 0.9}
      bulk: {"ok": true, "bytes": 262144, "ms": 14.1}
limits:
  description: Sentences on what this host's kernel can't do, and what was not checked for that.
  returned: with O(services)
  type: list
  elements: str
  sample: []
removed:
  description: Whether the container is removed; it stays where O(peers) have not measured it in time.
  returned: with O(peers)
  type: bool
  sample: true
restored:
  description: Docker's own rules that were missing and that Docker restored for this container.
  returned: with O(state=present), where there are any
  type: list
  elements: str
  sample: ["the jump from FORWARD to DOCKER-USER"]
missing:
  description: Docker's own rules that are still missing.
  returned: with O(state=present), where there are any
  type: list
  elements: str
  sample: ["the masquerading of docker_gwbridge (172.18.0.0/16)"]
steps:
  description: What was done, or in check mode would be done, in words.
  returned: success
  type: list
  elements: str
  sample: ["start the container overssh-verify-edge1 on overssh"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_module
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.wait import WAIT_OPTIONS
from ansible_collections.overssh.swarm.plugins.module_utils._docker import rules as docker_rules
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._probe.engine import (
    PEER,
    SERVICE,
    Desired,
    OverlayProbeEngine,
)
from ansible_collections.overssh.swarm.plugins.module_utils._probe.info import measure


def main() -> None:
    """Wire the arguments to the engine."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "network": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "peers": {"type": "list", "elements": "dict", "options": PEER},
            "services": {"type": "list", "elements": "dict", "options": SERVICE},
            "check_timeout": {"type": "int", "default": 20},
            "linger": {"type": "int", "default": 5},
            **WAIT_OPTIONS,
        },
        required_if=[("state", "present", ["network"])],
        supports_check_mode=True,
    )
    run_module(module, lambda: _engine(module, module.params))


def _engine(module: AnsibleModule, options: dict[str, Any]) -> OverlayProbeEngine:
    """The probe's engine, after the measurements; ends the module where peers are not done with the probe."""
    name, peers, present = options["name"], options["peers"], options["state"] == "present"
    answer: dict[str, Any] = {}
    if present and peers is not None:
        raise OversshError("peers are reached before the probe is removed; it goes with state: absent")
    docker = connect()
    if peers is not None and not module.check_mode:
        services = options["services"] or ()
        found = measure(docker, name, peers, options["check_timeout"], options["linger"], services)
        answer = {"peers": found.peers, "removed": found.done}
        if services:
            answer.update(services=found.services, limits=list(found.limits))
        if not found.done:
            module.exit_json(changed=False, steps=[], container=name, address="", **answer)
    wanted = Desired(name, options["network"] if present else None)
    timeout = options["wait_timeout"] if options["wait"] else None
    return OverlayProbeEngine(docker, wanted, timeout, answer, lambda: docker_rules.missing(runner(module), docker))


if __name__ == "__main__":
    main()
