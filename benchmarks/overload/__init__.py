"""A wave of interactive jobs on a throttled engine, with and without the rule of overload."""
