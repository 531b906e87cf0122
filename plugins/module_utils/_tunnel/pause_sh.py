# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for sh that waits before a peer that has refused this host is dialled again.

Its first argument is the link's name. The file refused in its runtime directory has a line for each refusal in a row.
"""

PROGRAM = r"""refused=$RUNTIME_DIRECTORY/refused
test -s "$refused" || exit 0
times=$(wc -l <"$refused")
# In seconds. sshd notes 5 s for each refused key and shuts an address out from 15 s on: two refused links behind one
# address stay below that with the first pause.
pause=5
longest=300
count=1
while test $count -lt "$times" && test $pause -lt $longest; do
    pause=$((pause * 2))
    count=$((count + 1))
done
test $pause -lt $longest || pause=$longest
# Several hosts that were refused together do not come back together.
pause=$((pause + pause * ($$ % 25) / 100))
sleep $pause &
sleeper=$!
trap "kill $sleeper; rm -f $refused; exit 0" TERM
echo "overssh-link: $1 refused this host $times times in a row; the next attempt is in $pause s" >&2
wait $sleeper
"""
