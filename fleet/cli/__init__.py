"""The `fleet` command."""

from __future__ import annotations

import logging

from fleet.cli.commands import app
from fleet.supervision import guardian


def main() -> None:
    """Run the command line. Exits 0 if it worked, 1 if it did not, 2 for wrong usage, 130 for Ctrl-C.

    Ctrl-C is the normal end of `up` and `dispatcher`, so they exit 0 after it.
    """
    # Without a handler Python prints the warnings of libraries between our lines; `dispatcher` sets up its own.
    logging.getLogger().addHandler(logging.NullHandler())
    guardian.owns_process()
    app()
