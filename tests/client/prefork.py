"""What a web server does that loads the application and then forks its workers: one client, used on both sides.

Prints the ids of the jobs whose results came, and leaves with the exit status of the child.
"""

from __future__ import annotations

import os
import sys
import threading

from fleet import background
from fleet.client import SyncFleetClient


def ask(client: SyncFleetClient, job_id: str) -> None:
    result = client.run(task="chat", messages=[{"role": "user", "content": job_id}], id=job_id)
    assert result.answer is not None
    assert result.answer.text == job_id
    sys.stdout.write(f"{job_id}\n")
    sys.stdout.flush()


def main(url: str, moment: str) -> int:
    client = SyncFleetClient.connect(url, tenant="acme")
    if moment != "unused":
        ask(client, "parent-before-the-fork")
    waiting = threading.Thread(target=ask, args=(client, "parent-across-the-fork"))
    if moment == "waiting":
        waiting.start()
    if moment == "unnoticed":  # as where a server written in C forks
        background._count_fork.__code__ = (lambda: None).__code__
    child = os.fork()
    if child == 0:
        try:
            ask(client, "child-after-the-fork")
            client.close()
        except BaseException as error:
            sys.stderr.write(repr(error))
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if moment == "waiting":
        waiting.join()
    ask(client, "parent-after-the-fork")
    client.close()
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
