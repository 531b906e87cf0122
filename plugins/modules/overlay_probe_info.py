#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""overlay_probe_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_probe_info
short_description: Measure the connections of a container to its peers on an overlay network
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Has the container of M(overssh.swarm.overlay_probe) on this host check each of its peers with real traffic.
  - The checks are C(icmp), C(tcp) and C(udp) (a token has to come back), C(dns) (the peer's name has to give its
    address) and C(mtu) (a packet as large as the interface allows has to cross unfragmented).
  - A failed check is repeated for O(timeout) seconds, because Docker announces new containers by gossip. After that,
    each remaining check has one try.
extends_documentation_fragment:
  - overssh.swarm.attributes.info
options:
  name:
    description:
      - The name of the container on this host.
    type: str
    required: true
  peers:
    description:
      - The containers to check.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The peer's name in the result.
        type: str
        required: true
      host:
        description:
          - The name to look up in DNS.
        type: str
        required: true
      address:
        description:
          - The address that DNS has to return for it.
        type: str
        required: true
  timeout:
    description:
      - For how many seconds a peer's failed checks are repeated. Docker repairs lost gossip every half minute.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Check one peer
  overssh.swarm.overlay_probe_info:
    name: overssh-verify-edge1
    peers:
      - name: edge2
        host: overssh-verify-edge2
        address: 10.200.0.7
"""

RETURN = r"""
peers:
  description: Each peer's checks, by the peer's name.
  returned: success
  type: dict
  sample:
    edge2:
      icmp: {"ok": true, "rtt_ms": 0.61}
      tcp: {"ok": true, "rtt_ms": 1.4}
      udp: {"ok": false, "reason": "no answer"}
      dns: {"ok": true, "ms": 0.3}
      mtu: {"ok": true, "bytes": 1450}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._probe.engine import PEER
from ansible_collections.overssh.swarm.plugins.module_utils._probe.info import measure


def main() -> None:
    """Measure, and say what was measured."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "peers": {"type": "list", "elements": "dict", "required": True, "options": PEER},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    options = module.params
    run_info(module, lambda: {"peers": measure(connect(), options["name"], options["peers"], options["timeout"]).peers})


if __name__ == "__main__":
    main()
