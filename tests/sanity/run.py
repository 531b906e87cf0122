# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` on what a release would hold; arguments go to ansible-test (`--test validate-modules` …).

ansible-test wants a collection in a folder ansible_collections/NAMESPACE/NAME, in a git repository, without what other
tools leave behind: so it gets a copy. Its caches and the environments of its tests stay under build/, too.
"""

from __future__ import annotations

import ast
import configparser
import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from ansible_test._internal.host_configs import NativePythonConfig
from ansible_test._internal.python_requirements import get_venv_packages
from ansible_test._internal.util import ANSIBLE_TEST_TARGET_ROOT

PROJECT = Path(__file__).resolve().parents[2]
COPY = PROJECT / "build" / "ansible_collections" / "overssh" / "swarm"
HOME = PROJECT / "build" / "sanity-home"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# Into the environments of its tests ansible-test puts a pip of the version it wants, with a get-pip script that it
# downloads from a server of its own. Our pip does the same, from the package index that this machine is set up for.
GET_PIP = f"""\
import subprocess
import sys

wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.run([{sys.executable!r}, "-m", "pip", "--python", sys.executable, "install", *wanted], check=True)
"""


def output(*command: str) -> str:
    """What a program says about the checkout."""
    return subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True).stdout


def copy_tree() -> None:
    """What a release would hold, as far as git knows of it or would, and what tells ansible-test about it."""
    left_out = yaml.safe_load((PROJECT / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"]
    shutil.rmtree(COPY, ignore_errors=True)
    listed = output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        released = not any(fnmatch.fnmatch(name.split("/")[0], pattern) for pattern in left_out)
        source, target = PROJECT / name, COPY / name
        if source.is_file() and (released or name.startswith(("tests/config.yml", "tests/sanity/ignore-"))):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    subprocess.run(["git", "init", "--quiet"], cwd=COPY, check=True)
    subprocess.run(["git", "add", "--all"], cwd=COPY, check=True)


def provide_pip() -> None:
    """Put the get-pip script where this ansible-test looks before it downloads one, and pip's settings beside it."""
    source = Path(ANSIBLE_TEST_TARGET_ROOT, "setup", "requirements.py")
    pattern = r"expanduser\('~/(?P<folder>[\w./]+)/(?P<prefix>\w+)%s\.py' % pip_version"
    found = re.search(pattern, source.read_text(encoding="utf-8"))
    if found is None:
        sys.exit(f"tests/sanity/run.py: this ansible-test keeps its get-pip script elsewhere; {source} says where")
    version = get_venv_packages(NativePythonConfig(version=PYTHON, path=sys.executable))["pip"]
    script = HOME / found["folder"] / f"{found['prefix']}{version.replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP, encoding="utf-8")

    settings = configparser.RawConfigParser()
    settings.read_dict(
        {"global": {"quiet": "2", "cache-dir": output(sys.executable, "-m", "pip", "cache", "dir").strip()}}
    )
    for line in output(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, value = line.split("=", 1)
        section, option = name.rsplit(".", 1)
        section = "global" if section == ":env:" else section
        if not settings.has_section(section):
            settings.add_section(section)
        settings[section][option] = ast.literal_eval(value)
    file = HOME / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as opened:
        settings.write(opened)


def main() -> int:
    """Copy, provide, run; ansible-test's exit status is ours."""
    copy_tree()
    provide_pip()
    # ansible-test hands HOME on to what it runs and little else; the checkout's ansible.cfg has paths of the checkout.
    environment = {name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"} | {"HOME": str(HOME)}
    command = ["ansible-test", "sanity", "--local", "--requirements", "--python", PYTHON, "--color", "no"]
    return subprocess.run([*command, *sys.argv[1:]], cwd=COPY, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
