# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab is a package of the checkout, not of any environment: it is found from the checkout's top."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
