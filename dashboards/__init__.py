"""What people watch. Reads through `ratchet.ports.Reader`; decides nothing."""
