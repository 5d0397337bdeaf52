"""Contents are stored encrypted, read on record, and gone when they are too old or erased."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from fleet.content.erasing import ContentEraser
from fleet.content.fence import CLOCKS_SECONDS, KEEP_SECONDS
from fleet.content.reading import ContentReader, Read
from fleet.content.store import ContentStore
from fleet.content.tables import contents, erasures
from fleet.content.vault import Undecipherable, Vault
from fleet.ledger.database import database_url, engine_for
from fleet.model.content import Content

NOW = 1_000_000.0
VAULT = Vault(bytes(range(32)))
SECRET = "what Anna asked"


def content(number: int, tenant: str = "acme", person: str | None = None, at: float = NOW) -> Content:
    request = {"messages": [{"role": "user", "content": f"{SECRET} {number}"}]}
    message = {"role": "assistant", "content": f"answer {number}"}
    return Content(f"job-{number:012d}", tenant, "contract.review", at, request, message, "llama-8b", person)


def jobs(reader: ContentReader, tenant: str | None = None) -> list[str]:
    return [each.job_id for each in reader.list(tenant, None, 100, "sre")]


def test_what_was_stored_is_shown(store: ContentStore, reader: ContentReader) -> None:
    store.write([content(1), content(2)])
    assert reader.show(VAULT, "acme", "job-000000000002", "sre") == content(2)
    assert reader.show(VAULT, "acme", "job-000000000003", "sre") is None


def test_a_content_that_comes_again_is_there_once(store: ContentStore, reader: ContentReader) -> None:
    store.write([content(1)])
    store.write([content(1)])
    assert jobs(reader) == ["job-000000000001"]


def test_nothing_of_it_stands_in_the_file(store: ContentStore, engine: Engine) -> None:
    store.write([content(1)])
    path = Path(str(engine.url.database))
    for file in path.parent.iterdir():
        assert SECRET.encode() not in file.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_whoever_reads_is_on_record_also_where_nothing_was_found(store: ContentStore, reader: ContentReader) -> None:
    store.write([content(1)])
    reader.show(VAULT, "acme", "job-000000000001", "anna")
    reader.show(VAULT, "globex", "job-000000000001", "ben")
    reader.list("acme", None, 10, "carl")
    assert reader.reads(10) == [
        Read(NOW, "carl", "list of acme all tasks"),
        Read(NOW, "ben", "content of globex job-000000000001"),
        Read(NOW, "anna", "content of acme job-000000000001"),
    ]


def test_a_reading_that_fails_is_on_record(store: ContentStore, reader: ContentReader, engine: Engine) -> None:
    store.write([content(1)])
    with pytest.raises(Undecipherable):
        ContentReader(engine, lambda: NOW).show(Vault(bytes(32)), "acme", "job-000000000001", "anna")
    assert [read.who for read in reader.reads(1)] == ["anna"]


def test_contents_that_are_too_old_are_deleted(store: ContentStore, reader: ContentReader) -> None:
    store.write([content(1, at=NOW - 10), content(2, at=NOW)])
    assert store.forget(NOW - 5) == 1
    assert jobs(reader) == ["job-000000000002"]


def test_an_erased_tenant_leaves_nothing_and_copies_of_it_open_no_more(
    store: ContentStore, reader: ContentReader, engine: Engine
) -> None:
    store.write([content(1), content(2, "globex")])
    with engine.connect() as connection:
        copy = connection.execute(select(contents).where(contents.c.tenant == "acme")).mappings().one()
    assert ContentEraser(str(engine.url), lambda: NOW - 3600.0).erase("acme", None) == 1
    assert (jobs(reader, "acme"), jobs(reader, "globex")) == ([], ["job-000000000002"])
    store.write([content(3)])  # under a new key
    with engine.begin() as connection:
        connection.execute(insert(contents).values(**copy))
    with pytest.raises(Undecipherable):
        reader.show(VAULT, "acme", "job-000000000001", "sre")


def test_a_person_is_erased_in_one_tenant_or_in_all(store: ContentStore, reader: ContentReader, engine: Engine) -> None:
    store.write([content(1, person="anna"), content(2, "globex", "anna"), content(3, person="ben")])
    eraser = ContentEraser(str(engine.url))
    assert [eraser.count(tenant, "anna") for tenant in ("acme", "globex", None)] == [1, 1, 2]
    assert (eraser.erase("acme", "anna"), eraser.erase(None, "anna")) == (1, 1)
    assert eraser.count(None, "anna") == 0
    assert jobs(reader) == ["job-000000000003"]


def test_without_a_store_there_are_no_counts_and_none_is_made(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite3"
    assert ContentEraser(f"sqlite:///{path}").count("acme", None) is None
    assert ContentEraser(f"sqlite:///{path}").erase("acme", None) is None
    assert not path.exists()


WHO = [("acme", None, [2, 3]), ("acme", "anna", [2, 3]), (None, "anna", [3])]


@pytest.mark.parametrize(("tenant", "person", "kept"), WHO)
def test_a_content_that_was_on_its_way_while_it_was_erased_is_not_stored(
    store: ContentStore, reader: ContentReader, engine: Engine, tenant: str | None, person: str | None, kept: list[int]
) -> None:
    ContentEraser(str(engine.url), lambda: NOW).erase(tenant, person)
    late, young = NOW + CLOCKS_SECONDS, NOW + CLOCKS_SECONDS + 1.0
    store.write(
        [content(1, person="anna", at=late), content(2, "globex", "anna", late), content(3, person="ben", at=young)]
    )
    assert sorted(int(name.removeprefix("job-")) for name in jobs(reader)) == kept


def test_an_erasure_is_noted_without_a_name_and_not_for_long(store: ContentStore, engine: Engine) -> None:
    ContentEraser(str(engine.url), lambda: NOW).erase("acme", "anna")
    with engine.connect() as connection:
        [noted] = connection.execute(select(erasures)).all()
    assert not any(word in str(tuple(noted)) for word in ("acme", "anna"))
    store.forget_erasures(NOW + KEEP_SECONDS)
    store.write([content(1, person="anna")])
    with engine.connect() as connection:
        assert len(connection.execute(select(erasures)).all()) == 1
    store.forget_erasures(NOW + KEEP_SECONDS + 1.0)
    with engine.connect() as connection:
        assert connection.execute(select(erasures)).all() == []


def test_a_store_of_an_older_version_is_erased_from_as_well(store: ContentStore, engine: Engine) -> None:
    store.write([content(1)])
    erasures.drop(engine)
    assert ContentEraser(str(engine.url), lambda: NOW).erase("acme", None) == 1


def test_an_erasure_waits_for_what_is_being_stored(ledger_url: str) -> None:
    sealing, erasing = threading.Event(), threading.Event()

    class SlowVault(Vault):
        def sealed(self, content: Content, salt: bytes) -> bytes:
            sealing.set()
            erasing.wait()
            return super().sealed(content, salt)

    engine = engine_for(database_url(ledger_url))
    slow = ContentStore(engine, SlowVault(bytes(32)))
    slow.open()
    with ThreadPoolExecutor() as threads:
        storing = threads.submit(slow.write, [content(1)])
        sealing.wait()
        erased = threads.submit(ContentEraser(ledger_url).erase, "acme", None)
        wait([erased], timeout=0.2)  # one that did not wait would be over
        erasing.set()
        storing.result()
        assert erased.result() == 1
    engine.dispose()
