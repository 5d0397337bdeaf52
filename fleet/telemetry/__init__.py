"""Traces by OpenTelemetry, and what the events of the log mean (`fleet.logs` writes them)."""
