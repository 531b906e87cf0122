# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our rules kept: a file that lists them, a script that puts back those that are missing, and what runs it when."""

from __future__ import annotations

from . import _guard
from ._nft_lines import FOLDER
from ._systemd import UNIT_FOLDER

SCRIPT_FILE, WATCH_FILE = f"{FOLDER}/restore", f"{FOLDER}/watch"
UNIT, EARLY_UNIT, WATCH_UNIT = "overssh-nft.service", "overssh-nft-early.service", "overssh-nft-watch.service"
# A folder that is always there: whoever changes rules of ours holds it meanwhile.
LOCK = UNIT_FOLDER
# Each change of rules that waits to be confirmed has a guard whose name begins so.
GUARD = "firewall"

# Where the rule that an accept of ours stood before is gone, the head of the chain is as effective. Any other verdict
# could cut there what it was never meant for.
SCRIPT = """\
#!/bin/sh
# Puts back the firewall rules listed in a file where they are missing. Touches no other rule and flushes nothing.
# A rule whose chain doesn't exist is left out; the others are put back all the same.
rules=${1:-/etc/overssh/nft/rules}
tab=$(printf '\\t')
failed=0
# Two at once would each find the same rule missing.
exec 9<"$0"
flock 9

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

# The rules of a table or a chain that goes are told of one by one, so rules that go and chains that come are all there
# is to know. A module of ours holds the lock while it works.
WATCH = f"""\
#!/bin/sh
# Has the firewall rules of ours put back soon after somebody else has removed them.
folder=${{1:-{FOLDER}}}
lock=${{2:-{LOCK}}}

# A change that waits to be confirmed is not to be completed, nor is what it has removed to come back.
on_trial() {{
    for guard in {_guard.FOLDER}/{GUARD}*; do
        [ ! -e "$guard/deadline" ] || [ -e "$guard/taken_back" ] || return 0
    done
    return 1
}}

exec 8<"$lock"
{{
    echo started
    # Without one of them it would miss things, so the service starts anew. nft 1.1 does not take "destroy" here.
    (nft monitor rules; kill 0) &
    (nft monitor chains; kill 0) &
    wait
}} 2>&1 | while read -r event; do
    case $event in
        started | 'delete rule'* | 'add chain'* | *ERROR*) ;;
        *) continue ;;
    esac
    # What comes right after it belongs to the same change.
    timeout 0.5 cat >/dev/null
    flock 8
    on_trial || sh "$folder/restore" "$folder/rules" 8<&-
    flock -u 8
done
"""

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

# Each start of the two services starts ours, so systemd's limit on starts would only leave the rules out.
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
ExecStart=/bin/sh {SCRIPT_FILE}
ExecReload=/bin/sh {SCRIPT_FILE}

[Install]
WantedBy=multi-user.target nftables.service docker.service
"""

WATCH_UNIT_TEXT = f"""\
[Unit]
Description=Firewall rules of overssh, put back when somebody removes them
After={EARLY_UNIT}
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh {WATCH_FILE}
Restart=always
RestartSec=1
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RestrictNamespaces=yes

[Install]
WantedBy=multi-user.target
"""

UNITS = {EARLY_UNIT: EARLY_UNIT_TEXT, UNIT: UNIT_TEXT, WATCH_UNIT: WATCH_UNIT_TEXT}
SCRIPTS = {SCRIPT_FILE: SCRIPT, WATCH_FILE: WATCH}
