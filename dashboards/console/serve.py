"""Which Host headers the console's socket answers to."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def hosts(listening: socket.socket) -> tuple[str, ...]:
    """The Host headers under which that socket may be asked."""
    port = listening.getsockname()[1]
    return (f"{LOOPBACK}:{port}", f"localhost:{port}")
