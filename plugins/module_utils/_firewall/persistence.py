# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep our rules: the file that lists them, the script that restores missing ones, and the units that run it."""

from __future__ import annotations

import sys

from .._core.program import name_of, program_files
from .._core.shell import with_values
from .._linux.systemd import UNIT_FOLDER
from .._nftables.rules_file import FOLDER
from . import restore, restore_sh

SCRIPT_FILE = f"{FOLDER}/restore"
UNIT, EARLY_UNIT = "overssh-nft.service", "overssh-nft-early.service"
# A folder that is always there: whoever changes rules of ours holds it meanwhile.
LOCK = UNIT_FOLDER
# Each change of rules that waits to be confirmed has a checkpoint whose name begins so.
CHECKPOINT = "firewall"

# The program that looks for places and what it imports, which Ansible packs along with it; it runs from a folder of its
# own.
PROGRAM = (
    name_of(restore),
    "_core.command",
    "_core.errors",
    "_core.files",
    "_core.wait",
    "_docker.daemon",
    "_linux.devices",
    "_linux.netlink",
    "_nftables.accept",
    "_nftables.chain_rule",
    "_nftables.conditions",
    "_nftables.docker_chains",
    "_nftables.index",
    "_nftables.listing",
    "_nftables.ours",
    "_nftables.owner",
    "_nftables.placement",
    "_nftables.record",
    "_nftables.rules_file",
    "_nftables.ruleset",
    "_nftables.traversal",
)
PROGRAM_FOLDER = f"{FOLDER}/program"


SCRIPT = with_values(restore_sh.PROGRAM, python=sys.executable or "/usr/bin/python3")

# Links come up long before Docker has started, and what comes over them would be dropped meanwhile.
EARLY_UNIT_TEXT = f"""\
[Unit]
Description=Firewall rules of overssh, put back before packets come
After=nftables.service netfilter-persistent.service ufw.service
Before=docker.service ssh.service sshd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {SCRIPT_FILE}

[Install]
WantedBy=multi-user.target
"""

# Each start of the two services starts ours, so systemd's limit on starts would only leave the rules out. It is ended
# before it has done its work where they are restarted one after the other: it is then started again, and hasn't failed.
UNIT_TEXT = f"""\
[Unit]
Description=Firewall rules of overssh, put back where they are missing
After=nftables.service docker.service netfilter-persistent.service
PartOf=nftables.service docker.service
ReloadPropagatedFrom=nftables.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
SuccessExitStatus=SIGTERM
ExecStart=/bin/sh {SCRIPT_FILE}
ExecReload=/bin/sh {SCRIPT_FILE}

[Install]
WantedBy=multi-user.target nftables.service docker.service
"""

UNITS = {EARLY_UNIT: EARLY_UNIT_TEXT, UNIT: UNIT_TEXT}
PROGRAM_FILES = program_files(PROGRAM_FOLDER, PROGRAM)
