"""Objects that programs share with workers: shared memory, barriers, limited resources."""
