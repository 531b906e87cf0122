# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a Docker engine, or on a Debian-family machine of our own install and start one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from .settings import LABEL, Settings
from .shell import LabError, last_line, output, run, say, step, wait_until

_PROGRAMS = {"dockerd": "docker.io", "docker": "docker.io", "iptables": "iptables"}
_TOOLS = {"mmdebstrap": "mmdebstrap", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
_KEYRINGS = "/usr/share/keyrings"


def docker(*arguments: str, stdin: bytes | None = None, timeout: float = 120, check: bool = True) -> str:
    """The docker client's output."""
    return run("docker", *arguments, stdin=stdin, timeout=timeout, check=check).stdout.decode().strip()


def inspect(kind: str, *names: str) -> list[dict[str, Any]]:
    """What the engine knows of those of `names` that exist."""
    if not names:
        return []
    done = run("docker", kind, "inspect", *names, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout or b"[]")
    return found


def labelled(kind: str, value: str | None = None) -> list[str]:
    """Names of the containers, networks or volumes that carry the lab's label."""
    wanted = LABEL if value is None else f"{LABEL}={value}"
    shown = "{{.Names}}" if kind == "container" else "{{.Name}}"
    everything = ["--all"] if kind == "container" else []
    return docker(kind, "ls", *everything, "--filter", f"label={wanted}", "--format", shown).split()


def remove(kind: str, name: str) -> None:
    """Remove a resource if it is there."""
    force = ["--force"] if kind != "network" else []
    if inspect(kind, name):
        docker(kind, "rm", *force, name)


def is_debian_family(os_release: str) -> bool:
    """Whether /etc/os-release says that apt's world is at home here."""
    words = [line.split("=", 1)[1] for line in os_release.splitlines() if line.startswith(("ID=", "ID_LIKE="))]
    return "debian" in " ".join(words).replace('"', " ").replace("'", " ").split()


def engine_complaint() -> str | None:
    """None when an engine answers, else its client's complaint."""
    if shutil.which("docker") is None:
        return "the docker client is not installed"
    done = run("docker", "info", "--format", "{{.ServerVersion}}", timeout=20, check=False)
    if done.returncode == 0 and done.stdout.strip():
        return None
    return last_line(done.stderr.decode(errors="replace"))


def _here_we_may_install() -> bool:
    release = Path("/etc/os-release")
    family = release.is_file() and is_debian_family(release.read_text(encoding="utf-8"))
    return family and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"install {' '.join(packages)}"):
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", "-q", *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            if done.returncode:
                reason = last_line((done.stderr or done.stdout).decode(errors="replace"))
                raise LabError(f"apt-get {command[0]} failed: {reason}")


def ensure_tools() -> None:
    """The programs that build an image and reach a node, besides the engine."""
    missing = {package for program, package in _TOOLS.items() if shutil.which(program) is None}
    if not list(Path(_KEYRINGS).glob("debian-archive-keyring.*")):
        missing.add("debian-archive-keyring")
    if not missing:
        return
    if not _here_we_may_install():
        raise LabError(f"the lab needs {', '.join(sorted(missing))} on this machine: install it and run this again")
    _install(sorted(missing))


def ensure_engine(settings: Settings) -> None:
    """An engine that answers: the one that is there, or one that we install and start."""
    complaint = engine_complaint()
    if complaint is None:
        return
    if not _here_we_may_install():
        raise LabError(
            f"no Docker engine answers here ({complaint}): install and start Docker, and let this user talk to it"
        )
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        if "docker.io" in missing and output("apt-cache", "pkgnames", "docker-cli"):
            missing.append("docker-cli")
        _install(missing)
    if engine_complaint() is None:
        return
    with step("start the Docker engine"):
        if Path("/run/systemd/system").is_dir():
            run("systemctl", "start", "docker")
            wait_until("the Docker engine", engine_complaint, 60)
        else:
            _start_daemon(settings.engine_state)


def _start_daemon(state: Path) -> None:
    """Without an init system dockerd is left running on its own; it starts the containerd it needs itself."""
    wait_until("another dockerd, which comes up or goes down", _unsettled, 60)
    if engine_complaint() is None:
        return
    state.mkdir(parents=True, exist_ok=True)
    log = state / "dockerd.log"
    with log.open("ab") as written:
        daemon = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=written, stderr=written, start_new_session=True, cwd="/"
        )
    (state / "dockerd.pid").write_text(f"{daemon.pid} {_birth(daemon.pid)}\n", encoding="utf-8")

    def probe() -> str | None:
        if daemon.poll() is not None:
            reason = last_line(log.read_text(encoding="utf-8", errors="replace"))
            raise LabError(f"dockerd ended at once, its log {log} says: {reason}")
        return engine_complaint()

    wait_until("the Docker engine", probe, 60)


def _unsettled() -> str | None:
    """A dockerd that runs and does not answer yet, or no longer."""
    record = Path("/var/run/docker.pid")
    pid = record.read_text(encoding="utf-8").strip() if record.is_file() else ""
    alive = bool(pid) and _birth(int(pid)) is not None
    return f"process {pid} runs and does not answer" if alive and engine_complaint() is not None else None


def _birth(pid: int) -> str | None:
    """The start time of a living process, which tells it from a later one with the same number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # The name in parentheses may hold spaces; the state is the first field after it, the start time the 20th.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def stop_engine(settings: Settings) -> None:
    """Stop the daemon that this checkout started, unless somebody still has a container running on it."""
    record = settings.engine_state / "dockerd.pid"
    pid, _, birth = record.read_text(encoding="utf-8").strip().partition(" ") if record.is_file() else ("", "", "")
    if not pid or _birth(int(pid)) != birth:
        record.unlink(missing_ok=True)
        say("the Docker engine was not started by this lab: left as it is")
        return
    running = docker("ps", "--format", "{{.Names}}").split()
    if running:
        raise LabError(f"the Docker engine still runs {', '.join(running)}: left running")
    with step("stop the Docker engine"):
        os.kill(int(pid), signal.SIGTERM)
        wait_until("dockerd", lambda: None if _birth(int(pid)) != birth else "still running", 60)
    record.unlink()


def engine_info() -> dict[str, Any]:
    """The engine's own description."""
    info: dict[str, Any] = json.loads(docker("info", "--format", "{{json .}}"))
    return info
