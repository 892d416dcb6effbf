"""What programs share with workers: objects in shared memory, barriers, limited resources."""
