#!/usr/bin/env bash
# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Have programs on this machine, each given as PROGRAM=DEBIAN_PACKAGE: installed as root on a Debian-family system,
# named with their packages anywhere else. A package without a program is always asked for.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

programs=() packages=()
for pair in "$@"; do
    if ! command -v "${pair%%=*}" >/dev/null; then
        programs+=("${pair%%=*}")
        packages+=("${pair#*=}")
    fi
done
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing here: ${programs[*]:-${packages[*]}}; on Debian: apt-get install ${packages[*]}" >&2
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing ${packages[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for step in update "install --yes --no-install-recommends ${packages[*]}"; do
    # shellcheck disable=SC2086 # words on purpose
    apt-get -q $step </dev/null >"$log" 2>&1 || { cat "$log" >&2; exit 2; }
done
