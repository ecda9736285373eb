"""The bundle over HTTP, for OPA servers: they follow a bundle they download, and read one from a file only once.

Source: OPA documentation, "Bundles": the bundle service API (GET, ETag and If-None-Match, 304 where nothing changed).
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.stores.bundle import MAX_PACKED


def app(path: Path, token: str | None) -> Starlette:
    """An ASGI application with one resource, `/ratchet.tar.gz`.

    Args:
        path: of the bundle.
        token: that OPA must send as bearer token; None lets everybody read it, which is for loopback alone.
    """

    def bundle(request: Request) -> Response:
        if token is not None and not _sent(request, token):
            return Response("a bearer token is needed\n", 401, {"www-authenticate": "Bearer"})
        try:
            with path.open("rb") as file:
                packed = file.read(MAX_PACKED + 1)
        except FileNotFoundError:
            return Response("no policy has been written yet\n", 404)
        headers = {"etag": f'"{hashlib.sha256(packed).hexdigest()}"', "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(packed, 200, headers, "application/gzip")

    made = Starlette(routes=[Route("/ratchet.tar.gz", bundle)])
    made.router.redirect_slashes = False  # it would redirect to whatever place the Host header names
    return made


def _sent(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())
