"""The composition root: configuration, the data directory, and the parts wired to one process. Commands import it."""
