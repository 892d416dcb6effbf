"""The worker's end of a lane: frames, payloads, arenas, the watch slot, standard output."""
