"""How the console is served: which Host headers its socket answers to, and by what server."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


def hosts(listening: socket.socket) -> tuple[str, ...]:
    """The Host headers under which that socket may be asked."""
    port = listening.getsockname()[1]
    return (f"{LOOPBACK}:{port}", f"localhost:{port}")


def server(app: ASGIApp) -> uvicorn.Server:
    """A server for the application: `server(app).run(sockets=[listening])`.

    A stop waits one second for open streams. Headers that name proxies are not believed.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            lifespan="off",
            ws="none",
        )
    )
