#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a packet passes a host's firewall, and which rule decides."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nft_trace
short_description: Whether a packet passes a host's firewall, and which rule decides
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Has the kernel trace one packet of the described kind through every chain. Returns its path, the deciding rule, and
    rules that would let it pass.
  - The packet comes from another host of the inventory (O(peer)), or the host itself makes it (O(inject)), or the
    module waits for one.
  - The answer is about the first packet of a connection (a TCP packet with only SYN, an echo request), or about any UDP
    packet.
  - The module's process owns a table, C(overssh-trace-) and its process id, that marks the packets to trace. The kernel
    removes the table when the process ends, also when it is killed.
  - Follows the packet where its addresses are translated.
extends_documentation_fragment:
  - overssh.swarm.attributes.info
attributes:
  check_mode:
    description: Changes nothing that stays, so it runs the same in check mode, packets included.
requirements:
  - nftables 1.0.6 or later, and Linux 5.12 or later, on the managed host
options:
  path:
    description:
      - Whether the packet is for the host itself (V(input)), is forwarded by it (V(forward)), or comes from it
        (V(output)).
      - RV(path) is the actual path, which may differ where addresses are translated.
    type: str
    choices: [input, forward, output]
    default: input
  protocol:
    description:
      - The packet's protocol.
    type: str
    choices: [tcp, udp, icmp, icmpv6]
    required: true
  port:
    description:
      - Its destination port; has to be there with O(protocol=tcp) and O(protocol=udp).
    type: int
  source_port:
    description:
      - Its source port; by default any.
    type: int
  in_interface:
    description:
      - The interface that it comes in by; by default any. With it, the chains of that very interface (hook ingress) are
        followed as well.
    type: str
  source:
    description:
      - The address, or without O(inject) also the network, that it comes from; by default any.
      - With O(inject), by default the peer's address of O(in_interface), or another one of its network.
      - A packet from a peer behind NAT comes from another address than the peer's.
    type: str
  destination:
    description:
      - The address, or where the packet is only waited for also the network, that it goes to.
      - With O(inject) and O(path=input), by default the address of O(in_interface).
    type: str
  peer:
    description:
      - A host of the inventory that sends such packets to O(destination), four a second, until one was traced. Where it
        can't be reached then, it ends by itself, 20 seconds after O(timeout).
      - A listening service gets a connection that is closed at once.
      - Mutually exclusive with O(inject).
    type: str
  peer_destination:
    description:
      - The address that the peer sends to, where a NAT on the way replaces it with O(destination).
    type: str
  peer_port:
    description:
      - The port that the peer sends to, where a NAT on the way replaces it with O(port).
    type: int
  inject:
    description:
      - Makes the packet on the host itself, as if it had come in by O(in_interface), even if a program has that
        interface open. With O(path=output), the host sends it.
      - A listening service answers it.
    type: bool
    default: false
  timeout:
    description:
      - Seconds to wait for the packet, from 1 to 600.
    type: int
    default: 10
seealso:
  - module: overssh.swarm.nft_rule
"""

EXAMPLES = r"""
- name: Would edge1 reach the swarm's manager port through the tunnel?
  overssh.swarm.nft_trace:
    protocol: tcp
    port: 2377
    in_interface: tun1002
    destination: 172.30.0.1
    peer: edge1
  register: trace

- name: Let it
  overssh.swarm.nft_rule: "{{ trace.suggestion }}"
  when: trace.suggestion

- name: The same, with a packet that is made on the host
  overssh.swarm.nft_trace:
    protocol: tcp
    port: 2377
    in_interface: tun1002
    inject: true

- name: And what comes to its ssh port through its NAT?
  overssh.swarm.nft_trace:
    protocol: tcp
    port: 22
    peer: edge1
    peer_destination: 198.51.100.7
    peer_port: 2222

- name: Who drops what the monitoring sends, whenever it does?
  overssh.swarm.nft_trace:
    protocol: udp
    port: 161
    source: 192.0.2.0/24
    timeout: 300
"""

RETURN = r"""
passes:
  description: Whether the packet passed every chain. Its answers have a path of their own.
  returned: success
  type: bool
  sample: false
verdict:
  description:
    - The verdict on the packet, V(accept), V(drop) or V(reject).
    - V(queue) where a rule passed it to a program, V(stolen) where a rule took it away, V(lost) where the kernel
      dropped it without a rule, V(none) where no packet came.
  returned: success
  type: str
  sample: reject
path:
  description: The packet's path (V(input), V(forward) or V(output)), as far as it came.
  returned: success
  type: str
  sample: input
packet:
  description: The packet as it came in; none where no packet came.
  returned: success
  type: dict
  contains:
    source:
      description: Its source.
      type: str
    destination:
      description: Its destination.
      type: str
    source_port:
      description: Its source port; none where its protocol has no ports.
      type: int
    port:
      description: Its destination port; none where its protocol has no ports.
      type: int
    in_interface:
      description: The interface that it came in by.
      type: str
    out_interface:
      description: The interface that it was about to leave by; known of the host's own packets only.
      type: str
  sample:
    source: 172.30.0.2
    destination: 172.30.0.1
    source_port: 51234
    port: 2377
    in_interface: tun1002
    out_interface:
hops:
  description: The rules and the policies of base chains that the packet met, in order.
  returned: success
  type: list
  elements: dict
  contains:
    family:
      description: The table's address family.
      type: str
    table:
      description: The table.
      type: str
    chain:
      description: The chain.
      type: str
    hook:
      description: The hook of its base chain.
      type: str
    type:
      description: V(rule), V(policy), or V(return) for the end of a chain that was called.
      type: str
    handle:
      description: The rule's handle; none where it is no rule.
      type: int
    rule:
      description: The rule as C(nft) writes it; empty where it has been removed meanwhile.
      type: str
    verdict:
      description: V(accept), V(drop), V(continue), V(jump), V(goto), V(return), V(queue) or V(stolen).
      type: str
  sample:
    - family: inet
      table: filter
      chain: input
      hook: input
      type: rule
      handle: 9
      rule: counter reject with icmpx admin-prohibited
      verdict: drop
decided_by:
  description:
    - The rule that dropped or rejected the packet, or passed it to a program, with its place; none where no rule did.
    - A base chain's policy has no handle.
  returned: success
  type: dict
  sample:
    family: inet
    table: filter
    chain: input
    handle: 9
    rule: counter reject with icmpx admin-prohibited
fix:
  description: The remedy, in words; none where the packet passes.
  returned: success
  type: str
  sample: >-
    'counter reject with icmpx admin-prohibited' in inet filter input (handle 9) decides; a task of
    overssh.swarm.nft_rule with the arguments in suggestion lets the packet pass
suggestion:
  description: The arguments of a task of M(overssh.swarm.nft_rule) that lets the packet pass; none where none would.
  returned: success
  type: dict
  sample:
    name: tcp-2377-input-tun1002
    path: input
    protocol: tcp
    ports: ["2377"]
    in_interfaces: [tun1002]
placements:
  description: Where the rules of that task would stand; see RV(overssh.swarm.nft_rule#module:placements).
  returned: success
  type: list
  elements: dict
  sample:
    - family: inet
      table: filter
      chain: input
      handle:
      rule: iifname "tun1002" tcp dport 2377 accept comment "overssh:tcp-2377-input-tun1002"
      before: 9
      decided_by:
        family: inet
        table: filter
        chain: input
        handle: 9
        rule: counter reject with icmpx admin-prohibited
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._trace.engine import described_from, trace
from ansible_collections.overssh.swarm.plugins.module_utils._trace.options import ARGUMENTS, CONSTRAINTS


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, **CONSTRAINTS)
    options = module.params
    run_info(module, lambda: trace(runner(module), described_from(options), options["inject"], options["timeout"]))


if __name__ == "__main__":
    main()
