#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_probe: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_probe
short_description: Throwaway services whose tasks answer probes on an overlay network
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Starts two services on an attachable overlay network, which M(overssh.swarm.overlay_probe) then measures.
  - The service C(NAME-global) has a task on each node and an address of its own. The service C(NAME-replicated) has
    O(replicas) tasks, and its name is answered by their addresses (C(dnsrr)).
  - Their tasks run the program of M(overssh.swarm.overlay_probe) out of its image. So each node needs a probe of that
    module as long as the services are there.
  - The tasks run as nobody, without any capability, on a read-only file system. No image is pulled.
  - It takes a manager of the swarm.
extends_documentation_fragment:
  - overssh.swarm.attributes
  - overssh.swarm.wait
options:
  name:
    description:
      - What the names of the services begin with.
    type: str
    default: overssh-verify
  network:
    description:
      - The overlay network to be on.
      - Required where O(state=present).
    type: str
  state:
    description:
      - V(present) starts the services; one that is left over from before, or is on another network, is replaced.
      - V(absent) removes them, and waits until their tasks are gone from all nodes.
    type: str
    choices: [present, absent]
    default: present
  addresses:
    description:
      - The swarm addresses of the nodes that take part. Other nodes of the swarm get no task.
      - By default all nodes take part.
    type: list
    elements: str
  replicas:
    description:
      - How many tasks the replicated service has.
    type: int
    default: 1
  publish:
    description:
      - Whether the services publish a TCP port each, the global one through the routing mesh, the replicated one on the
        nodes of its tasks. Docker chooses the numbers.
      - A published port is open at all addresses of a node, to all whom its firewall lets through.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Start throwaway services
  overssh.swarm.service_probe:
    network: overssh
  register: started
  when: inventory_hostname == groups['overssh'] | first

- name: Reach them from the throwaway container of each node
  overssh.swarm.overlay_probe:
    name: overssh-verify-{{ inventory_hostname }}
    state: absent
    peers: []
    services: "{{ hostvars[groups['overssh'] | first].started.services }}"
    linger: 0

- name: Take them away
  overssh.swarm.service_probe:
    state: absent
  when: inventory_hostname == groups['overssh'] | first
"""

RETURN = r"""
services:
  description: The services; empty where they are gone.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: overssh-verify-global
    endpoint_mode:
      description: V(vip) or V(dnsrr).
      type: str
      sample: vip
    address:
      description: Its own address in the network; empty with V(dnsrr).
      type: str
      sample: 10.200.0.12
    tasks:
      description: Its running tasks.
      type: list
      elements: dict
      contains:
        id:
          description: Its ID.
          type: str
          sample: amkivmq2mhgxfqok2pemblzlo
        node:
          description: The host name of its node.
          type: str
          sample: edge1
        address:
          description: Its address in the network.
          type: str
          sample: 10.200.0.13
    published:
      description: Where its port answers.
      type: list
      elements: dict
      contains:
        address:
          description: The swarm address of a node.
          type: str
          sample: 172.30.0.2
        port:
          description: The port there.
          type: int
          sample: 30001
        mode:
          description: V(ingress) or V(host).
          type: str
          sample: ingress
        tasks:
          description: The IDs of the tasks that answer there by turns.
          type: list
          elements: str
          sample: ["amkivmq2mhgxfqok2pemblzlo"]
steps:
  description: What was done, or in check mode would be done, in words.
  returned: success
  type: list
  elements: str
  sample: ["create the service overssh-verify-global", "create the service overssh-verify-replicated"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_module
from ansible_collections.overssh.swarm.plugins.module_utils._core.wait import WAIT_OPTIONS
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._probe.services import (
    Desired,
    ServiceProbeEngine,
    taking_part,
)


def main() -> None:
    """Wire the arguments to the engine."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "overssh-verify"},
            "network": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "addresses": {"type": "list", "elements": "str"},
            "replicas": {"type": "int", "default": 1},
            "publish": {"type": "bool", "default": False},
            **WAIT_OPTIONS,
        },
        required_if=[("state", "present", ["network"])],
        supports_check_mode=True,
    )
    run_module(module, lambda: _engine(module.params))


def _engine(options: dict[str, Any]) -> ServiceProbeEngine:
    docker = connect()
    timeout = options["wait_timeout"] if options["wait"] else None
    if options["state"] == "absent":
        return ServiceProbeEngine(docker, Desired(options["name"], None), timeout)
    network = docker.inspect_network(options["network"])["Id"]
    nodes = docker.nodes()
    part = taking_part(nodes, options["addresses"])
    outside = tuple(sorted({str(node["ID"]) for node in nodes} - set(part)))
    wanted = Desired(options["name"], network, outside, options["replicas"], options["publish"])
    return ServiceProbeEngine(docker, wanted, timeout, part)


if __name__ == "__main__":
    main()
