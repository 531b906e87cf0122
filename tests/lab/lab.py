# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as a whole: bring it up, say how it is, take it down."""

from __future__ import annotations

import fcntl
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import kernel
from .debian import check_space
from .docker_engine import (
    engine_complaint,
    engine_info,
    ensure_engine,
    ensure_tools,
    inspect,
    labelled,
    remove,
    stop_engine,
)
from .image import ensure_image, not_to_be_had, remove_images
from .inside import inside
from .inventory import (
    INVENTORY,
    ensure_key,
    render_inventory,
    render_known_hosts,
    ssh_command,
    write,
)
from .machine import MachineMaker, remove_disks
from .network import LabNetwork, ensure_networks, free_ports
from .node import (
    Node,
    NodeMaker,
    cgroup_complaint,
    failed_units,
    plan_nodes,
    remove_nodes,
    system_state,
)
from .settings import CONTAINERS, HOME_LABEL, HOST_KEY, KEY, KNOWN_HOSTS, LABEL, MACHINES, Settings
from .shell import LabError, complain, joined, last_line, run, say, step, wait_until

_KINDS = ("container", "network", "volume")


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """One command at a time may change a lab."""
    settings.state.mkdir(parents=True, exist_ok=True)
    with (settings.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(f"another command is at work on the lab {settings.name}: wait for it to end") from error
        yield


def _owned(settings: Settings, kind: str, names: Iterable[str]) -> dict[str, bool]:
    """Which of `names` exist, and whether they are this checkout's; what is somebody else's is an error."""
    owned = {}
    for found in inspect(kind, *names):
        labels = (found["Config"] if kind == "container" else found).get("Labels") or {}
        name = found["Name"].lstrip("/")
        if labels.get(LABEL) != settings.name:
            raise LabError(
                f"a {kind} {name} that is not the lab's stands in the way: "
                f"remove it (`docker {kind} rm {name}`) or choose another LAB_NAME"
            )
        home = Path(labels.get(HOME_LABEL, "/"))
        if home != settings.state and (home / KEY).is_file():
            raise LabError(
                f"the lab {settings.name} belongs to another checkout ({home}): "
                "take it down there or choose another LAB_NAME"
            )
        owned[name] = home == settings.state
    return owned


def _survey(settings: Settings) -> dict[str, dict[str, bool]]:
    """Everything of the lab's that exists, before anything is touched."""
    names = {
        "container": [settings.container(node) for node in settings.node_names],
        "network": [settings.network("cloud"), settings.network("edge")],
        "volume": [settings.volume(node) for node in settings.node_names],
    }
    return {kind: _owned(settings, kind, {*names[kind], *labelled(kind, settings.name)}) for kind in _KINDS}


def _each(nodes: list[Node], work: Callable[[Node], object], stop: threading.Event | None = None) -> list[object]:
    """Do the same to all nodes at once; the first failure ends the waiting for the others."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        try:
            return list(pool.map(work, nodes))
        except BaseException:
            if stop is not None:
                stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _clear_leftovers(settings: Settings, survey: dict[str, dict[str, bool]]) -> None:
    """Nodes beyond LAB_NODES, and what a checkout that is gone left behind."""
    wanted = {settings.container(node) for node in settings.node_names}
    stale = [name for name, ours in survey["container"].items() if name not in wanted or not ours]
    if stale:
        with step(f"remove {joined(stale)}"):
            remove_nodes(settings, [name.removeprefix(f"{settings.name}-") for name in stale])
    for name, ours in survey["network"].items():
        if not ours:
            remove("network", name)


def _dial_ports(settings: Settings, edge: LabNetwork) -> list[int]:
    """The ports that stand for the hubs on the edges' gateway: the ones they have, or free ones."""
    held = {hub: _held_port(settings, hub, edge) for hub in settings.hub_names}
    free = free_ports(edge.gateway, {port for port in held.values() if port})
    return [port or next(free) for port in held.values()]


def _held_port(settings: Settings, hub: str, edge: LabNetwork) -> int | None:
    for found in inspect("container", settings.container(hub)):
        for binding in (found["HostConfig"]["PortBindings"] or {}).get("22/tcp", []):
            if binding["HostIp"] == edge.gateway:
                return int(binding["HostPort"])
    return None


def up(settings: Settings) -> None:
    """Make the lab what the settings say, keeping every node that already is."""
    ensure_tools()
    ensure_engine(settings)
    with locked(settings):
        survey = _survey(settings)
        engine = engine_info()
        public_key = ensure_key(settings.state)
        root = Path(engine["DockerRootDir"])
        image = ensure_image(settings, root)
        _clear_leftovers(settings, survey)
        with step("networks"):
            cloud, edge = ensure_networks(settings, [name for name, ours in survey["network"].items() if ours])
        nodes = plan_nodes(settings, cloud, edge, _dial_ports(settings, edge))
        maker = _maker(settings, image, engine, public_key, root)
        if settings.kind == MACHINES:
            # There is no other way in, from the first look on.
            _know_hosts(settings, nodes, maker)
        _bring_up(settings, nodes, maker, root)
        with step("reach every node by ssh"):
            _know_hosts(settings, nodes, maker)
            _each(nodes, lambda node: wait_until(node.name, lambda: _ssh_refusal(settings, node), 30))
        with step("check the NAT"):
            _check_nat(settings, nodes)
        write(settings.state / INVENTORY, render_inventory(nodes))
    _say_how(settings, nodes)


def _maker(
    settings: Settings, image: tuple[str, str], engine: dict[str, Any], public_key: str, root: Path
) -> NodeMaker:
    if settings.kind == CONTAINERS:
        maker = NodeMaker(settings, image, engine, public_key)
    else:
        maker = MachineMaker(settings, image, engine, public_key, kernel.ensure_kernel(settings, root))
    maker.check()
    return maker


def _know_hosts(settings: Settings, nodes: list[Node], maker: NodeMaker) -> None:
    keys = {node.name: maker.host_keys(node) for node in nodes}
    write(settings.state / KNOWN_HOSTS, render_known_hosts(nodes, keys))


def make_image(settings: Settings) -> None:
    """Have the image of the nodes ready, for labs that come up later."""
    ensure_tools()
    ensure_engine(settings)
    with locked(settings):
        root = Path(engine_info()["DockerRootDir"])
        names = [ensure_image(settings, root)[0]]
        if settings.kind == MACHINES:
            names.append(kernel.ensure_kernel(settings, root)[0])
    say(f"there is {joined(names)}")


def obstacle(settings: Settings) -> str | None:
    """Why nodes as the settings name them can't be had on this machine."""
    ensure_tools()
    ensure_engine(settings)
    if settings.kind == MACHINES:
        return kernel.not_to_be_had(settings) or not_to_be_had(settings)
    engine = engine_info()
    return cgroup_complaint(settings.release, str(engine.get("CgroupVersion", "1"))) or not_to_be_had(settings)


def _bring_up(settings: Settings, nodes: list[Node], maker: NodeMaker, engine_root: Path) -> None:
    current = _each(nodes, maker.is_current)
    kept = [node for node, good in zip(nodes, current, strict=True) if good]
    fresh = [node for node, good in zip(nodes, current, strict=True) if not good]
    if kept:
        say(f"keep {joined([node.name for node in kept])}")
    for node in kept:
        if failed := failed_units(settings, node.name):
            complain(f"{node.name} has failed units: {joined(failed)}")
    if not fresh:
        return
    check_space(engine_root)
    try:
        with step(f"make and boot {joined([node.name for node in fresh])}"):
            _each(fresh, maker.make, maker.stop)
            _each(fresh, maker.wait, maker.stop)
    except KeyboardInterrupt:
        complain(f"interrupted: removing {joined([node.name for node in fresh])}")
        remove_nodes(settings, [node.name for node in fresh])
        raise


def _ssh_refusal(settings: Settings, node: Node) -> str | None:
    """None when the node's operator gets in by ssh and is root by sudo, else ssh's complaint."""
    done = run(*ssh_command(settings.state, node, "sudo", "-n", "true"), timeout=10, check=False)
    return last_line(done.stderr.decode(errors="replace")) if done.returncode else None


def _check_nat(settings: Settings, nodes: list[Node]) -> None:
    """With real packets: every edge gets through to every hub's sshd, and nothing of an edge answers a hub."""
    edges = [node for node in nodes if node.dial is None]
    for hub in nodes[: len(nodes) - len(edges)]:
        _check_hub(settings, hub, edges)


def _check_hub(settings: Settings, hub: Node, edges: list[Node]) -> None:
    if hub.dial is None:
        return
    address, port = hub.dial

    def dial(edge: Node) -> None:
        script = f"exec 3<>/dev/tcp/{address}/{port} && read -r -t 5 banner <&3 && echo $banner"
        done = inside(settings, edge.name, "timeout", "5", "bash", "-c", script, check=False)
        if not done.stdout.startswith(b"SSH-2.0"):
            raise LabError(
                f"{edge.name} can't reach {hub.name}'s sshd at {address}:{port}: "
                "does this machine's firewall let containers reach it?"
            )

    def back(edge: Node) -> None:
        script = (
            f"ping -q -c 1 -W 1 {edge.address} >/dev/null 2>&1 && echo answered &\n"
            f"timeout 1 bash -c '</dev/tcp/{edge.address}/22' 2>/dev/null && echo answered &\n"
            "wait"
        )
        if inside(settings, hub.name, "sh", "-c", script).stdout.strip():
            raise LabError(
                f"{hub.name} reaches {edge.name} at {edge.address}: this Docker engine keeps no networks apart"
            )

    _each(edges, dial)
    _each(edges, back)


def _say_how(settings: Settings, nodes: list[Node]) -> None:
    inventory = _shown(settings.state / INVENTORY)
    say(f"up: {joined([f'{node.name} {node.address}' for node in nodes])}; inventory {inventory}")
    ways = [shlex.join(ssh_command(Path(_shown(settings.state)), nodes[0]))]
    if settings.kind == CONTAINERS:
        ways.insert(0, f"docker exec -it {settings.container('cloud1')} bash")
    for words, way in zip(("look around:", "       or:"), ways):
        say(f"{words} {way}")


def _shown(path: Path) -> str:
    """A path as the user would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def status(settings: Settings) -> None:
    """One line for each node."""
    if complaint := engine_complaint():
        raise LabError(f"no Docker engine answers here ({complaint})")
    engine = engine_info()
    rows = [("NODE", "CONTAINER", "ADDRESS", "SYSTEMD", "IMAGE")]
    for name in sorted(labelled("container", settings.name)):
        for found in inspect("container", name):
            node = name.removeprefix(f"{settings.name}-")
            networks = found["NetworkSettings"]["Networks"].values()
            address = joined([network["IPAddress"] for network in networks if network["IPAddress"]])
            state = found["State"]["Status"]
            systemd = system_state(settings, node) if state == "running" else "-"
            rows.append((node, state, address, systemd or "-", found["Config"]["Image"][:19]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    if len(rows) == 1:
        print(f"(no lab {settings.name} on the engine {engine['ServerVersion']})")


def down(settings: Settings, engine: bool, images: bool) -> None:
    """Remove what this lab made and nothing else."""
    if complaint := engine_complaint():
        if (settings.state / INVENTORY).exists():
            raise LabError(f"no Docker engine answers here ({complaint}): start it, the lab {settings.name} is on it")
        say(f"no Docker engine answers here ({complaint}): nothing to remove")
        return
    with locked(settings):
        survey = {kind: _owned(settings, kind, labelled(kind, settings.name)) for kind in _KINDS}
        names = sorted(survey["container"])
        with step(f"remove {joined(names)}"):
            remove_nodes(settings, [name.removeprefix(f"{settings.name}-") for name in names])
            for kind in ("network", "volume"):
                for name in survey[kind]:
                    remove(kind, name)
        for pattern in (INVENTORY, KNOWN_HOSTS, f"{KEY}*", f"{HOST_KEY}*"):
            for file in settings.state.glob(pattern):
                file.unlink()
        if images:
            gone = [*remove_images(), *remove_images(kernel.REPOSITORY), *remove_disks()]
            say(f"removed the images {joined(gone)}")
    if engine:
        stop_engine(settings)
