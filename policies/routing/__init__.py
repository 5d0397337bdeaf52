"""Where a job goes: whether it makes sense, which tier it belongs to, and which targets may run it."""
