"""What comes in: one module per source of evidence or vendor documents. Imports `ratchet`, never `streams`."""
