"""The node protocol, and what lies between nodes: buffers that grow or spill, relays, branches."""
