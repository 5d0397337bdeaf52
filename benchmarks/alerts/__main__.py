"""Fires every alert by a real fault, and writes the table of docs/how-to/alerts.md. Needs promtool.

python -m benchmarks.alerts [--only NAME]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks.alerts.faults import FAULTS
from benchmarks.alerts.matrix import PAGE, renewed
from fleet import logs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[fault.name for fault in FAULTS], metavar="NAME", help="one fault alone")
    only = parser.parse_args().only
    logs.configure("CRITICAL")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for fault in FAULTS:
            if only in (None, fault.name):
                began_at = time.monotonic()
                with tempfile.TemporaryDirectory(prefix="fleet-alerts-") as folder:
                    runner.run(fault.prove(Path(folder)))
                fired = ", ".join(f"{alert} within {minutes} min" for alert, minutes in fault.due.items())
                print(f"{fault.name}: {fired} ({time.monotonic() - began_at:.1f} s)", flush=True)
    if only is None:
        PAGE.write_text(renewed(PAGE.read_text()))


if __name__ == "__main__":
    main()
