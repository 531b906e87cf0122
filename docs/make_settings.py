# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/settings.md from the settings' own declarations; `make docs` runs this."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.overssh.swarm.plugins.plugin_utils._fleet.settings import (
    OVERLAY_OPTIONS,
    PREFIX,
    SETTINGS,
    Setting,
    SettingError,
)

PAGE = """\
# Settings

<!-- Written by `make docs` from plugins/plugin_utils/_fleet/settings.py; change it there. -->

Every setting is a variable of the inventory, and all have defaults except that one host has to be the hub. Preflight
checks them, together with what it finds on the hosts, before anything is changed; a variable that starts with
`{prefix}` and is not listed here is an error.

## For the whole fleet

Set these once, for the group; hosts may not differ in them.

{fleet}
## For one host

{host}
## For each network of `{prefix}overlays`

{overlay}"""


def takes(setting: Setting) -> str:
    """What the check would accept, in its own words."""
    for nonsense in ({"": None}, [None]):
        try:
            setting.check(nonsense)
        except SettingError as error:
            return str(error)
    raise AssertionError(f"{setting.name} takes anything")


def table(settings: Iterable[Setting], prefix: str = "") -> str:
    """One row for each setting."""
    rows = ["| variable | what it is | takes | default |", "|---|---|---|---|"]
    for setting in settings:
        default = "" if setting.default is None else f"`{json.dumps(setting.default)}`"
        rows.append(f"| `{prefix}{setting.name}` | {setting.description} | {takes(setting)} | {default} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """The whole page."""
    return PAGE.format(
        prefix=PREFIX,
        fleet=table((setting for setting in SETTINGS if not setting.per_host), PREFIX),
        host=table((setting for setting in SETTINGS if setting.per_host), PREFIX),
        overlay=table(OVERLAY_OPTIONS).replace("| variable |", "| option |", 1),
    )


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(page(), encoding="utf-8")
