"""Traces and logs: OpenTelemetry and structlog, configured in one place."""
