"""Repeats the fleet's lines in the log that Serve keeps of a replica, which the Ray dashboard shows."""

from __future__ import annotations

import logging
from logging.handlers import MemoryHandler

LOGGER = "ray.serve"


class ServeLog(logging.Handler):
    """Hands every line to the file of Serve's own logger. What Serve writes to standard error is left alone: the
    fleet's lines are there already, as JSON.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = logging.LogRecord(
                record.name, record.levelno, record.pathname, record.lineno, self.format(record), None, None
            )
            for handler in logging.getLogger(LOGGER).handlers:
                if isinstance(handler, MemoryHandler):  # Serve's handler of its file
                    handler.handle(line)
        except Exception:
            self.handleError(record)
