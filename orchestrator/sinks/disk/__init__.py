"""How files come to be on the disk: created, appended to, replaced, synced."""
