#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accept packets in a host's own firewall, where the accept takes effect."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nft_rule
short_description: Rules in a host's own firewall, where they take effect
version_added: 0.1.0
author: overssh.swarm contributors (@overssh)
description:
  - Lets the described packets pass a host's existing firewall, whatever program wrote it. Or puts a rule with any
    verdict into the chain that O(chain) names.
  - Reads the whole ruleset, follows a new packet as described through every base chain on its path, and puts an accept
    before the rule that drops or rejects it, in the chain where that rule stands. An accept ends its own base chain
    only, so several chains may need one. Where nothing drops the packet, no rule is placed.
  - Where several rules call the chain of the deciding rule, the accept stands before the call instead. In the called
    chain it would let other packets pass as well.
  - A rule may drop for a reason that the ruleset does not show (an unknown expression, a set that packets change). The
    accept stands before such a rule, and RV(notes) reports it. A narrower description passes fewer foreign rules.
  - All changes of a task are one transaction of C(nft). Rules of others are never touched, and nothing is ever flushed.
  - A rule of ours has the comment C(overssh:) and O(name), and an entry in the record of placed rules,
    C(/etc/overssh/nft/placed). A rule with such a comment but without an entry is foreign; a warning names it, and it
    stays. A rule of ours that takes effect stays in its place, also while nothing would drop its packets.
  - Tables that iptables manages get only rules that iptables can show, so one rule for each interface, port and
    network. Where Docker has a chain C(DOCKER-USER) and forwarded packets come by it, the accept stands there.
extends_documentation_fragment:
  - overssh.swarm.attributes
requirements:
  - nftables 1.0.6 or later on the managed host
  - firewalld 0.9 or later, where firewalld owns the firewall
options:
  name:
    description:
      - The rule's name, on this host and in later tasks.
      - "Letters, digits and any of C(._:@/+-); 120 characters at most."
      - Use O(rules) to describe several rules in one task.
    type: str
  path:
    description:
      - Whether the packets are for the host itself (V(input)), are forwarded by it (V(forward)), or are the host's own
        (V(output)).
    type: str
    choices: [input, forward, output]
    default: input
  protocol:
    description:
      - The packets' protocol.
    type: str
    choices: [tcp, udp, icmp, icmpv6, esp, any]
    default: any
  ports:
    description:
      - Destination ports, or ranges of them as V(7946-7950); none stands for all.
      - Only with O(protocol=tcp) and O(protocol=udp).
    type: list
    elements: str
    default: []
  in_interfaces:
    description:
      - Names of the interfaces that the packets come in by; none stands for all.
      - An interface needn't exist yet. Not with O(path=output).
    type: list
    elements: str
    default: []
  out_interfaces:
    description:
      - Names of the interfaces that the packets go out by; none stands for all.
      - Only with O(path=forward) and O(path=output).
    type: list
    elements: str
    default: []
  source:
    description:
      - Networks or addresses, IPv4 or IPv6, that the packets come from; none stands for all.
    type: list
    elements: str
    default: []
  destination:
    description:
      - Networks or addresses, IPv4 or IPv6, that the packets go to; none stands for all.
    type: list
    elements: str
    default: []
  verdict:
    description:
      - The verdict on the packets. Verdicts other than V(accept) need O(chain).
      - V(jump) and V(goto) take a O(target). V(masquerade) belongs into a chain of O(type=nat). With V(continue) the
        rule only counts or logs them, see O(counter) and O(log_prefix).
    type: str
    choices: [accept, drop, reject, return, continue, masquerade, jump, goto]
    default: accept
  chain:
    description:
      - The chain that the rule is to stand in, as C(FAMILY TABLE CHAIN), such as V(inet filter input).
      - Without this option, the rule is an accept that finds its own places, and the following options are not allowed.
      - nft itself loads the rule in a temporary network namespace and prints it, and the module compares that. So the
        rule may be written in any way that nft understands.
    type: str
  position:
    description:
      - The position in the chain, before or after all foreign rules, or before or after one of them. Rules of ours at
        that position are ignored.
    type: str
    choices: [first, last, before, after]
    default: last
  anchor:
    description:
      - The rule to stand before or after, by its comment or its handle.
    type: str
  target:
    description:
      - The chain to jump to.
    type: str
  reject_with:
    description:
      - How to reject, such as V(tcp reset) or V(icmpx admin-prohibited); by default C(nft)'s own way.
    type: str
  source_ports:
    description:
      - Source ports, or ranges of them.
    type: list
    elements: str
    default: []
  ct_state:
    description:
      - The states of the connections that the packets belong to.
    type: list
    elements: str
    choices: [new, established, related, invalid, untracked]
    default: []
  limit:
    description:
      - How many packets the rule is for, such as V(5/second), V(over 10/minute) or V(100 kbytes/second).
    type: str
  limit_burst:
    description:
      - How many may come at once; bytes, where O(limit) is in bytes.
    type: int
  counter:
    description:
      - Whether the rule counts its packets; M(overssh.swarm.nft_rule_info) returns their number.
    type: bool
    default: false
  log_prefix:
    description:
      - Has the kernel log the packets with this prefix, which may be empty.
    type: str
  expression:
    description:
      - A further condition in C(nft)'s own language, such as V(ip saddr @friends). Use other options where possible.
    type: str
  hook:
    description:
      - Makes a missing chain, as a base chain at this hook, in the table C(overssh) of its family. The chain is removed
        with its last rule, and the table with its last chain.
    type: str
    choices: [prerouting, input, forward, output, postrouting]
  type:
    description:
      - The type of the base chain that O(hook) makes.
    type: str
    choices: [filter, nat, route]
    default: filter
  priority:
    description:
      - The priority of the chain that O(hook) makes. Packets meet a chain of a lower priority earlier.
    type: int
    default: 0
  policy:
    description:
      - The policy of the chain that O(hook) makes.
    type: str
    choices: [accept, drop]
    default: accept
  rules:
    description:
      - Several rules in one task and in one transaction, each with the same options.
      - Mutually exclusive with O(name).
      - Each is a dictionary with a O(name) and any of the options from O(path) to O(policy).
    type: list
    elements: dict
  exclusive_prefix:
    description:
      - Removes rules of ours whose names start with this, except those that the task describes.
      - With an empty list of O(rules), or with O(state=absent), all of them are removed.
      - Several prefixes are allowed. The first one names the checkpoint of a change.
    type: list
    elements: str
  all:
    description:
      - Removes every rule of ours from the host, with all files for the next boot.
      - Only with O(state=absent), and without O(name) and O(rules).
    type: bool
    default: false
  state:
    description:
      - Whether the rules should be there. V(absent) needs only names.
    type: str
    choices: [present, absent]
    default: present
  persist:
    description:
      - Whether missing rules are restored. C(overssh-nft.service) does so at boot and after a start of
        C(nftables.service) or C(docker.service). C(overssh-watch.service) does so about a second after another program
        has removed them.
      - A rule is restored in its place. Where an accept takes no effect there any more, because its chain is not
        called, it gets an effective place until the first one takes effect again.
      - A program that removes rules of ours six times within a minute is named in the journal of the last service and
        in RV(notes), and left alone for 15 minutes.
      - The rules are listed in C(/etc/overssh/nft/rules). The file and the services are removed with the last rule.
    type: bool
    default: true
  owner:
    description:
      - The program that owns the host's firewall; it determines how accepts are added.
      - With V(auto), the ruleset shows the owner, table by table; RV(owners) returns the owners found.
      - V(nftables) treats every table as one of plain C(nft). V(iptables) treats all tables of the families ip and ip6
        as tables of iptables. V(firewalld) requires that firewalld runs.
    type: str
    choices: [auto, nftables, iptables, firewalld]
    default: auto
  confirm:
    description:
      - How a change of the running rules is confirmed. A systemd timer on the host gets the exact inverse of the change
        before the change is made, and nothing is kept for the next boot yet. So a host that can't be reached any more
        rolls the change back by itself, also where it reboots meanwhile.
      - With V(auto), the controller closes its connection, connects anew, and tries the addresses in O(probe). Only
        then is the timer stopped and are the rules kept. The host itself checks that the connection began after the
        change. Where it did not, or can't be seen, as with the connection plugin C(local), the change is rolled back.
      - With V(manual) the change is rolled back unless the playbook C(overssh.swarm.confirm) runs in time, or
        M(overssh.swarm.checkpoint) confirms it; either keeps the rules.
      - With V(none) there is no checkpoint.
      - Rules that find their places by themselves only accept. A change that only adds such rules can cut nobody off,
        so V(auto) keeps it at once, unless there is a O(probe) or firewalld has to be called.
    type: str
    choices: [auto, manual, none]
    default: auto
  rollback_timeout:
    description:
      - Seconds after which the host rolls back an unconfirmed change, from 5 to 86400.
    type: int
    default: 60
  probe:
    description:
      - Addresses that the controller must reach by TCP for the change to stay, each as C(HOST:PORT).
    type: list
    elements: str
    default: []
  force_lockout:
    description:
      - Allows a change that would drop packets of the task's own ssh connection. Such a change is refused otherwise;
        with this option it has a checkpoint.
    type: bool
    default: false
  phase:
    description:
      - Set by this module's action plugin. V(stage) makes a change with a checkpoint and keeps nothing for the next
        boot. V(commit) confirms the change and keeps it.
    type: str
    choices: [apply, stage, commit]
    default: apply
seealso:
  - module: overssh.swarm.nft_rule_info
  - module: overssh.swarm.checkpoint
notes:
  - Describe packets by their networks too, where these are known. Docker's C(raw) table, for example, drops packets by
    their destination, and an accept for any destination has to precede that rule.
  - Where firewalld owns the firewall, C(firewall-cmd) puts the interfaces of the accepts into a zone C(overssh), with
    the accepts as rich rules, and what is forwarded among them into a policy C(overssh-transit). All accepts then have
    to name the same O(in_interfaces). For the first of them firewalld is reloaded, and only where that loses nothing.
  - Chains of devices, at the hooks ingress and egress, get accepts too. Such a chain of the family inet can't
    distinguish packets for this host from others, so O(destination) has to name the host's addresses where it drops.
  - Tables of the family bridge are left as they are, and so are programs of XDP and filters of C(tc), which C(nft) does
    not list. RV(notes) names rules that drop the host's own replies.
  - Rules of C(iptables-legacy) filter packets too, beside those that C(nft) lists. They are left as they are, and
    RV(notes) names those that may drop the packets.
"""

EXAMPLES = r"""
- name: Accept the swarm's ports on the tunnels only
  overssh.swarm.nft_rule:
    exclusive_prefix: swarm/
    rules:
      - name: swarm/manager
        protocol: tcp
        ports: [2377, 7946]
        in_interfaces: [tun1002, tun1003]
        source: [172.30.0.0/16]
        destination: [172.30.0.0/16]
      - name: swarm/data
        protocol: udp
        ports: [4789, 7946]
        in_interfaces: [tun1002, tun1003]
        source: [172.30.0.0/16]
        destination: [172.30.0.0/16]

- name: Let the hub forward between its tunnels
  overssh.swarm.nft_rule:
    name: swarm/forward
    path: forward
    in_interfaces: [tun1002, tun1003]
    source: [172.30.0.0/16]
    destination: [172.30.0.0/16]

- name: Let nobody in who tries ssh too often, in a chain of ours
  overssh.swarm.nft_rule:
    name: ssh/often
    chain: inet overssh ssh
    hook: input
    priority: -10
    protocol: tcp
    ports: [22]
    ct_state: [new]
    limit: over 10/minute
    counter: true
    log_prefix: "ssh too often: "
    verdict: drop

- name: Have what leaves by the uplink come from its address
  overssh.swarm.nft_rule:
    name: edge/masquerade
    chain: ip overssh uplink
    hook: postrouting
    type: nat
    priority: 100
    source: [10.9.0.0/24]
    out_interfaces: [eth0]
    verdict: masquerade

- name: A rule of one's own before the one that has the comment "no more"
  overssh.swarm.nft_rule:
    name: db/from-friends
    chain: inet filter input
    position: before
    anchor: no more
    protocol: tcp
    ports: [5432]
    expression: ip saddr @friends

- name: Close one of them again
  overssh.swarm.nft_rule:
    name: swarm/forward
    state: absent

- name: Take every rule of ours away
  overssh.swarm.nft_rule:
    state: absent
    all: true
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be done.
  returned: always
  type: list
  elements: str
  sample:
    - 'add to inet filter input: iifname "tun1001" udp dport 4789 accept comment "overssh:swarm/data"'
needed:
  description: Whether any described rule is needed, because another rule or policy would drop its packets.
  returned: success
  type: bool
  sample: true
rules:
  description: Each rule described by the task.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The rule's name.
      type: str
      sample: swarm/data
    needed:
      description: Whether its packets would be dropped without it.
      type: bool
      sample: true
    placements:
      description: The rule's places; see RV(placements).
      type: list
      elements: dict
placements:
  description: The rules' places, in check mode the planned ones; empty where no rule is needed.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The rule's name.
      type: str
    family:
      description: The table's address family, or V(firewalld).
      type: str
    table:
      description: The table, or firewalld's zone or policy.
      type: str
    chain:
      description: The chain.
      type: str
    handle:
      description: The rule's handle; none where it isn't on the host yet, or firewalld keeps it.
      type: int
    rule:
      description: The rule as C(nft) writes it, or as a rich rule of firewalld.
      type: str
    before:
      description: Handle of the foreign rule after it; none at the chain's end.
      type: int
    decided_by:
      description:
        - The rule that would drop the packets, with its place; none where no rule would any more.
        - A base chain's policy has no handle.
      type: dict
  sample:
    - name: swarm/data
      family: inet
      table: filter
      chain: input
      handle: 12
      rule: iifname "tun1001" udp dport 4789 accept comment "overssh:swarm/data"
      before: 9
      decided_by:
        family: inet
        table: filter
        chain: input
        handle: 9
        rule: counter reject with icmpx admin-prohibited
owners:
  description:
    - The programs whose rules the host has, of C(docker), C(firewalld), C(iptables), C(iptables-legacy), C(nftables)
      and C(ufw).
  returned: success
  type: list
  elements: str
  sample: [docker, iptables, ufw]
docker_lost:
  description:
    - Missing rules of a running Docker, which makes them only when it starts. The module does not restore them.
  returned: success
  type: list
  elements: dict
  contains:
    what:
      description:
        - V(jump) where C(FORWARD) does not jump to C(DOCKER-USER) any more, V(masquerade) where containers' packets
          keep their own addresses.
      type: str
    device:
      description: The bridge whose packets are not masqueraded; empty for V(jump).
      type: str
    sentence:
      description: A sentence with the remedy.
      type: str
  sample: []
pending:
  description: Whether the change is pending, see O(confirm).
  returned: success
  type: bool
  sample: false
checkpoint:
  description: The name under which M(overssh.swarm.checkpoint) confirms it; empty where there is nothing to confirm.
  returned: success
  type: str
  sample: ""
notes:
  description:
    - Sentences on uncertain rules, and on obstacles that the module can't remove. A drop outside of nft, such as by
      iptables-legacy, is a warning too.
  returned: success
  type: list
  elements: str
  sample:
    - "can't tell whether 'fib saddr . iif oif missing drop' in inet filter raw (handle 4) drops these packets; the
      accept stands before it"
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_module
from ansible_collections.overssh.swarm.plugins.module_utils._firewall.desired import desired_from
from ansible_collections.overssh.swarm.plugins.module_utils._firewall.engine import NftRuleEngine, Phase
from ansible_collections.overssh.swarm.plugins.module_utils._firewall.options import ARGUMENTS, CONSTRAINTS


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, **CONSTRAINTS)
    run_module(module, lambda: _engine(module, module.params))


def _engine(module: AnsibleModule, options: dict[str, Any]) -> NftRuleEngine:
    # Check mode has no phases; the real run has them.
    phase: Phase = "apply" if module.check_mode else options["phase"]
    foresees = module.check_mode and options["confirm"] != "none"
    return NftRuleEngine(desired_from(options), runner(module), phase, options["rollback_timeout"], options, foresees)


if __name__ == "__main__":
    main()
