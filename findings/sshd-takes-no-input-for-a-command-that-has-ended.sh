#!/usr/bin/env bash
# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What:      OpenSSH 9.2p1 (Debian 1:9.2p1-2+deb12u10), sshd, a session without a terminal
# Guess:     a session lives as long as anybody holds its standard input and output. So a command may hand both to another
#            process (SCM_RIGHTS, unix(7)) and end, and that process goes on talking with the client in both directions.
# Behaviour: the two directions part. What the other process writes still reaches the client, for as long as it has the
#            session open. But with the end of the command sshd gives the client's words to nobody any more: the other
#            process reads the end of its input at once, and what the client sends is thrown away without an error. Where
#            the command stays, both directions work.
# Output:    seen on 2026-11-29:
#              the command stays: heard "first", heard "second", the client read "answer"
#              the command ends: heard "first", heard the end, the client read "answer"
# For us:    whoever hands a session over has to stay until the session is of no use any more.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "sshd takes root" >&2; exit 2; }
folder=$(mktemp -d)
trap 'kill $(cat "$folder/sshd.pid" 2>/dev/null) 2>/dev/null; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get download -qq openssh-server=1:9.2p1-2+deb12u10 openssh-client=1:9.2p1-2+deb12u10 libwrap0=7.6.q-32 2>/dev/null
for package in *.deb; do dpkg-deb -x "$package" root; done
machine=$(uname -m)
export LD_LIBRARY_PATH="$folder/root/usr/lib/$machine-linux-gnu"

# sshd wants an account of its own; it sees one in a file that nobody else sees.
{ cat /etc/passwd; grep -q '^sshd:' /etc/passwd || echo 'sshd:x:64999:65534::/nonexistent:/usr/sbin/nologin'; } >passwd
ssh-keygen -q -t ed25519 -N '' -f host
ssh-keygen -q -t ed25519 -N '' -f user
cat >config <<CONFIG
Port 42022
ListenAddress 127.0.0.1
HostKey $folder/host
AuthorizedKeysFile $folder/user.pub
StrictModes no
UsePAM no
PidFile $folder/sshd.pid
CONFIG
unshare --mount sh -c "mount --bind $folder/passwd /etc/passwd && mount -t tmpfs none /run && mkdir -m 755 /run/sshd &&
    exec $folder/root/usr/sbin/sshd -f $folder/config"

# Takes a session over: says what it hears, and answers the second thing or the end.
cat >other.py <<'OTHER'
import os, socket, sys
door = socket.socket(socket.AF_UNIX)
door.bind("door")
door.listen()
print("listens", flush=True)
near, _ = door.accept()
_, (source, sink), _, _ = socket.recv_fds(near, 16, 2)
near.sendall(b".")
for _ in range(2):
    words = os.read(source, 100).decode().strip()
    print(f'heard "{words}"' if words else "heard the end", flush=True)
    os.write(sink, b"next\n")
os.write(sink, b"answer\n")
OTHER
cat >command.py <<'COMMAND'
import os, socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[2])
socket.send_fds(door, [b"."], [0, 1])
door.recv(1)
if sys.argv[1] == "stays":
    os.close(0)
    os.close(1)
    door.recv(1)
COMMAND

run() {
    rm -f door
    python3 other.py >heard &
    other=$!
    until grep -q listens heard; do sleep 0.05; done
    words="python3 $folder/command.py $1 $folder/door"
    ssh=(ssh -F /dev/null -i user -p 42022 -o "UserKnownHostsFile=$folder/known" -o StrictHostKeyChecking=accept-new)
    # What the client says next waits for what it reads.
    # shellcheck disable=SC2094 # the file that is waited for is the one that is written, and that is meant
    { echo first; until grep -q next heard_back 2>/dev/null; do sleep 0.05; done; sleep 1; echo second; sleep 2; } |
        timeout 20 "${ssh[@]}" -T 127.0.0.1 "$words" >heard_back 2>/dev/null || true
    wait "$other"
    echo "$(grep heard heard | paste -sd, | sed 's/,/, /g'), the client read \"$(grep -o answer heard_back || echo nothing)\""
    rm -f heard_back
}

stays=$(run stays)
ends=$(run ends)
echo "the command stays: $stays"
echo "the command ends: $ends"
[ "$stays" = 'heard "first", heard "second", the client read "answer"' ] || { echo "this has changed" >&2; exit 1; }
[ "$ends" = 'heard "first", heard the end, the client read "answer"' ] || { echo "this has changed" >&2; exit 1; }
