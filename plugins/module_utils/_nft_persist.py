# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our rules kept: a file that lists them, a script that puts back those that are missing, and what runs it when."""

from __future__ import annotations

import shlex
import sys

from . import _guard, _nft_restore
from ._nft_lines import FOLDER
from ._source import source_of
from ._systemd import UNIT_FOLDER

SCRIPT_FILE, WATCH_FILE = f"{FOLDER}/restore", f"{FOLDER}/watch"
UNIT, EARLY_UNIT, WATCH_UNIT = "overssh-nft.service", "overssh-nft-early.service", "overssh-nft-watch.service"
# A folder that is always there: whoever changes rules of ours holds it meanwhile.
LOCK = UNIT_FOLDER
# Each change of rules that waits to be confirmed has a guard whose name begins so.
GUARD = "firewall"

# The program that looks for places and what it imports, which Ansible packs along with it; it runs from a folder of its
# own.
PROGRAM = (
    _nft_restore.__name__.rpartition(".")[2],
    "_command",
    "_dockerd",
    "_errors",
    "_files",
    "_nft_docker",
    "_nft_fixed",
    "_nft_index",
    "_nft_lines",
    "_nft_list",
    "_nft_match",
    "_nft_model",
    "_nft_ours",
    "_nft_owner",
    "_nft_path",
    "_nft_placement",
    "_nft_record",
    "_nft_rule",
    "_wait",
)
PROGRAM_FOLDER = f"{FOLDER}/program"
RUNTIME, LEFT_FILE = "overssh-nft", "/run/overssh-nft/left"


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
    "$python" -I ${cache:--B} -c 'import sys; sys.path.insert(0, sys.argv[1])
from program._nft_restore import main
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

# The rules of a table or a chain that goes are told of one by one, so rules that go and chains that come are all there
# is to know. A module of ours holds the lock while it works.
# Somebody who removes them all the time is named and left alone for a while: nobody is helped by a fight.
WATCH = f"""\
#!/bin/sh
# Has the firewall rules of ours put back soon after somebody else has removed them.
folder=${{1:-{FOLDER}}}
lock=${{2:-{LOCK}}}
# So many times within so many seconds is too often, and then it is left alone for so many seconds.
rounds=${{3:-6}} window=60 pause=${{4:-900}}
runtime=${{RUNTIME_DIRECTORY:-$folder}}

# A change that waits to be confirmed is not to be completed, nor is what it has removed to come back.
on_trial() {{
    for guard in {_guard.FOLDER}/{GUARD}*; do
        [ ! -e "$guard/deadline" ] || [ -e "$guard/taken_back" ] || return 0
    done
    return 1
}}

# The program that has removed most since somebody began to do it again and again.
remover() {{
    awk '/^delete (rule|chain|table) / {{ removes = 1 }}
        /^# new generation / {{ if (removes && sub(/^.* by process [0-9]+ /, "")) count[$0]++; removes = 0 }}
        END {{ for (each in count) if (count[each] > most) {{ most = count[each]; name = each }}
            print name ? "the program " name : "a program" }}' "$runtime/removals"
}}

# It was put back once more; the times of the last ones are kept.
again() {{
    read -r now rest </proc/uptime
    now=${{now%.*}}
    recent=$now count=1
    for each in $times; do
        [ $((now - each)) -ge "$window" ] || {{ recent="$recent $each" count=$((count + 1)); }}
    done
    times=$recent
    # Whose doing it is can be told only while it is done.
    [ "$count" -ne 2 ] || timeout "$window" nft monitor >"$runtime/removals" 2>/dev/null 8<&- &
    [ "$count" -ge "$rounds" ] || return 0
    echo "$(remover) removes firewall rules of overssh again and again, $count times within $window s: they are" \\
        "left alone for $pause s; stop it, then run systemctl restart {WATCH_UNIT}" | tee "$runtime/left"
    timeout "$pause" cat >/dev/null
    # The service starts anew.
    rm -f "$runtime/left"
    kill 0
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
    said=
    on_trial || said=$(sh "$folder/restore" "$folder/rules" 2>&1 8<&-)
    flock -u 8
    [ -z "$said" ] || printf '%s\\n' "$said"
    case $event:$said in
        started:*) ;;
        *'put back '* | *'placed in '*) again ;;
    esac
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
ReadWritePaths=-{FOLDER}
RuntimeDirectory={RUNTIME}
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RestrictNamespaces=yes

[Install]
WantedBy=multi-user.target
"""

UNITS = {EARLY_UNIT: EARLY_UNIT_TEXT, UNIT: UNIT_TEXT, WATCH_UNIT: WATCH_UNIT_TEXT}
PROGRAM_FILES = {f"{PROGRAM_FOLDER}/{name}.py": source_of(f"{__package__}.{name}") for name in PROGRAM}
SCRIPTS = {SCRIPT_FILE: SCRIPT, WATCH_FILE: WATCH, **PROGRAM_FILES}
