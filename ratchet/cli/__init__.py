"""The command line: the composition root, where configuration, adapters and core meet. Nothing imports it."""
