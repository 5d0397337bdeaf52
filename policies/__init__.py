"""Every decision of the fleet as a pure function of values: no queue, no engine, no provider, no clock."""
