"""What flows: the topology, its stages and the executors that run them. Imports `ratchet`, never `collectors`."""
