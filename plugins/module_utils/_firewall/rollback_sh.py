# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for sh that takes back a change of our firewall rules.

It is the last rescue of a host that can't be reached any more, so it needs nothing but nft and what every host has.
Handles of rules that are yet to come can't be known, so it finds the rules that have come by their comments.

Its variables:

boot_id: the file with the id of this boot; boot: the id when the change was made
comments: those of the rules that the change adds, separated by tabs
kept: rules with such a comment that were there before, each as "family table chain handle", separated by tabs
changes: commands of nft that bring back what the change removes
placed: the file of the record; record: its text before the change, empty for no file; folder: where our files are
restore: the program that puts back kept rules; rules: their list
"""

PROGRAM = r"""# After a reboot nothing of the change is left, and handles name other rules.
# What others have removed meanwhile was left alone until now.
if [ "$(cat "$boot_id")" = "$boot" ]; then
    commands=$(mktemp)
    {
        # Each rule of ours that was not there before, as a command that removes it.
        nft -a list ruleset | awk -v comments="$comments" -v kept="$kept" '
            BEGIN { split(comments, names, "\t"); for (each in names) wanted[names[each]] = 1
                    split(kept, handles, "\t"); for (each in handles) stays[handles[each]] = 1 }
            /^table / { table = $2 " " $3 }
            /^\tchain / { chain = $2 }
            /^\t\t/ && match($0, /comment "[^"]*" # handle [0-9]+$/) {
                split(substr($0, RSTART), parts, "\"")
                if ((parts[2] in wanted) && !((table " " chain " " $NF) in stays))
                    print "delete rule " table " " chain " handle " $NF
            }'
        printf '%s\n' "$changes"
    } >"$commands"
    # Together, or where somebody else has changed something meanwhile as many as can be.
    nft -f "$commands" || while IFS= read -r command; do nft "$command"; done <"$commands"
    rm -f "$commands"
fi
if [ -n "$record" ]; then
    printf '%s\n' "$record" >"$placed.back"
    mv "$placed.back" "$placed"
else
    rm -f "$placed"
    rmdir "$folder" "${folder%/*}" 2>/dev/null || true
fi
[ ! -e "$restore" ] || sh "$restore" "$rules" || true
"""
