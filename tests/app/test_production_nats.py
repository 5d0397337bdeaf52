"""The whole path on servers as `fleet nats-config` sets them up: TLS, accounts, and users with no right too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patient_client import PatientClient
from production_nats import ProductionNats

from fleet.app import apply_topology, login_of, open_calibrations, open_journal, open_ledger_feed, read_status
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Status
from fleet.settings.environment import Settings, load

pytestmark = pytest.mark.e2e

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ProductionNats]:
    with ProductionNats(tmp_path / "production", options=("--dev-ca", "--sync", "2m")) as running:
        yield running


@pytest.fixture
def environment_of(servers: ProductionNats) -> Callable[[str], dict[str, str]]:
    """What the process of a user has in its environment."""

    def variables(name: str) -> dict[str, str]:
        login = servers.login(name)
        assert login.user is not None
        assert login.password is not None
        return {
            "FLEET_NATS_URL": servers.url,
            "FLEET_NATS_USER": login.user,
            "FLEET_NATS_PASSWORD": login.password,
            "FLEET_NATS_CA_PATH": str(login.ca_path),
        }

    return variables


@pytest.fixture
def settings_of(monkeypatch, environment_of) -> Callable[[str], Settings]:
    def settings(name: str) -> Settings:
        for variable, value in environment_of(name).items():
            monkeypatch.setenv(variable, value)
        return load()

    return settings


@pytest.mark.proves(
    "Every process of a fleet works over TLS with a user that has no right too many", how="real", subject="NATS"
)
async def test_every_user_can_do_its_part_and_none_tries_what_it_may_not(
    servers, settings_of, environment_of, plain_dispatcher
):
    operator = settings_of("operator")
    await apply_topology(operator.nats_url, login=login_of(operator))

    acme = settings_of("acme")
    async with (
        plain_dispatcher(**environment_of("dispatcher")),
        PatientClient.connect(acme.nats_url, tenant="acme", credentials=login_of(acme)) as client,
    ):
        result = await client.run(task="classify.intent", messages=MESSAGES)
        await client.feedback(result.job_id, "good")
        assert (await client.result(result.job_id)).status is Status.SUCCEEDED
        status = await read_status(settings_of("sre"))
        ledger = settings_of("ledger")
        journal = await open_journal(ledger.nats_url, login_of(ledger))
        entries = [entry async for entry in journal.ledger()]
        said = [feedback async for feedback in journal.feedback()]
        await journal.close()
        feed = await open_ledger_feed(ledger.nats_url, login_of(ledger))
        waiting = (await feed.begin(0)).waiting
        lines = await feed.take(10, 1.0)
        await feed.written(lines[-1].sequence)
        await feed.close()

    assert status.streams["RESULTS"] == 1
    assert waiting == len(lines) == len(entries)
    assert [spend.tenant for spend in status.spend] == [None]
    assert {entry.job_id for entry in entries} == {feedback.job_id for feedback in said} == {result.job_id}
    assert "Violation" not in servers.log
    assert result.answer.message["content"] not in servers.log


async def test_a_user_without_the_right_is_told_that_nobody_answers(servers, settings_of):
    operator, sre = settings_of("operator"), settings_of("sre")
    await apply_topology(operator.nats_url, login=login_of(operator))
    calibrations = await open_calibrations(sre.nats_url, login_of(sre))

    with pytest.raises(QueueUnavailable):
        await calibrations.read_all()

    await calibrations.close()
    assert 'Publish Violation - Subject "$JS.API.CONSUMER.CREATE.KV_calibrations' in servers.log
