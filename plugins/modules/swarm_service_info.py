#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""swarm_service_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_service_info
short_description: What services of a swarm run where, once they have converged
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Lists services with the tasks of each, their nodes, states, and addresses, as a manager of the swarm knows them.
  - With O(wait) it returns when all of them have converged. Every task that is wanted runs, is healthy where its image
    has a check of that, and is of the service's present specification; no update is under way.
  - An update that is paused or was rolled back never passes for success. With O(wait) it is an error at once.
  - To make services is the subject of C(community.docker.docker_swarm_service) and C(community.docker.docker_stack).
extends_documentation_fragment:
  - overssh.swarm.attributes.info
options:
  names:
    description:
      - The services to list, by name. A service of a stack is named C(STACK_SERVICE).
      - By default all of them are listed.
      - A name that no service has is an error.
    type: list
    elements: str
  wait:
    description:
      - Whether to wait until all of the services have converged.
    type: bool
    default: false
  wait_timeout:
    description:
      - How many seconds to wait at most. After that it is an error that says what is lacking, and on which node.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Deploy the stack
  community.docker.docker_stack:
    name: shop
    compose: [/srv/shop/compose.yml]
  when: inventory_hostname == groups['overssh'] | first

- name: Wait until all of its services run
  overssh.swarm.swarm_service_info:
    names: [shop_web, shop_db]
    wait: true
  register: shop
  when: inventory_hostname == groups['overssh'] | first

- name: Say on which nodes the web server runs
  ansible.builtin.debug:
    msg: "{{ shop.services[1].tasks | map(attribute='node') }}"
  when: shop is not skipped
"""

RETURN = r"""
services:
  description: The services, by name.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Its ID.
      type: str
      sample: 7qnqzgwd5frdd3ifs4yfz6v9d
    name:
      description: Its name.
      type: str
      sample: shop_web
    mode:
      description: One of V(replicated), V(global), V(replicated-job) and V(global-job).
      type: str
      sample: replicated
    replicas:
      description: How many tasks it shall have; null for a global service, which has one on each node that fits.
      type: int
      sample: 3
    image:
      description: The image of its tasks.
      type: str
      sample: nginx:1.29
    endpoint_mode:
      description: What its name gives, V(vip) one address for all tasks, V(dnsrr) the addresses of its tasks.
      type: str
      sample: vip
    vips:
      description: Its own addresses, by the name of the network.
      type: dict
      sample: {"overssh": "10.200.0.12"}
    ports:
      description: Its published ports.
      type: list
      elements: dict
      contains:
        protocol:
          description: V(tcp), V(udp) or V(sctp).
          type: str
          sample: tcp
        target:
          description: The port in the container.
          type: int
          sample: 80
        published:
          description: The port on the nodes; null where each task has one that its node chose.
          type: int
          sample: 8080
        mode:
          description: V(ingress), on all nodes through the routing mesh, or V(host), on the nodes of its tasks alone.
          type: str
          sample: ingress
    labels:
      description: Its labels.
      type: dict
      sample: {"com.docker.stack.namespace": "shop"}
    running:
      description: How many of its tasks run, are to go on, and are of its present specification.
      type: int
      sample: 3
    update:
      description:
        - The state of its last update, empty where there was none.
        - V(updating), V(completed), V(paused), V(rollback_started), V(rollback_paused) or V(rollback_completed).
      type: str
      sample: completed
    converged:
      description: Whether it is as it shall be.
      type: bool
      sample: true
    lacking:
      description: What keeps it from having converged, in words; empty where it has.
      type: str
      sample: ""
    tasks:
      description: Its tasks that go on, and the last one of each place where none does.
      type: list
      elements: dict
      contains:
        id:
          description: Its ID.
          type: str
          sample: amkivmq2mhgxfqok2pemblzlo
        slot:
          description: Its number among the replicas; null for a global service.
          type: int
          sample: 1
        node:
          description: Host name of its node; empty where it has none yet.
          type: str
          sample: edge1
        node_id:
          description: ID of its node.
          type: str
          sample: xt8y56qc8ez01y8i5b0mwfega
        state:
          description: Its state, as Docker names it.
          type: str
          sample: running
        desired_state:
          description: The state that it is to have.
          type: str
          sample: running
        current:
          description: Whether it is of the service's present specification.
          type: bool
          sample: true
        error:
          description: Why it does not run, in Docker's words.
          type: str
          sample: ""
        container:
          description: Short ID of its container.
          type: str
          sample: 64ee2551a98c
        ports:
          description: The ports that it publishes on its node itself, as RV(services[].ports).
          type: list
          elements: dict
          sample: [{"protocol": "tcp", "target": 80, "published": 32768, "mode": "host"}]
        addresses:
          description: Its addresses, by the name of the network.
          type: dict
          sample: {"overssh": "10.200.0.13"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._service.info import info


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str"},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    options = module.params
    run_info(module, lambda: info(connect(), options["names"], options["wait"], options["wait_timeout"]))


if __name__ == "__main__":
    main()
