# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel has ESP with the cipher of Docker's encrypted overlay networks.

The kernel is asked for such a state in a network namespace of a process that ends at once, so that nothing of the host
changes. For that it loads the module esp4 where it has not yet, as it does for Docker.
"""

from __future__ import annotations

from .._core.command import Runner
from .._core.errors import OversshError

# As Docker asks for it (libnetwork's encryption): transport mode, AES in Galois/Counter Mode with a key of 16 bytes and
# a salt of 4, and 8 bytes to prove each packet.
STATE = (
    *("src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "0x1", "mode", "transport"),
    *("aead", "rfc4106(gcm(aes))", f"0x{bytes(range(20)).hex()}", "64"),
)
ASK = ("unshare", "--net", "ip", "xfrm", "state", "add", *STATE)
# What a kernel answers that lacks the cipher, ESP, or IPsec altogether; newer ones in sentences, older ones by number.
LACKS = (
    "Requested AEAD algorithm not found",
    "Requested type not found",
    "Function not implemented",
    "Protocol not supported",
    "No such file or directory",
)


def has_esp(run: Runner) -> bool | None:
    """Whether the kernel has it; None where that can't be found out, as without being root."""
    try:
        answer = run(ASK, check=False)
    except OversshError:
        return None
    if answer.rc == 0:
        return True
    return False if any(words in answer.stderr for words in LACKS) else None
