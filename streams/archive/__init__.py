"""Where the record ends: search, hunt, replay. For the embedded executor the log is the archive."""
