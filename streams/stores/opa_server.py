"""An OPA server as the prover: pushes nothing, asks a running OPA that loads the bundle by itself.

Sources: OPA documentation, "REST API": Status API (`/v1/status`, bundles.<name>.active_revision), Data API
(`POST /v1/data/<path>` with `provenance=true`, which names the revision that the decision was made by).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import httpx

from ratchet.event import Json
from ratchet.ports import Unreachable
from streams.endpoint import checked
from streams.stores.rego import Decision, Policy, decision_of
from streams.stores.samples import Minter, question

TIMEOUT = 5.0
"""Seconds for one question."""

POLL = 10.0
"""Seconds after which an OPA that is one revision behind is asked again: its polling interval."""


class OpaServer:
    """A `streams.stores.rego.Prover` over HTTP.

    Args:
        url: of the server.
        token: bearer token; None for a server that asks for none. In no error, and not in `repr`.
        bundle: the name that its configuration gives to our bundle.
        dangerous_plain_http: speak plain http beyond loopback.
        client: to speak through; one of our own by default.
        minter: signs the samples with a key that the bundle publishes.
        now: the moment; OPA has a clock of its own, and believes a token by that.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        bundle: str = "ratchet",
        dangerous_plain_http: bool = False,
        client: httpx.Client | None = None,
        minter: Minter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._minter, self._now = minter, now
        self._url = checked(url, dangerous_plain_http=dangerous_plain_http).rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._bundle = bundle
        # Neither proxies nor .netrc of the environment: the token goes to the server that was named, or nowhere.
        self._client = client or httpx.Client(timeout=TIMEOUT, trust_env=False, follow_redirects=False)

    def decide(self, policy: Policy, inputs: Sequence[Mapping[str, Json]], at: datetime) -> tuple[Decision, ...]:
        """See `streams.stores.rego.Prover.decide`: each answer must be of the policy's revision."""
        status = self._status()
        if status.get("active_revision") != policy.revision:
            why = str(status.get("message") or f"it serves {status.get('active_revision') or 'nothing'}")
            raise Unreachable(self._url, f"not yet at {policy.revision[:12]}: {why[:300]}", retry_after=POLL)
        now = self._now()
        asked = [question(one, policy.files, self._minter, now) for one in inputs]
        answers = tuple(self._decide(policy.revision, one) for one in asked)
        for one, answer in zip(inputs, answers, strict=True):
            if one.get("fault") is None and any(reason.get("code") == "token_key_unknown" for reason in answer.reasons):
                raise Unreachable(self._url, "it has not fetched the keys that sign tokens now", retry_after=POLL)
        return answers

    def revision(self) -> str | None:
        """The revision of our bundle that it serves now."""
        active = self._status().get("active_revision")
        return active if isinstance(active, str) else None

    def _status(self) -> Mapping[str, Json]:
        found = self._ask("GET", "/v1/status")
        for name in ("result", "bundles", self._bundle):
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise Unreachable(self._url, f"its status shows no bundle {self._bundle!r} (is `status` configured?)")
        return found

    def _decide(self, revision: str, one: Mapping[str, Json]) -> Decision:
        answer = self._ask("POST", "/v1/data/ratchet/decision?provenance=true", {"input": one})
        try:
            by = answer["provenance"]["bundles"][self._bundle]["revision"]
        except (KeyError, TypeError):
            by = None
        if by != revision:
            raise Unreachable(self._url, f"it decided by revision {by}, asked was {revision}", retry_after=POLL)
        return decision_of(answer.get("result"))

    def _ask(self, method: str, path: str, body: Json = None) -> Json:
        try:
            answer = self._client.request(method, self._url + path, json=body, headers=self._headers)
        except httpx.HTTPError as why:
            raise Unreachable(self._url, f"{type(why).__name__} {why}") from None  # the cause holds our headers
        if answer.status_code != 200:
            raise Unreachable(self._url, f"{method} {path.partition('?')[0]} answered {answer.status_code}")
        try:
            return answer.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise Unreachable(self._url, f"{method} {path.partition('?')[0]} answered no JSON") from None
