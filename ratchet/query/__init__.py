"""One tree for what people look for (`language`) and what rules detect (`ratchet.detect.sigma`).

`tree` and `matchers` are what it is made of; `predicate` is its meaning, over values that `fields` finds; `sql` asks
SQLite for the same. `glob` and `regex` bound what patterns cost.
"""
