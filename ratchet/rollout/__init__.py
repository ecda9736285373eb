"""How a change of policy goes out: `advance` is the state machine, `approval` who signed what."""
