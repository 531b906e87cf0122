#!/usr/bin/env bash
# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What:      ansible-core 2.19.14, a module's argument spec with mutually_exclusive, required_one_of and required_by
# Guess:     an option that is given as null is as good as left out, as its value is None in both cases. So what a module
#            has read (module.params) can be handed to it again.
# Behaviour: whether an option is given is told by its name alone, before defaults are filled in. A null counts: with two
#            options of which one is null "mutually exclusive" is an error, and a null alone satisfies required_one_of. Of
#            the three, required_by alone takes a null for nothing given.
# Output:    seen on 2026-11-29:
#              name null beside rules: parameters are mutually exclusive: name|rules
#              name null alone: no error
#              port null without host: no error
# For us:    options that are kept to be used again are kept without those that are None.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'ansible-core==2.19.14'
cat >ask.py <<'PROGRAM'
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

validator = ArgumentSpecValidator(
    {"name": {"type": "str"}, "rules": {"type": "list"}, "port": {"type": "int"}, "host": {"type": "str"}},
    mutually_exclusive=[("name", "rules")],
    required_one_of=[("name", "rules")],
    required_by={"port": "host"},
)
for words, options in (
    ("name null beside rules", {"name": None, "rules": []}),
    ("name null alone", {"name": None}),
    ("port null without host", {"name": "x", "port": None}),
):
    print(f"{words}: {'; '.join(validator.validate(options).error_messages) or 'no error'}")
PROGRAM
said=$(venv/bin/python ask.py)
echo "$said"
[ "$said" = 'name null beside rules: parameters are mutually exclusive: name|rules
name null alone: no error
port null without host: no error' ] || { echo "this has changed" >&2; exit 1; }
