# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic between two containers of the lab that runs while something breaks, and what became of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.suite.turns import turn

from . import lab, traffic_agent

NAME = "overssh-traffic"
# An empty image with the node's own /usr in it: no registry can be reached.
RUN = """\
docker image inspect {name} >/dev/null 2>&1 || {{
    mkdir -p /run/{name} && cd /run/{name}
    for each in bin lib lib64; do ln -sfn usr/$each $each; done
    tar -c bin lib lib64 | docker import - {name} >/dev/null
}}
docker rm --force {name}-{role} >/dev/null 2>&1 || true
docker run --detach --name {name}-{role} {options} --volume /usr:/usr:ro \
    --volume /etc/ld.so.cache:/etc/ld.so.cache:ro --volume /run/{name}.py:/traffic.py:ro \
    {name} /usr/bin/python3 /traffic.py {role} >/dev/null
"""


@contextlib.contextmanager
def between(source: str, destination: str, network: str = "overssh") -> Iterator[dict[str, Any]]:
    """Traffic from a container on one node to one on another while the body runs; what became of it comes after.

    It goes on for a few seconds after the body. Nothing else is tested meanwhile, as seconds are measured; a test that
    uses this has the mark turns.
    """
    start(destination, "serve", f"--network {network}")
    start(source, "wait", f"--network {network}")
    inspected = json.loads(lab.inside(destination, f"docker inspect {NAME}-serve"))
    address = inspected[0]["NetworkSettings"]["Networks"][network]["IPAddress"]
    argv = ["docker", "exec", "-i", lab.container(source), "docker", "exec", "-i", f"{NAME}-wait"]
    argv += ["/usr/bin/python3", "/traffic.py", "send", address]
    found: dict[str, Any] = {}
    try:
        pipe = subprocess.PIPE
        with turn(alone=True), subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as traffic:
            try:
                assert traffic.stderr is not None
                assert traffic.stderr.readline() == "begun\n"
                yield found
            finally:
                printed, words = traffic.communicate(timeout=30)
        assert traffic.returncode == 0, words
        found.update(json.loads(printed))
        sys.stdout.write(f"{source} to {destination}: {printed}")
    finally:
        for node in (source, destination):
            stop(node)


def start(node: str, role: str, options: str) -> None:
    """Start a container on a node that does what the role says, see traffic_agent; options: docker's."""
    agent = Path(traffic_agent.__file__).read_text(encoding="utf-8")
    lab.inside(node, f"cat >/run/{NAME}.py <<'END'\n{agent}\nEND\n")
    lab.inside(node, RUN.format(name=NAME, role=role, options=options))


def stop(node: str) -> None:
    """Remove what start has made there."""
    remove = f"docker rm --force {NAME}-wait {NAME}-serve; docker rmi {NAME}; rm -rf /run/{NAME} /run/{NAME}.py"
    lab.inside(node, f"{{ {remove}; }} >/dev/null 2>&1 || true")
