"""The whole pipeline on a data directory, fed by a simulated fleet: what the console is shown in these tests."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from collectors.simulated import scenario as scenarios
from collectors.simulated.drive import drive
from collectors.simulated.fleet import reference_values
from collectors.simulated.vendor import Vendor
from ratchet import advisory
from ratchet.app import assets
from ratchet.collateral.roots import vendor_roots
from ratchet.detect.ruleset import load
from ratchet.event import Event, Json, delivery_id
from ratchet.policy.appraise import Policy
from ratchet.policy.simulate import Bounds
from ratchet.rollout.approval import Approvers, public_key
from streams.archive.sqlite import SqliteReader
from streams.clock import tick
from streams.embedded import Embedded
from streams.pipeline import Settings, stages
from streams.sqlite import Database
from streams.stores.git import GitStore
from streams.stores.keys import BundleKey
from streams.stores.opa import OpaStore
from streams.stores.rego import RegoInProcess

TENANT = "default"
OPERATOR = bytes(range(32))
"""The key that signs what the console's user decides."""

HOSTILE = "<script>alert(1)</script>\"' \u202edesrever\u202c " + "x" * 84
"""A name that a sender chose: script, quotes, right to left, and as long as a name may be."""


@dataclass
class Pipeline:
    """A database with its stages; `now` is the time of its last tick."""

    path: Path
    database: Database
    embedded: Embedded
    reader: SqliteReader
    now: datetime

    def append(self, topic: str, event: Event) -> None:
        """Put one event on the log, as the console does: in its own thread, with its own connection."""
        with closing(Database(self.path)) as database:
            database.log.append([(topic, event)])

    def tick(self) -> None:
        """One minute passes, and a round is closed."""
        self.now += timedelta(minutes=1)
        self.close(self.now)

    def close(self, at: datetime) -> None:
        """Close the round that ends at this time."""
        self.database.log.append([("ticks", tick(at))])
        self.embedded.drain()
        self.now = at

    def receive(self, name: str, raw: bytes, delivery: str) -> None:
        """A sender sends some bytes under a name."""
        blob = self.database.blobs.put(raw)
        data: dict[str, Json] = {
            "blob": blob,
            "size": len(raw),
            "format": None,
            "endorsements": [],
            "challenge": None,
            "vouched": True,
            "delivery": delivery,
            "hint": {"name": name, "region": name, "workload": name},
            "late": False,
        }
        source = "/collectors/http/agent-7"
        event = Event(
            delivery_id(TENANT, source, delivery), source, "evidence.received.v1", name, self.now, TENANT, data
        )
        self.database.log.append([("evidence", event)])

    def publish(self, name: str, raw: bytes) -> None:
        """Somebody enters a document."""
        source = "/collectors/files"
        data: dict[str, Json] = {
            "blob": self.database.blobs.put(raw),
            "size": len(raw),
            "document": name,
            "origin": f"file:{name}",
            "delivery": name,
        }
        id = delivery_id(TENANT, source, name)
        event = Event(id, source, "document.fetched.v1", f"{source}/{name}", self.now, TENANT, data)
        self.database.log.append([("documents", event)])

    def latest(self, topic: str, **fields: Json) -> Event:
        """The newest record of a topic whose data has these values."""
        after, found = 0, None
        while records := self.database.log.read([topic], after, 500):
            for record in records:
                after = record.offset
                if all(record.event.data.get(k) == v for k, v in fields.items()):
                    found = record.event
        assert found is not None, (topic, fields)
        return found


def run(folder: Path) -> Pipeline:
    """Run the scenario beside this file to its end, with AMD's reviewed advisories and things that cannot be read."""
    scenario = scenarios.load(Path(__file__).with_name("fleet.yml"))
    vendor = Vendor(folder / "vendor")
    database = Database(folder / "ratchet.db")
    git = GitStore(folder / "policy.git", RegoInProcess())
    key = BundleKey.kept_in(folder / "keys")
    settings = Settings(
        roots=(*vendor_roots(), *vendor.roots()),
        policy=Policy.from_data(
            {
                "name": "browser",
                "trusted_for": 12 * 3600,
                "may_be_impossible": ["floor"],
                "evaluation": "newest",
                "reference_values": reference_values(scenario),
            }
        ),
        rules=load(assets.rules()),
        bounds=Bounds(max_refused=3, max_fraction=0.05),
        approvers=Approvers(keys={}, quorum=1),
        operators=(public_key(OPERATOR),),
        stores=(git, OpaStore(git, folder / "bundles" / "ratchet.tar.gz", key, RegoInProcess())),
    )
    made = Pipeline(
        folder / "ratchet.db",
        database,
        Embedded(database, stages(settings, database.blobs)),
        SqliteReader(folder / "ratchet.db"),
        scenario.start,
    )
    drive(scenario, vendor, database.log, database.blobs, made.close, tenant=TENANT)
    for name, raw in advisory.shipped().items():
        made.publish(name, raw)
    made.publish("not-a-document.bin", b"not a document\x00\xff" * 90)
    made.receive(HOSTILE, b"GET / HTTP/1.1\r\n\r\n", "hostile")
    made.tick()
    made.tick()
    return made
