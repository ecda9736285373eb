"""Where alerts and policy changes go out: `ecs` says in what words, `ndjson` and `webhook` by which way.

See docs/siem.md. Each way out is a `ratchet.ports.Notifier`: at least once, with the id.
"""
