"""What a kill did is counted from what is stored and what ran; what a machine lacks is said before anything starts."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers import entrants
from benchmarks.peers.brokers import RedisKeys, RedisList, RedisServer, RedisWire, calls_of
from benchmarks.peers.chat import chat
from benchmarks.peers.machine import processor_seconds, tree
from benchmarks.peers.trial import Aftermath, aftermath
from benchmarks.peers.work import ENGINE, JOB_BYTES, RUNS, answer_to, body_of, new_job

STATISTICS = "# Commandstats\r\ncmdstat_setex:calls=41,usec=9\r\ncmdstat_set:calls=7,usec=3,usec_per_call=0.5\r\n"


def test_a_kill_is_counted_in_jobs_lost_doubled_and_run_twice() -> None:
    assert aftermath(10, stored=9, written=11, runs=["a", "b", "a", "c", "a"]) == Aftermath(1, 2, 1)


def test_a_job_is_a_chat_request_of_300_bytes_that_starts_with_its_id() -> None:
    job = new_job()
    body = body_of(job)
    assert len(body.encode()) == JOB_BYTES == 300
    assert json.loads(body)["messages"][0]["content"].startswith(f"{job} ")


def test_a_worker_that_is_told_to_lists_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNS, str(tmp_path / "runs"))
    first, second = new_job(), new_job()
    for job in (first, second, first):
        answer_to(body_of(job))
    assert (tmp_path / "runs").read_text().split() == [first, second, first]


def test_results_written_are_counted_by_the_command_that_writes_them() -> None:
    assert [calls_of(STATISTICS, command) for command in ("set", "setex", "get")] == [7, 41, 0]


@pytest.fixture
def redis_socket(tmp_path: Path) -> Iterator[Path]:
    """Something that answers as redis-server does, a long text in two pieces."""
    path = tmp_path / "redis.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    text = STATISTICS.encode()
    answers = {
        b"SELECT 1": [b"+OK\r\n"],
        b"DBSIZE": [b":39\r\n"],
        b"LLEN celery": [b":5\r\n"],
        b"HLEN unacked": [b":2\r\n"],
    }
    answers[b"INFO commandstats"] = [b"$%d\r\n" % len(text) + text[:20], text[20:] + b"\r\n"]

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as questions:
            for question in questions:
                for piece in answers[question.strip()]:
                    connection.sendall(piece)

    serving = threading.Thread(target=serve)
    serving.start()
    yield path
    serving.join()
    listening.close()


async def test_redis_is_asked_for_its_queue_and_its_results(redis_socket: Path) -> None:
    wire = RedisWire(redis_socket, 1)
    results, queue = RedisKeys(wire, "setex"), RedisList(wire, "celery")
    assert (await results.stored(), await results.written()) == (39, 41)
    assert await queue.is_touched(6)
    assert not await queue.is_touched(5)
    assert await queue.held() == 7
    wire.close()


def test_a_peer_without_redis_or_without_its_environment_says_so_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisServer, "is_installed", lambda: False)
    (tmp_path / "python").touch()
    installed = entrants.Entrant(
        "celery", "celery_redis", 1, entrants.CELERY.queue, entrants.CELERY.results, "", folder=tmp_path
    )
    elsewhere = entrants.Entrant(
        "celery", "celery_redis", 1, entrants.CELERY.queue, entrants.CELERY.results, "", folder=tmp_path / "none"
    )
    assert peers.missing(installed) == "not measured: redis-server is not installed (apt-get install redis-server)"
    assert peers.missing(elsewhere) == "not measured: no environment of the peers (make peers)"
    assert peers.missing(entrants.FLEET) == peers.missing(entrants.RAW) == ""


def test_the_processor_time_of_a_tree_leaves_out_the_branch_that_is_named() -> None:
    own = os.getpid()
    assert own in tree(own)
    assert processor_seconds(own) > 0
    assert processor_seconds(own, without=own) == 0


def test_a_chat_is_answered_though_the_engine_closed_the_connection_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps({"choices": [{"message": {"content": "positive"}}]}).encode()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            connection, _address = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content) + content)

    serving = threading.Thread(target=serve)
    serving.start()
    monkeypatch.setenv(ENGINE, f"127.0.0.1:{listening.getsockname()[1]}")
    assert [chat(body_of(new_job())) for _ in range(2)] == ["positive", "positive"]
    serving.join()
    listening.close()
