"""The public pool, and the objects that go with it."""
