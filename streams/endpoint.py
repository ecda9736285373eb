"""Which addresses we speak to: https, or this very machine; anything else only where the configuration says so."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def checked(url: str, *, dangerous_plain_http: bool = False) -> str:
    """The URL as it is, if it may be used.

    Raises:
        ValueError: not http or https; credentials in it, where logs would show them; or plain http beyond loopback
            without `dangerous_plain_http`.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{shown(url)} is not an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{shown(url)}: put the secret in a file, not in the URL")
    if parts.scheme == "http" and not dangerous_plain_http and not _loopback(parts.hostname):
        raise ValueError(f"{shown(url)} would go unencrypted over a network: use https, or allow plain http explicitly")
    return url


def shown(url: str) -> str:
    """The part of a URL that may be shown and logged: paths and queries of webhooks are often secrets themselves."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme and parts.netloc else "this text"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
