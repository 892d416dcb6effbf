"""The parts that run chunks whatever the engine: stage, dispatcher, recovery, superstep."""
