"""The users of a production fleet on NATS, each with the fewest permissions it needs.

Streams live in one account, the fleet's. Every tenant has an account of its own that sees only what is exported to
it: what it sends there, and the subject a reply goes to, stays inside its account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleet.model.errors import ConfigError
from fleet.model.feedback import Witness
from fleet.model.job import TENANT, Lane
from queues.jetstream.client.login import inbox_of
from queues.wire.job import INVALID_TENANT
from queues.wire.subjects import (
    ADAPTER_OBJECTS,
    ADAPTERS,
    API,
    BATCHES,
    CACHE,
    CALIBRATIONS,
    CANCELS,
    CONTENT,
    DEAD,
    EVENTS,
    EXPERIMENTS,
    FEEDBACK,
    FILES,
    JOBS,
    KEYS,
    LARGE_RESULTS,
    LEDGER,
    LOAD,
    PROVIDER_BATCHES,
    RESPONSES,
    RESULTS,
    SPEND,
    STARTS,
    SUBJECTS,
    WEBHOOKS,
    WORK,
    arrival_subject,
    batches_subject,
    cancel_subject,
    delivery_subject,
    endpoint_subject,
    event_subject,
    feedback_subject,
    file_chunk_subject,
    job_subject,
    object_chunk_subject,
    result_subject,
)

VARIABLE_PREFIX = "FLEET_NATS_PASSWORD_"


@dataclass(frozen=True, slots=True)
class User:
    """A user who may log in. Without `publish` and `subscribe` everything in the account is allowed."""

    name: str
    purpose: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The variable in which the server finds the password."""
        return VARIABLE_PREFIX + self.name.upper().replace("-", "_")


def fleet_users() -> tuple[User, ...]:
    """Return the users of the fleet's own account."""
    return (
        User("operator", "creates and changes streams, puts calibrations in force; may do everything in the account"),
        _dispatcher(),
        _ledger(),
        _content(),
        _sre(),
        _console(),
        _bulk(),
        _gateway(),
        _webhooks(),
        _user(
            "flags", "follows the experiments, for services that ask which arm is whose", tuple(_follows(EXPERIMENTS))
        ),
    )


def system_user() -> User:
    return User("system", "looks after the servers themselves, in NATS' system account")


def checked_tenants(tenants: Sequence[str]) -> tuple[str, ...]:
    """Return the tenants as given.

    Raises: ConfigError if two of them would share a variable, or one cannot be a tenant.
    """
    variables: dict[str, str] = {}
    for tenant in tenants:
        if TENANT.fullmatch(tenant) is None or tenant == INVALID_TENANT:
            raise ConfigError(
                "tenant", f"must match {TENANT.pattern} and not be {INVALID_TENANT!r}, which the fleet uses"
            )
        variable = tenant_user(tenant).variable
        if variable in variables:
            raise ConfigError("tenant", f"{variables[variable]} and {tenant} would have the same variable, {variable}")
        variables[variable] = tenant
    return tuple(tenants)


def account_of(tenant: str) -> str:
    """Return the name of the tenant's account, and of the user in it; no user of the fleet has such a name."""
    return f"tenant-{tenant}"


def tenant_services(tenant: str) -> tuple[str, ...]:
    """Return the subjects in the fleet's account that a tenant may send requests to."""
    return (
        *(job_subject(lane, tenant) for lane in Lane),
        feedback_subject(tenant, Witness.USER),
        cancel_subject(tenant, "*"),
        f"{API}.DIRECT.GET.{RESULTS}.{result_subject(tenant, '*')}",
        f"{API}.DIRECT.GET.{LARGE_RESULTS}.{object_chunk_subject(f'{tenant}.*.*', '*')}",
        *_files_and_batches(tenant),
    )


def _files_and_batches(tenant: str) -> Iterator[str]:
    """Yield the rights to write and read the files and batches of a tenant, or of all."""
    for stream, subject in (
        (FILES, file_chunk_subject(tenant, "*", "*", "*")),
        (BATCHES, batches_subject(f"{tenant}.*.*")),
    ):
        yield subject
        yield f"{API}.DIRECT.GET.{stream}.{subject}"


def tenant_streams(tenant: str) -> tuple[str, ...]:
    """Return the subjects in the fleet's account that a tenant may listen to."""
    return (result_subject(tenant, "*"), batches_subject(f"{tenant}.*.*"))


def tenant_user(tenant: str) -> User:
    """Return the tenant's user. Any NATS client will do: in its own account the tenant may use the usual inboxes."""
    name = account_of(tenant)
    heard = (*tenant_streams(tenant), "_INBOX.>", f"{inbox_of(name)}.>")
    return User(name, f"publishes the jobs of {tenant} and gets their results", tenant_services(tenant), heard)


def _dispatcher() -> User:
    queues = [right for stream in (JOBS, WORK) for right in _pulls(stream)]
    streams = (
        WORK,
        RESULTS,
        LEDGER,
        DEAD,
        CALIBRATIONS,
        SPEND,
        LOAD,
        STARTS,
        LARGE_RESULTS,
        CONTENT,
        CACHE,
        EXPERIMENTS,
        PROVIDER_BATCHES,
    )
    written = (*(subject for stream in streams for subject in SUBJECTS[stream]), feedback_subject("*", Witness.SHADOW))
    cells = (SPEND, PROVIDER_BATCHES)
    told = (LOAD, RESULTS, STARTS, JOBS, WORK, CANCELS, ADAPTER_OBJECTS)
    looked_up = (f"{API}.STREAM.MSG.GET.{name}" for name in (*cells, *told))
    # Lanes have a consumer per tenant; a message under a name that is no tenant's has none, and is found and removed.
    strays = (f"{API}.STREAM.MSG.DELETE.{JOBS}",)
    # A tenant's consumer not in use makes room for others; one that has forgotten messages is made again.
    consumers = (f"{API}.CONSUMER.{right}.{name}.*" for right in ("INFO", "DELETE") for name in (JOBS, WORK))
    direct = (f"{API}.DIRECT.GET.{RESULTS}.>", f"{API}.DIRECT.GET.{ADAPTER_OBJECTS}.>")
    followed = (*_reads(CALIBRATIONS), *_reads(CANCELS), *_learns())
    read = (f"{API}.STREAM.INFO.*", *looked_up, *direct, *followed, *strays, *consumers)
    return _user(
        "dispatcher",
        "takes jobs, stores results; cannot create, purge or delete a stream",
        (*queues, *read, *written),
        (arrival_subject("*"),),
    )


def _learns() -> Iterator[str]:
    """Yield the rights to follow adapters, what may be answered again, what users say, and what arms of roll-outs do.

    The accounts are read by the dispatcher that watches roll-outs: any may be that one.
    """
    for stream in (CACHE, FEEDBACK, EXPERIMENTS, ADAPTERS, LEDGER):
        yield from _reads(stream)


def _ledger() -> User:
    # The writer of the database acknowledges what it has written, and looks how much there is still to write.
    writer = (f"$JS.ACK.{LEDGER}.>", f"{API}.CONSUMER.INFO.{LEDGER}.*", f"{API}.STREAM.INFO.{LEDGER}")
    publish = (*_reads(LEDGER), *_reads(FEEDBACK), *writer)
    return _user(
        "ledger", "reads the accounts and the feedback: the ledger's database, evaluation and billing", publish
    )


def _content() -> User:
    return _user("content", "takes contents to the content store, where a rule collects them", (*_pulls(CONTENT),))


_WATCHES = (
    f"{API}.INFO",
    f"{API}.STREAM.NAMES",
    f"{API}.STREAM.LIST",
    f"{API}.STREAM.INFO.*",
    f"{API}.CONSUMER.NAMES.*",
    f"{API}.CONSUMER.LIST.*",
    f"{API}.CONSUMER.INFO.*.*",
    f"{API}.STREAM.MSG.GET.{SPEND}",
    f"{API}.STREAM.MSG.GET.{LOAD}",
)
"""The rights to see the state of streams and consumers, load and money."""


def _sre() -> User:
    purpose = "sees depths, consumers, load and money; never a prompt or an answer"
    return _user("sre", purpose, _WATCHES, ("$JS.EVENT.>",))


def _console() -> User:
    # A dead letter is read whole, prompt included; the console shows who, when and why.
    read = (*_reads(CALIBRATIONS), f"{API}.STREAM.MSG.GET.{DEAD}")
    return _user("console", "serves `fleet console`: what sre sees, calibrations and dead letters", (*_WATCHES, *read))


def _bulk() -> User:
    # It asks whether a job still waits before it submits the job again, so it sees the jobs of all publishers.
    asked = (f"{API}.STREAM.MSG.GET.{stream}" for stream in (JOBS, WORK, RESULTS, BATCHES))
    # What a row may cost depends on the targets that dispatchers serve.
    looked_up = (f"{API}.STREAM.INFO.{BATCHES}", *_looks_up(LOAD))
    publish = (job_subject(Lane.BULK, "*"), *_answers(), *asked, *looked_up, event_subject("*"))
    return _user(
        "bulk", "runs the batches of all tenants: reads their files, writes what came of each row", publish, _HEARD
    )


def _gateway() -> User:
    submits = (*(job_subject(lane, "*") for lane in Lane), feedback_subject("*", Witness.USER))
    records = (*SUBJECTS[RESPONSES], f"{API}.STREAM.MSG.GET.{RESPONSES}", f"{API}.STREAM.MSG.GET.{BATCHES}")
    states = (f"{API}.STREAM.INFO.{stream}" for stream in (JOBS, WORK, KEYS))
    endpoints = (endpoint_subject("*", "*"), *_looks_up(WEBHOOKS), f"{API}.STREAM.MSG.DELETE.{WEBHOOKS}")
    publish = (*submits, *_answers(), *records, *states, event_subject("*"), *endpoints, *_reads(KEYS))
    return _user("gateway", "speaks HTTP for all tenants: may do for each what the tenant may", publish, _HEARD)


_HEARD = tenant_streams("*")


def _answers() -> Iterator[str]:
    """Yield the rights to cancel jobs, read their results, and write and read files and batches, of all tenants."""
    yield cancel_subject("*", "*")
    yield f"{API}.DIRECT.GET.{RESULTS}.{result_subject('*', '*')}"
    yield f"{API}.DIRECT.GET.{LARGE_RESULTS}.{object_chunk_subject('*.*.*', '*')}"
    yield from _files_and_batches("*")


def _webhooks() -> User:
    deliveries = (*_pulls(EVENTS), f"{API}.STREAM.INFO.{EVENTS}", delivery_subject("*", "*", "*"))
    # It ends an endpoint that is gone for good, and looks whether a response has its result.
    results = (f"{API}.DIRECT.GET.{RESULTS}.>", f"{API}.DIRECT.GET.{LARGE_RESULTS}.>")
    publish = (*deliveries, endpoint_subject("*", "*"), *_looks_up(WEBHOOKS), *results)
    return _user("webhooks", "`fleet webhooks run`: tells the endpoints of all tenants what has happened", publish)


def _looks_up(stream: str) -> Iterator[str]:
    """Yield the rights to read single messages of a stream, and to list its subjects."""
    yield f"{API}.STREAM.INFO.{stream}"
    yield f"{API}.STREAM.MSG.GET.{stream}"


def _user(name: str, purpose: str, publish: tuple[str, ...], heard: tuple[str, ...] = ()) -> User:
    # An inbox of its own: a user who may listen to all inboxes of an account reads everybody's deliveries.
    return User(name, purpose, publish, (f"{inbox_of(name)}.>", *heard))


def _pulls(stream: str) -> Iterator[str]:
    """Yield the rights to take deliveries from the durable consumers of a work queue."""
    yield f"{API}.CONSUMER.CREATE.{stream}.>"
    yield f"{API}.CONSUMER.MSG.NEXT.{stream}.*"
    yield f"$JS.ACK.{stream}.>"


def _follows(stream: str) -> Iterator[str]:
    """Yield the rights to read a stream, and to see that it was purged."""
    yield from _reads(stream)
    yield f"{API}.STREAM.INFO.{stream}"


def _reads(stream: str) -> Iterator[str]:
    """Yield the rights to read a stream from its first message with a consumer of one's own."""
    yield f"{API}.CONSUMER.CREATE.{stream}"
    yield f"{API}.CONSUMER.CREATE.{stream}.>"
    yield f"{API}.CONSUMER.MSG.NEXT.{stream}.*"
    yield f"{API}.CONSUMER.DELETE.{stream}.*"
