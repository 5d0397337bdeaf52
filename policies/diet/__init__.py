"""What a call may leave out of its job's request: old turns of a long thread, and tools that nobody uses."""
