"""A fleet in a box: machines that mint evidence in the real binary formats, signed under a simulated vendor PKI.

Everything downstream sees bytes alone. docs/scenarios.md says how to write a scenario.
"""
