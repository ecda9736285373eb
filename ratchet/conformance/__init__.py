"""Ratchet held against evidence and expectations of others: `check` compares claim by claim, `replay` runs it all."""
