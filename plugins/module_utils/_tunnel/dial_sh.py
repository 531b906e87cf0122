# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for sh that becomes the command it is given, which dials a peer, and counts refusals in a row.

A child of the shell passes on what ssh says, to the end. The file refused in its runtime directory has a line for each
login that failed before it was let in. sshd counts those, and in the end it shuts out everybody behind the address.
"""

PROGRAM = r"""refused=$RUNTIME_DIRECTORY/refused
said=$RUNTIME_DIRECTORY/said
rm -f "$said"
mkfifo "$said" || exit 1
(
    trap "" TERM
    last=
    up=
    while IFS= read -r line; do
        printf "%s\n" "$line"
        case $line in
            *"Permission denied ("* | *"Too many authentication failures"* | *"Not allowed at this time"* | \
            *"Host key verification failed"* | *"Unable to negotiate with"*) test "$up" || last=refused ;;
            # A stream that is connected may still be refused further lanes, and goes on without them.
            "overssh-stream: connected to "*) last="" up=yes ;;
            "Authenticated to "*) last= ;;
        esac
    done
    if test "$last"; then echo >>"$refused"; else rm -f "$refused"; fi
) <"$said" >&2 &
exec "$@" 2>"$said"
"""
