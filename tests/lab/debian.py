# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of the engine, made from Debian's packages by mmdebstrap and known by a hash of its recipe."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from .apt_sources import carried_options, debian_lines, read_sources
from .docker_engine import docker, inspect
from .settings import Settings
from .shell import LabError, last_line, output, run, step

# What no image of the lab needs.
DOCUMENTATION = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_FREE_BYTES = 3 * 1024**3


@dataclass(frozen=True)
class Recipe:
    """Everything that makes an image what it is, apart from the day's package versions.

    left_out: paths of packages that are not unpacked.
    hook: a shell script that mmdebstrap runs once the packages are there; its $1 is the tree.
    changes: instructions for `docker import`, as in a Dockerfile.
    """

    release: str
    packages: tuple[str, ...]
    left_out: tuple[str, ...]
    hook: str
    changes: tuple[str, ...]

    def tag(self, repository: str) -> str:
        """The image's name, which changes with the recipe."""
        shape = {**asdict(self), "machine": platform.machine()}
        digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
        return f"{repository}:{self.release}-{digest[:12]}"

    def command(self, lines: list[str], apt_options: list[str]) -> list[str]:
        """mmdebstrap's command, which prints the tree as an archive; files go in through the hook's text.

        mmdebstrap may run as a user who can't read the checkout.
        """
        return [
            "mmdebstrap",
            "--variant=apt",
            f"--include={','.join(self.packages)}",
            *(f"--aptopt={option}" for option in apt_options),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in self.left_out),
            f"--customize-hook={self.hook}",
            "--format=tar",
            self.release,
            "-",
            *lines,
        ]


def check_space(*directories: Path) -> None:
    """A node that runs out of disk fails in ways nobody would trace back to it."""
    for directory in directories:
        if directory.is_dir() and (free := shutil.disk_usage(directory).free) < _FREE_BYTES:
            raise LabError(f"{directory} has {free / 1024**3:.1f} GiB free, the lab needs 3: make room there")


def _from_machine(recipe: Recipe, mirror: str | None) -> list[str]:
    """mmdebstrap's command with the package sources and apt options of this machine."""
    lines = debian_lines(read_sources(Path("/etc/apt")), recipe.release, mirror)
    return recipe.command(lines, carried_options(output("apt-config", "dump")))


def _build(settings: Settings, recipe: Recipe, name: str, log: Path) -> None:
    """Pour the tree straight into the engine; only a complete one gets its name."""
    changes = [word for change in recipe.changes for word in ("--change", change)]
    with log.open("wb") as written:
        maker = subprocess.Popen(
            _from_machine(recipe, settings.mirror),
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
        why = reason(log.read_text(encoding="utf-8", errors="replace"))
        raise LabError(f"mmdebstrap could not make a Debian {recipe.release}: {why} (its log is {log})")
    docker("image", "tag", image, name)


def reason(log: str) -> str:
    """mmdebstrap's first error; what follows it is its clearing up."""
    errors = [line for line in log.splitlines() if line.startswith("E: ")]
    return errors[0] if errors else "no error named"


def not_to_be_had(settings: Settings, recipe: Recipe, repository: str) -> str | None:
    """Why this machine's mirror can't give an image of this recipe; None where it can, or the image is there."""
    if inspect("image", recipe.tag(repository)):
        return None
    program, *words = _from_machine(recipe, settings.mirror)
    done = run(program, "--simulate", *words, timeout=300, check=False)
    return reason(done.stderr.decode(errors="replace")) if done.returncode else None


def ensure(settings: Settings, recipe: Recipe, repository: str, engine_root: Path) -> tuple[str, str]:
    """The image's name and id, making it first when this recipe was never made on this engine."""
    name = recipe.tag(repository)
    found = inspect("image", name)
    if not found:
        check_space(engine_root, Path(tempfile.gettempdir()))
        with step(f"make the image {name} from Debian packages"):
            _build(settings, recipe, name, settings.state / f"{repository}.log")
        found = inspect("image", name)
    return name, str(found[0]["Id"])
