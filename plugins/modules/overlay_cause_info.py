#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""overlay_cause_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_cause_info
short_description: Find causes that keep containers on this host from those on others
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Looks once at everything that carries an overlay network on this host, for at most some ten seconds, and names
    faults. It looks at the engine and its part in the swarm, the availability of nodes, settings that others undo again
    and again, the tunnels, forwarding, dropping firewall rules of nft and iptables-legacy, missing rules of Docker's
    own, the gossip that this engine received, and the engine's log.
  - Changes nothing. It finds most while the containers that don't reach each other are running.
extends_documentation_fragment:
  - overssh.swarm.attributes.info
options:
  network:
    description:
      - The overlay network.
    type: str
    required: true
  peers:
    description:
      - The nodes that are not reached.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The node's name in RV(causes).
        type: str
        required: true
      address:
        description: Its address in the underlay.
        type: str
        required: true
  rules:
    description:
      - The accepts that the swarm needs, as O(overssh.swarm.nft_rule#module:rules). RV(causes) names rules that drop
        these packets.
    type: list
    elements: dict
    default: []
  forwards:
    description:
      - Whether this host has to forward packets between other nodes.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See why edge2 is not reached from here
  overssh.swarm.overlay_cause_info:
    network: overssh
    peers:
      - name: edge2
        address: 172.30.0.3
"""

RETURN = r"""
causes:
  description:
    - What was found, most telling first.
    - C(kind) is one of C(engine), C(node), C(undone), C(gossip_port), C(forwarding), C(underlay), C(firewall),
      C(docker_rules), C(gossip), C(log) and C(nat); C(why) says what it is, C(next) which command helps (C({host})
      stands for this host's name), and C(peer) which node it is about, by name, or by address where its name is not
      known here; empty for all.
  returned: success
  type: list
  elements: dict
  sample:
    - kind: underlay
      why: 172.30.0.3 does not answer a ping by tun1001, so that the way between the tunnels is broken
      next: ansible-playbook overssh.swarm.tunnel
      peer: edge2
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import drops
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.cause import FIREWALL, KINDS, Cause, Peer, look

PEER = {name: {"type": "str", "required": True} for name in ("name", "address")}
PATIENCE = 5


def main() -> None:
    """Look, and say what was found."""
    module = AnsibleModule(
        argument_spec={
            "network": {"type": "str", "required": True},
            "peers": {"type": "list", "elements": "dict", "options": PEER, "default": []},
            "rules": {"type": "list", "elements": "dict", "default": []},
            "forwards": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    options, run = module.params, runner(module)
    peers = [Peer(**peer) for peer in options["peers"]]
    causes = look(lambda: connect(PATIENCE), run, options["network"], peers, options["forwards"])
    try:
        causes += [vars(Cause("firewall", why, FIREWALL)) for why in drops.blocks(run, options["rules"])]
    except OversshError as error:
        causes.append(vars(Cause("log", f"its firewall could not be read: {error}")))
    module.exit_json(changed=False, causes=sorted(causes, key=lambda cause: KINDS.index(cause["kind"])))


if __name__ == "__main__":
    main()
