# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes' image: made here from Debian packages, known by a hash of its recipe, never pulled."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .apt_sources import carried_options, debian_lines, read_sources
from .docker_engine import docker, inspect
from .settings import Settings
from .shell import LabError, last_line, output, run, step

REPOSITORY = "overssh-lab"
FILES = Path(__file__).with_name("files")
_PACKAGES = [
    "ca-certificates",
    "conntrack",
    "dbus",
    "docker.io",
    "iperf3",
    "iproute2",
    "iptables",
    "iputils-ping",
    "jq",
    "kmod",
    "nftables",
    "openssh-client",
    "openssh-server",
    "passwd",
    "procps",
    "python3",
    "python3-docker",
    "python3-nftables",
    "python3-pyroute2",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tcpdump",
]
# From Debian 13 on the docker client and the stock sysctls are packages of their own, and later mount is one that
# systemd does without.
_RELEASE_PACKAGES = {
    "bookworm": [],
    "trixie": ["docker-cli", "linux-sysctl-defaults"],
    "forky": ["docker-cli", "linux-sysctl-defaults", "mount"],
}
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_BOOT = "/usr/local/sbin/lab-boot"
_CHANGES = (f'CMD ["{_BOOT}"]',)
_FREE_BYTES = 3 * 1024**3


def packages(release: str, more: Sequence[str] = ()) -> list[str]:
    """What a node of this release has installed."""
    return sorted({*_PACKAGES, *_RELEASE_PACKAGES[release], *more})


def recipe(release: str, more: Sequence[str] = ()) -> dict[str, object]:
    """Everything that makes the image what it is, apart from the day's package versions."""
    return {
        "release": release,
        "machine": platform.machine(),
        "packages": packages(release, more),
        "left out": _LEFT_OUT,
        "changes": _CHANGES,
        "boot": (FILES / "lab-boot").read_text(encoding="utf-8"),
        "customize": (FILES / "customize.sh").read_text(encoding="utf-8"),
    }


def tag(release: str, more: Sequence[str] = ()) -> str:
    """The image's name, which changes with its recipe."""
    digest = hashlib.sha256(json.dumps(recipe(release, more), sort_keys=True).encode()).hexdigest()
    return f"{REPOSITORY}:{release}-{digest[:12]}"


def check_space(*directories: Path) -> None:
    """A node that runs out of disk fails in ways nobody would trace back to it."""
    for directory in directories:
        if directory.is_dir() and (free := shutil.disk_usage(directory).free) < _FREE_BYTES:
            raise LabError(f"{directory} has {free / 1024**3:.1f} GiB free, the lab needs 3: make room there")


def _from_machine(settings: Settings) -> tuple[list[str], list[str]]:
    """The package sources and apt options of this machine, as they serve for the image."""
    lines = debian_lines(read_sources(Path("/etc/apt")), settings.release, settings.mirror)
    return lines, carried_options(output("apt-config", "dump"))


def _build_command(settings: Settings, lines: list[str], apt_options: list[str]) -> list[str]:
    """mmdebstrap's command; the files go in through the hook's text, as it may run as a user who can't read them."""
    boot = shlex.quote((FILES / "lab-boot").read_text(encoding="utf-8"))
    hook = f'printf %s {boot} >"$1{_BOOT}"\n' + (FILES / "customize.sh").read_text(encoding="utf-8")
    return [
        "mmdebstrap",
        "--variant=apt",
        f"--include={','.join(packages(settings.release, settings.packages))}",
        *(f"--aptopt={option}" for option in apt_options),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        f"--customize-hook={hook}",
        "--format=tar",
        settings.release,
        "-",
        *lines,
    ]


def _build(settings: Settings, name: str) -> None:
    """Pour the tree straight into the engine; only a complete one gets its name."""
    lines, options = _from_machine(settings)
    changes = [word for change in _CHANGES for word in ("--change", change)]
    log = settings.state / "image.log"
    with log.open("wb") as written:
        maker = subprocess.Popen(
            _build_command(settings, lines, options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=written,
            # It answers a failure by a signal to its whole process group, which must not be ours.
            start_new_session=True,
        )
        importer = subprocess.Popen(
            ["docker", "import", *changes, "-"], stdin=maker.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if maker.stdout is not None:
            maker.stdout.close()
        try:
            answer, complaint = importer.communicate()
            maker.wait()
        except BaseException:
            importer.kill()
            os.killpg(maker.pid, signal.SIGTERM)
            maker.wait()
            raise
    image = answer.decode().strip()
    if importer.returncode:
        raise LabError(f"the engine did not take the image: {last_line(complaint.decode(errors='replace'))}")
    if maker.returncode:
        run("docker", "image", "rm", image, check=False)
        reason = _reason(log.read_text(encoding="utf-8", errors="replace"))
        raise LabError(f"mmdebstrap could not make a Debian {settings.release}: {reason} (its log is {log})")
    docker("image", "tag", image, name)


def _reason(log: str) -> str:
    """mmdebstrap's first error; what follows it is its clearing up."""
    errors = [line for line in log.splitlines() if line.startswith("E: ")]
    return errors[0] if errors else "no error named"


def not_to_be_had(settings: Settings) -> str | None:
    """Why this machine's mirror can't give an image of this release; None where it can, or the image is there."""
    if inspect("image", tag(settings.release, settings.packages)):
        return None
    program, *words = _build_command(settings, *_from_machine(settings))
    done = run(program, "--simulate", *words, timeout=300, check=False)
    return _reason(done.stderr.decode(errors="replace")) if done.returncode else None


def ensure_image(settings: Settings, engine_root: Path) -> tuple[str, str]:
    """The image's name and id, making it first when this recipe was never made on this engine."""
    name = tag(settings.release, settings.packages)
    found = inspect("image", name)
    if not found:
        check_space(engine_root, Path(tempfile.gettempdir()))
        with step(f"make the image {name} from Debian packages"):
            _build(settings, name)
        found = inspect("image", name)
    return name, str(found[0]["Id"])


def remove_images() -> list[str]:
    """Remove those images of the lab that no container uses."""
    names = docker("image", "ls", REPOSITORY, "--format", "{{.Repository}}:{{.Tag}}").split()
    return [name for name in names if run("docker", "image", "rm", name, check=False).returncode == 0]
