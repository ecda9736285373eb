"""Where policy ends: one module per policy store, each a `ratchet.ports.PolicyStore`.

`layout` says how an intent becomes files, `git` commits them, `bundle` packs and signs them for OPA, `opa` publishes
the bundle, `rego` and `opa_server` decide whether it enforces. See docs/stores.md.
"""
