"""Correlation: step(state, signals) -> state, alerts.

`Correlator` (engine.py) takes signals, receipts, decisions and Ticks one by one, in order; `observation` names what
rules can see; `firmware` notices versions that go back; `alerts` is the life of an alert; `state` says what is
remembered.
"""
