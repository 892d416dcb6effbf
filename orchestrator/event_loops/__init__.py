"""The ways between the pool's threads and the event loops of asyncio, for results and for sources."""
