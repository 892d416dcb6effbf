"""Stream patterns as nodes of a graph that lives in the coordinator."""
