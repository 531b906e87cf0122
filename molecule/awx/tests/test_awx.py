# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site once more as AWX runs it: ansible-runner, no terminal, a read-only project, all else from files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.support import lab


@pytest.fixture
def job(tmp_path):
    """A folder as AWX lays it out for one job."""
    (tmp_path / "home").mkdir()
    project = tmp_path / "project"
    project.mkdir()
    (project / "site.yml").write_text("- import_playbook: overssh.swarm.site\n", encoding="utf-8")

    inventory = yaml.safe_load(lab.INVENTORY.read_text(encoding="utf-8"))
    variables = inventory[lab.GROUP]["vars"]
    del variables["ansible_ssh_private_key_file"]  # the key comes by an agent
    common = variables["ansible_ssh_common_args"]
    variables["ansible_ssh_common_args"] = common.replace("{{ inventory_dir }}", str(lab.STATE)).replace(
        "-o IdentitiesOnly=yes", ""
    )
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")

    environment = tmp_path / "env"
    environment.mkdir()
    (environment / "extravars").write_text(json.dumps({"overssh_wait_timeout": 90}), encoding="utf-8")
    shutil.copy(lab.STATE / "id_ed25519", environment / "ssh_key")

    # Modes do not stop root, so for root it is a mount that does.
    if os.geteuid() == 0:
        subprocess.run(["mount", "--bind", "--options", "ro", project, project], check=True)
        yield tmp_path
        # Lazily: ssh's connections to the nodes stay for a minute, and stand in that folder.
        subprocess.run(["umount", "--lazy", project], check=True)
    else:
        project.chmod(0o555)
        yield tmp_path
        project.chmod(0o755)


def test_site_runs_as_awx_runs_it(job):
    with pytest.raises(OSError):
        (job / "project" / "reports").mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "ansible_runner", "run", job, "--playbook", "site.yml", "--ident", "site"],
        env={"PATH": os.environ["PATH"], "HOME": str(job / "home"), "LANG": "C.UTF-8"},
        cwd=job,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0

    events = [
        json.loads(path.read_text(encoding="utf-8")) for path in (job / "artifacts/site/job_events").glob("*.json")
    ]
    (stats,) = [event["event_data"] for event in events if event["event"] == "playbook_on_stats"]
    assert set(lab.hosts()) <= set(stats["ok"])
    assert (stats["changed"], stats["failures"], stats["dark"]) == ({}, {}, {})
    assert stats["artifact_data"]["overssh_verify"]["ok"] is True
