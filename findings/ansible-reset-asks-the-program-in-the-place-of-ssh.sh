#!/usr/bin/env bash
# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What:      ansible-core 2.19.14, connection plugin ssh, `meta: reset_connection`
# Guess:     Ansible closes the connection that it shares itself: where the socket of its own ControlPath is not there,
#            nothing is asked and nothing is closed, so that a program in the place of ssh with a ControlMaster of its own
#            (ansible_ssh_executable) keeps its connection.
# Behaviour: no socket is looked for. The program is called with `-O check`, and where it ends with status 0 with
#            `-O stop`, each with Ansible's ControlPath behind whatever the program says first. So it is the program that
#            decides what is closed: one that puts its own ControlPath first has its own connection stopped, one that
#            ends with 0 without doing anything is believed, and one that ends otherwise is passed over without a word.
# Output:    seen on 2026-11-28:
#              asked: check, stop
#              the run with a program that refuses: asked: check
#              both runs ended with status 0
# For us:    a reset proves nothing about the next connection; the host itself has to see that it is a new one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'ansible-core==2.19.14'

# In the place of ssh: notes what the multiplexer is told, and runs all else here.
cat >ssh <<'PROGRAM'
#!/bin/bash
words=("$@")
for ((at = 0; at < ${#words[@]}; at++)); do
    if [ "${words[at]}" = -O ]; then
        echo "${words[at + 1]}" >>"$NOTES"
        exit "$STATUS"
    fi
done
exec bash -c "${words[-1]}"
PROGRAM
chmod +x ssh
cat >play.yml <<'PLAY'
- hosts: all
  gather_facts: false
  tasks:
    - ping:
    - meta: reset_connection
    - ping:
PLAY

asked() {
    NOTES=$folder/notes.$1 STATUS=$1 ANSIBLE_PIPELINING=1 HOME=$folder venv/bin/ansible-playbook -i 'here.invalid,' \
        -e ansible_connection=ssh -e "ansible_ssh_executable=$folder/ssh" -e ansible_python_interpreter="$(command -v python3)" \
        play.yml >output 2>&1 || { cat output; return 1; }
    paste -sd, "notes.$1" | sed 's/,/, /g'
}

believed=$(asked 0)
refused=$(asked 255)
echo "asked: $believed"
echo "the run with a program that refuses: asked: $refused"
[ "$believed" = 'check, stop' ] && [ "$refused" = check ] || { echo "this has changed" >&2; exit 1; }
