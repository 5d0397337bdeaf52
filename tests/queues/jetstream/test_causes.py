"""Every reason for which NATS cannot be used has a line of its own, and no line has a password in it."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nats.errors import AuthorizationError
from patience import eventually_here
from structlog.testing import capture_logs
from typer.testing import CliRunner

from fleet.cli.commands import app as cli
from fleet.cli.output import advice
from fleet.client import FleetClient, submission
from fleet.loopback import free_port
from fleet.model.errors import ConfigError, FleetError, QueueRefused, QueueUnavailable, Unreachable
from fleet.model.feedback import Feedback, Verdict
from queues.jetstream.client.addresses import Address, servers_in, without_password
from queues.jetstream.client.client import TolerantClient
from queues.jetstream.client.connection import connect
from queues.jetstream.client.unreachable import START, unreachable
from queues.jetstream.consuming.contents import JetStreamContents
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.stores.journal import JetStreamJournal
from queues.jetstream.stores.ledger import JetStreamLedger
from queues.jetstream.streams.configs import SHIPPED, TopologySpec, stream_configs
from queues.jetstream.streams.topology import apply
from queues.server.config import Server
from queues.server.dev_ca import write_certificates
from queues.server.embedded import EmbeddedServer, _binary
from queues.wire.subjects import stream_for

PASSWORD = "p w@/:%,ü#?"
ENCODED = "p%20w%40%2F%3A%25%2C%C3%BC%23%3F"
JETSTREAM = 'jetstream {store_dir: "DIR"}\n'
HELLO = [{"role": "user", "content": "hello"}]

Serve = Callable[[str], int]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a nats-server with a configuration, and gives its port."""
    running: list[subprocess.Popen[bytes]] = []

    def start(configuration: str) -> int:
        port = free_port()
        path = tmp_path / "server.conf"
        path.write_text(f'listen: "127.0.0.1:{port}"\n' + configuration.replace("DIR", str(tmp_path)))
        running.append(subprocess.Popen([_binary(), "-c", str(path)], stderr=subprocess.DEVNULL))
        eventually_here(lambda: _listens(port))
        return port

    yield start
    for process in running:
        process.terminate()
        process.wait()


async def applied(url: str) -> None:
    connection = await connect(url, timeout_seconds=2.0)
    try:
        await apply(connection.nats.jetstream(), TopologySpec())
    finally:
        await connection.close()


async def refusal(url: str) -> FleetError:
    with pytest.raises(FleetError) as raised:
        await applied(url)
    return raised.value


@pytest.mark.parametrize(
    ("authorization", "user_info"),
    [
        (f'user: "a b", password: "{PASSWORD}"', f"a%20b:{ENCODED}"),
        (f'token: "{PASSWORD}"', ENCODED),
        ('user: a, password: "plain-1"', "a:plain-1"),
    ],
)
async def test_user_password_and_token_are_decoded(serve: Serve, authorization: str, user_info: str) -> None:
    port = serve(f"{JETSTREAM}authorization {{{authorization}}}\n")
    await applied(f"nats://127.0.0.1:1,nats://{user_info}@127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "password"),
    [
        ("nats://[::1]", "::1", 4222, None, None),
        ("nats://a:b%40@[fe80::1]:4333", "fe80::1", 4333, "a", "b@"),
        ("localhost", "localhost", 4222, None, None),
        ("tls://a%3A:@host:1", "host", 1, "a:", ""),
        ("nats://a+b:%2B@host", "host", 4222, "a+b", "+"),
    ],
)
def test_an_address_is_read_as_rfc_3986_has_it(
    url: str, host: str, port: int, user: str | None, password: str | None
) -> None:
    [server] = servers_in(url)
    address = TolerantClient._parse_server_uri(server)
    assert isinstance(address, Address)
    assert (address.hostname, address.port, address.username, address.password) == (host, port, user, password)


@pytest.mark.parametrize(
    "url",
    [
        "nats://user:sec/ret@host:4222",
        "nats://user:sec,ret@host:4222",
        "nats://user:se@cret@host:4222",
        "nats://user:sec%ret@host:4222",
        "nats://user:sec#ret@host:4222",
        "nats://user:secret@host:99999",
        "nats://user:secret@::1:4222",
        "nats://user:secret@:4222",
        "http://user:secret@host:4222",
        "nats://host,,nats://other",
        "",
    ],
)
async def test_what_is_no_address_is_refused_by_rule_and_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"nats_url: server \d of \d must") as raised:
        await connect(url)
    shown = str(raised.value) + without_password(url)
    assert not any(part in shown for part in ("sec", "ret", "user:"))


async def test_jetstream_that_is_off_is_told(serve: Serve) -> None:
    url = f"nats://127.0.0.1:{serve('')}"
    assert "JetStream is not enabled on this server" in str(await refusal(url))
    async with FleetClient.connect(url, tenant="acme") as client:
        with pytest.raises(QueueRefused, match=r"jobs\.standard\.acme: JetStream is not enabled on this server"):
            await client.submit(task="chat", messages=HELLO)


async def test_jetstream_that_is_off_for_the_account_is_told(serve: Serve) -> None:
    port = serve(JETSTREAM + "accounts {A {users: [{user: a, password: secret}]}}\n")
    url = f"nats://a:secret@127.0.0.1:{port}"
    assert "not enabled for account: enable it for the account" in str(await refusal(url))
    async with FleetClient.connect(url, tenant="acme") as client:
        with pytest.raises(QueueRefused, match="not enabled for account"):
            await client.submit(task="chat", messages=HELLO)


async def test_streams_that_are_not_there_are_told(serve: Serve) -> None:
    async with FleetClient.connect(f"nats://127.0.0.1:{serve(JETSTREAM)}", tenant="acme") as client:
        for asking in (client.submit(task="chat", messages=HELLO), client.result("job-000000000001")):
            with pytest.raises(QueueRefused, match="no stream takes it: an operator runs `fleet topology apply`"):
                await asking


async def test_whoever_reads_a_stream_that_is_not_there_is_told(serve: Serve) -> None:
    url = f"nats://127.0.0.1:{serve(JETSTREAM)}"
    ledger, contents = await JetStreamLedger.connect(url), await JetStreamContents.connect(url)
    for name, asking in (("LEDGER", ledger.begin(0)), ("LEDGER", ledger.stream()), ("CONTENT", contents.take(1, 0.1))):
        with pytest.raises(QueueRefused, match=f"{name}.*: an operator runs `fleet topology apply`"):
            await asking
    await ledger.close()
    await contents.close()


async def test_a_message_that_a_stream_of_somebody_else_took_is_no_accepted_one(serve: Serve) -> None:
    url = f"nats://127.0.0.1:{serve(JETSTREAM)}"
    connection = await connect(url)
    foreign = ["jobs.>", "cancels.>", "feedback.>"]
    await connection.nats.jetstream().add_stream(name="EVENTS", subjects=foreign)
    desk = JetStreamDesk(connection, "acme")
    job = submission(task="chat", messages=HELLO, id="job-000000000001")
    told = Feedback(job.id, "acme", Verdict.GOOD, 1.0, id="feedback-00000001")
    asked = {
        "jobs.standard.acme: stored in stream EVENTS, not in the fleet's JOBS": desk.submit([job]),
        "cancels.acme.job-000000000001: stored in stream EVENTS, not in the fleet's CANCELS": desk.cancel(job.id),
        "feedback.acme: stored in stream EVENTS, not in the fleet's FEEDBACK": desk.give_feedback(told),
    }
    for said, asking in asked.items():
        with pytest.raises(QueueRefused) as raised:
            await asking
        assert str(raised.value).startswith(f"{said}: take the subject from the other stream")
    await desk.close()


def test_every_subject_belongs_to_the_stream_that_the_topology_gives_it() -> None:
    subjects = {subject: config.name for config in stream_configs(SHIPPED) for subject in config.subjects}
    assert {subject: stream_for(subject) for subject in subjects} == subjects


async def test_subjects_that_overlap_are_told_with_the_other_stream(serve: Serve) -> None:
    url = f"nats://127.0.0.1:{serve(JETSTREAM)}"
    connection = await connect(url)
    await connection.nats.jetstream().add_stream(name="OTHER", subjects=["ledger.>"])
    await connection.close()
    said = str(await refusal(url))
    assert said.startswith("streams.LEDGER: cannot be made: its subjects overlap, ledger.* with stream OTHER: take")


@pytest.mark.parametrize("spare", [0, 1])
async def test_an_account_that_allows_no_more_than_the_streams_of_the_fleet_has_them(serve: Serve, spare: int) -> None:
    limits = f"max_streams: {len(stream_configs(SHIPPED)) + spare}, max_bytes_required: true"
    account = f"accounts {{A {{jetstream {{{limits}}}, users: [{{user: a, password: secret}}]}}}}\n"
    connection = await connect(f"nats://a:secret@127.0.0.1:{serve(JETSTREAM + account)}")
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    configs = [info.config for info in await js.streams_info()]
    await connection.close()
    assert sorted(config.name for config in configs) == sorted(str(config.name) for config in stream_configs(SHIPPED))
    assert all(config.max_bytes > 0 for config in configs)


async def test_a_limit_of_the_account_is_told_with_the_stream(serve: Serve) -> None:
    account = "accounts {A {jetstream {max_streams: 2}, users: [{user: a, password: secret}]}}\n"
    said = str(await refusal(f"nats://a:secret@127.0.0.1:{serve(JETSTREAM + account)}"))
    assert said == (
        "stream RESULTS: JetStream: maximum number of streams reached: "
        "raise max_streams of the account, or remove streams that are not needed"
    )


async def test_a_right_that_is_missing_is_told(serve: Serve) -> None:
    rights = '{user: a, password: secret, permissions: {publish: "foo", subscribe: ">"}}'
    error = await refusal(f"nats://a:secret@127.0.0.1:{serve(f'{JETSTREAM}authorization {{users: [{rights}]}}')}")
    assert "this login may not publish to $JS.API.STREAM.INFO.JOBS: log in as the user operator" in str(error)


async def test_a_login_without_the_right_is_not_told_to_start_a_fleet(serve: Serve) -> None:
    rights = '{user: a, password: secret, permissions: {publish: "foo", subscribe: "_INBOX.>"}}'
    url = f"nats://a:secret@127.0.0.1:{serve(f'{JETSTREAM}authorization {{users: [{rights}]}}')}"
    async with FleetClient.connect(url, tenant="acme") as client:
        with pytest.raises(QueueUnavailable) as raised:
            await client.submit(task="chat", messages=HELLO)
        with pytest.raises(QueueUnavailable) as unheard:
            await anext(aiter(client.results()))
    journal = await JetStreamJournal.connect(url)
    with pytest.raises(QueueUnavailable) as unread:
        await anext(aiter(journal.feedback()))
    await journal.close()
    for error in (raised.value, unheard.value, unread.value):
        line = advice(error)
        assert line.startswith("wrong setting: nats_user: ") and "this login may not " in line
        assert line.endswith(": log in as a user who may, or give this one the right")


async def test_a_wrong_password_is_told_without_it(serve: Serve) -> None:
    error = await refusal(f"nats://a:wrong@127.0.0.1:{serve(f'{JETSTREAM}authorization {{user: a, password: b}}')}")
    assert isinstance(error, ConfigError)
    assert ("refuses this login" in str(error), "wrong" in str(error)) == (True, False)


async def test_why_nobody_gets_in_is_said_once_by_the_error_and_not_by_a_line_for_each_try(
    serve: Serve,
) -> None:
    with capture_logs() as lines:
        await refusal(f"nats://a:wrong@127.0.0.1:{serve(f'{JETSTREAM}authorization {{user: a, password: b}}')}")
    assert lines == []


@pytest.mark.proves("No password is sent to a server that does not offer the TLS asked for", how="real")
async def test_tls_that_the_server_does_not_offer_is_told_and_no_password_is_sent(serve: Serve) -> None:
    error = await refusal(f"tls://a:secret@127.0.0.1:{serve(JETSTREAM)}")
    assert "offers no TLS, which was asked for: no login is sent without it" in str(error)


async def test_nobody_who_listens_and_no_such_host_are_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"nats://a:secret@127.0.0.1:{free.getsockname()[1]}"
        error = await refusal(closed)
    assert str(error) == f"nothing listens at {without_password(closed)}: {START}"
    unknown = str(await refusal("nats://no.such.host.invalid:4222"))
    assert unknown.startswith("the host name in nats://no.such.host.invalid:4222 is not known")


SILENT = (
    "accepts the connection and says nothing for 2 s: the NATS server is frozen or overloaded, "
    "or another program has its port"
)


@pytest.mark.proves("A frozen nats-server is said to be frozen, not to be away", how="real")
async def test_a_frozen_server_is_said_to_accept_and_say_nothing(own_server: EmbeddedServer) -> None:
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        error = await refusal(own_server.url)
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    assert (type(error), str(error)) == (Unreachable, f"{own_server.url} {SILENT}")


async def test_a_port_that_never_greets_is_said_to_say_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        assert str(await refusal(url)) == f"{url} {SILENT}"


async def test_a_certificate_that_nobody_vouches_for_is_told(serve: Serve, tmp_path: Path) -> None:
    write_certificates(tmp_path, [Server("nats", "127.0.0.1")])
    tls = 'tls {cert_file: "DIR/nats.pem", key_file: "DIR/nats-key.pem"}\n'
    error = await refusal(f"tls://127.0.0.1:{serve(JETSTREAM + tls)}")
    assert isinstance(error, ConfigError) and error.field == "nats_ca_path"
    assert "has a certificate that is not trusted" in str(error)


@pytest.mark.parametrize(
    ("error", "is_accepted", "sentence"),
    [
        (ConnectionRefusedError(), False, "nothing listens at nats://a:4222: start a fleet"),
        (socket.gaierror(), False, "the host name in nats://a:4222 is not known"),
        (None, True, "nats://a:4222 accepts the connection and says nothing for 5 s"),
        (TimeoutError(), True, "nats://a:4222 accepts the connection and says nothing for 5 s"),
        (None, False, "nats://a:4222 does not answer for 5 s: the machine is down, or a firewall"),
        (ConnectionResetError(), True, "nats://a:4222 closes the connection at once"),
        (AuthorizationError(), True, "nats_user: nats://a:4222 refuses this login"),
        (ssl.SSLCertVerificationError(), True, "nats_ca_path: nats://a:4222 has a certificate that is not trusted"),
        (ValueError("odd"), True, "no connection to nats://a:4222: odd"),
    ],
)
def test_each_reason_has_one_sentence(error: object, is_accepted: bool, sentence: str) -> None:
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "self-signed"
    assert str(unreachable("nats://a:4222", error, 5.0, is_accepted)).startswith(sentence)


def test_of_several_servers_nothing_is_said_that_holds_for_one() -> None:
    said = str(unreachable("nats://a:4222,nats://b:4222", ConnectionRefusedError(), 5.0))
    assert said.startswith("nothing listens at the last tried of nats://a:4222,nats://b:4222: ")


COMMANDS = (
    ("status",),
    ("submit", "chat", "hi"),
    ("result", "job-0123456789abcdef"),
    ("dead", "list"),
    ("topology", "apply"),
)


@pytest.mark.usefixtures("hasty_connections")
def test_every_command_says_the_same_of_a_server_that_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        said = {CliRunner().invoke(cli, [*command, "--nats-url", url]).stderr for command in COMMANDS}
    assert said == {f"fleet: no fleet answers: {url} {SILENT.replace('2 s', '0.2 s')}\n"}


def test_only_who_does_not_answer_is_called_away() -> None:
    assert advice(Unreachable("x")) == "no fleet answers: x"
    assert advice(QueueUnavailable("x")) == "NATS did not confirm (x): try again"
    assert advice(QueueRefused("x: JetStream: no: do this")) == "NATS refuses: x: JetStream: no: do this"
