"""How the console listens: on loopback, and nowhere else."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


def listen(port: int = 0) -> socket.socket:
    """A socket on 127.0.0.1, bound and listening; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((LOOPBACK, port))
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def hosts(listening: socket.socket) -> tuple[str, ...]:
    """The Host headers under which that socket may be asked."""
    port = listening.getsockname()[1]
    return (f"{LOOPBACK}:{port}", f"localhost:{port}")


def server(app: ASGIApp) -> uvicorn.Server:
    """A server for the application: `server(app).run(sockets=[listen(port)])`.

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
