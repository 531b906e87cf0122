# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our rules kept: a file that lists them, a script that puts back those that are missing, and what runs it when."""

from __future__ import annotations

import shlex
import sys

from .._core.program import name_of, program_files
from .._linux.systemd import UNIT_FOLDER
from .._nftables.rules_file import FOLDER
from . import restore

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


# Where the rule that an accept of ours stood before is gone, the head of the chain is as effective. Any other verdict
# could cut there what it was never meant for.
SCRIPT = (
    f"""\
#!/bin/sh
# Puts back the firewall rules listed in a file where they are missing. Touches no other rule and flushes nothing.
# A rule whose chain doesn't exist is left out; the others are put back all the same.
rules=${{1:-/etc/overssh/nft/rules}}
python={shlex.quote(sys.executable or "/usr/bin/python3")}
"""
    + """\
tab=$(printf '\\t')
failed=0
# Two at once would each find the same rule missing.
exec 9<"$0"
flock 9

# The program also knows where a rule takes effect. What follows does without it, and without Python.
if [ -d "${rules%/*}/program" ]; then
    cache=${RUNTIME_DIRECTORY:+-Xpycache_prefix=$RUNTIME_DIRECTORY}
    "$python" -I "${cache:--B}" -c 'import sys; sys.path.insert(0, sys.argv[1])
from program._firewall.restore import main
sys.exit(main(sys.argv[2:]))' "${rules%/*}" "$rules"
    case $? in 0) exit 0 ;; 3) exit 1 ;; esac
fi

# The handle of the first rule with the text $2 in the listing $1.
handle_of() {
    printf '%s\\n' "$1" | while IFS= read -r line; do
        line=${line#"${line%%[![:space:]]*}"}
        case $line in
            "$2 # handle "*) printf '%s\\n' "${line##* }"; break ;;
        esac
    done
}

while IFS=$tab read -r family table chain rule anchor; do
    case $family in '' | '#'* | firewalld) continue ;; esac
    if [ "$anchor" = "(chain)" ]; then
        nft list chain "$family" "$table" "$chain" >/dev/null 2>&1 ||
            nft "add table $family $table; add chain $family $table $chain $rule" || failed=1
        continue
    fi
    if ! listing=$(nft -s -a list chain "$family" "$table" "$chain" 2>/dev/null); then
        if [ "$chain" != DOCKER-USER ]; then
            echo "no chain $family $table $chain, so no rule there: $rule"
            continue
        fi
        # Docker takes it as it finds it when it starts, and drops from then on what no rule there accepts.
        nft "add table $family $table; add chain $family $table $chain"
    fi
    [ -z "$(handle_of "$listing" "$rule")" ] || continue
    # nft may print the elements of a set in another order; then the comment tells that the rule is there.
    comment="comment ${rule##* comment }"
    wanted=$(grep -F -- "$family$tab$table$tab$chain$tab" "$rules" | grep -c -F -- "$comment$tab")
    [ "$(printf '%s\\n' "$listing" | grep -c -F -- "$comment # handle ")" -lt "$wanted" ] || continue
    if [ "$anchor" = "(end)" ]; then
        change="add rule $family $table $chain $rule"
    else
        handle=$(handle_of "$listing" "$anchor")
        case "$handle:$rule" in
            :*" accept comment "*) ;;
            :*) echo "the rule that it stood before is gone, so it stays away: $rule" >&2; failed=1; continue ;;
        esac
        change="insert rule $family $table $chain ${handle:+position $handle} $rule"
    fi
    if printf '%s\\n' "$change" | nft -f -; then
        echo "put back in $family $table $chain: $rule"
    else
        failed=1
    fi
done <"$rules"
exit $failed
"""
)

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
