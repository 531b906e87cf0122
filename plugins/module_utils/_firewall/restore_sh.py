# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for sh that puts back our firewall rules, also where Python is missing or broken.

It runs at boot before the network is up, and after each start of Docker or nftables. Its variable python is the path of
the Python that runs the better program, restore.py.
"""

PROGRAM = r"""# Puts back the firewall rules listed in a file where they are missing.
# Touches no other rule and flushes nothing.
# A rule whose chain doesn't exist is left out; the others are put back all the same.
rules=${1:-/etc/overssh/nft/rules}
tab=$(printf '\t')
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
    printf '%s\n' "$1" | while IFS= read -r line; do
        line=${line#"${line%%[![:space:]]*}"}
        case $line in
            "$2 # handle "*) printf '%s\n' "${line##* }"; break ;;
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
    # nft may print the elements of a set in another order; then the comment shows that the rule is there.
    comment="comment ${rule##* comment }"
    wanted=$(grep -F -- "$family$tab$table$tab$chain$tab" "$rules" | grep -c -F -- "$comment$tab")
    [ "$(printf '%s\n' "$listing" | grep -c -F -- "$comment # handle ")" -lt "$wanted" ] || continue
    if [ "$anchor" = "(end)" ]; then
        change="add rule $family $table $chain $rule"
    else
        # Where the rule that an accept stood before is gone, the head of the chain is as effective. Any other verdict
        # could cut there what it was never meant for.
        handle=$(handle_of "$listing" "$anchor")
        case "$handle:$rule" in
            :*" accept comment "*) ;;
            :*) echo "the rule that it stood before is gone, so it stays away: $rule" >&2; failed=1; continue ;;
        esac
        change="insert rule $family $table $chain ${handle:+position $handle} $rule"
    fi
    if printf '%s\n' "$change" | nft -f -; then
        echo "put back in $family $table $chain: $rule"
    else
        failed=1
    fi
done <"$rules"
exit $failed
"""
