#!/usr/bin/python
# Copyright: overssh.swarm contributors
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
  - Starts one container on an attachable overlay network, which M(overssh.swarm.overlay_probe_info) then measures with.
  - No image is pulled. The image is an empty one, made on the spot, and the host's own userland is mounted read-only.
  - The container runs as nobody, without any capability, on a read-only file system.
extends_documentation_fragment:
  - overssh.swarm.attributes
  - overssh.swarm.wait
options:
  name:
    description:
      - The container's name, by which the others find it in Docker's DNS.
    type: str
    required: true
  network:
    description:
      - The overlay network to be on.
      - Required where O(state=present).
    type: str
  state:
    description:
      - V(present) starts the container; one that is left over from before, or is on another network, is replaced.
      - V(absent) removes the container, its image and its files.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Put a probe on the network
  overssh.swarm.overlay_probe:
    name: overssh-verify-{{ inventory_hostname }}
    network: overssh

- name: Take it away
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
steps:
  description: What was done, or in check mode would be done, in words.
  returned: success
  type: list
  elements: str
  sample: ["start the container overssh-verify-edge1 on overssh"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._docker import connect
from ansible_collections.overssh.swarm.plugins.module_utils._errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._main import run
from ansible_collections.overssh.swarm.plugins.module_utils._probe import Desired, ProbeEngine
from ansible_collections.overssh.swarm.plugins.module_utils._wait import WAIT_OPTIONS


def main() -> None:
    """Wire the arguments to the engine."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "network": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **WAIT_OPTIONS,
        },
        required_if=[("state", "present", ["network"])],
        supports_check_mode=True,
    )
    options = module.params
    desired = Desired(options["name"], options["network"] if options["state"] == "present" else None)
    try:
        engine = ProbeEngine(connect(), desired, options["wait_timeout"] if options["wait"] else None)
    except OversshError as error:
        module.fail_json(msg=str(error))
    run(module, engine)


if __name__ == "__main__":
    main()
