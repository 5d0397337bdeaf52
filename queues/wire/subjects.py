"""Names on the wire: streams, subjects and headers. Nothing else in the fleet spells them."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping

from fleet.model.delivery import Depths, JobsOf, Source, WorkOf
from fleet.model.errors import InvalidJob
from fleet.model.feedback import Witness
from fleet.model.job import JOB_ID, Lane

JOBS = "JOBS"
WORK = "WORK"
RESULTS = "RESULTS"
LEDGER = "LEDGER"
DEAD = "DEAD"
FEEDBACK = "FEEDBACK"
STARTS = "STARTS"
START_SUBJECTS = "starts."
CANCELS = "CANCELS"
CONTENT = "CONTENT"
EVENTS = "EVENTS"
CALIBRATIONS = "KV_calibrations"
"""The stream under the key-value bucket `calibrations`."""

SPEND = "KV_spend"
"""The stream under the key-value bucket `spend`."""

LOAD = "KV_load"
"""The stream under the key-value bucket `load`."""

KEYS = "KV_keys"
"""The stream under the key-value bucket `keys`."""

CACHE = "KV_cache"
"""The stream under the key-value bucket `cache`."""

EXPERIMENTS = "KV_experiments"
"""The stream under the key-value bucket `experiments`."""

ADAPTERS = "KV_adapters"
"""The stream under the key-value bucket `adapters`."""

TURNS = "KV_turns"
"""The stream under the key-value bucket `turns`."""

PROVIDER_BATCHES = "KV_provider_batches"
"""The stream under the key-value bucket `provider_batches`."""

FILES = "FILES"
BATCHES = "KV_batches"
"""The stream under the key-value bucket `batches`."""

RESPONSES = "KV_responses"
"""The stream under the key-value bucket `responses`."""

WEBHOOKS = "KV_webhooks"
"""The stream under the key-value bucket `webhooks`."""

LARGE_RESULTS_BUCKET = "results-large"
LARGE_RESULTS = f"OBJ_{LARGE_RESULTS_BUCKET}"
"""The stream under the object store `results-large`."""

ADAPTER_OBJECTS_BUCKET = "adapters"
ADAPTER_OBJECTS = f"OBJ_{ADAPTER_OBJECTS_BUCKET}"
"""The stream under the object store `adapters`."""

_STREAMS = {
    "jobs": JOBS,
    "work": WORK,
    "results": RESULTS,
    "ledger": LEDGER,
    "dead": DEAD,
    "feedback": FEEDBACK,
    "starts": STARTS,
    "cancels": CANCELS,
    "content": CONTENT,
    "files": FILES,
    "events": EVENTS,
    "$KV": "KV_{}",
    "$O": "OBJ_{}",
}
"""Streams by the first token of a subject; the name of a bucket is the second."""

API = "$JS.API"
"""The first tokens of the subjects that JetStream answers requests on."""

_LANES = frozenset(lane.value for lane in Lane)

MSG_TTL = "Nats-TTL"
MSG_ID = "Nats-Msg-Id"
EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence"
EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
ROLLUP = "Nats-Rollup"
TRACEPARENT = "traceparent"


def job_subject(lane: Lane, tenant: str) -> str:
    return f"jobs.{lane}.{tenant}"


def arrival_subject(tenant: str) -> str:
    """Return the subject on which the broker announces an interactive job that it has stored, without its body."""
    return f"arrived.{Lane.INTERACTIVE}.{tenant}"


def work_subject(target: str, lane: Lane, tenant: str) -> str:
    return f"work.{target}.{lane}.{tenant}"


def result_subject(tenant: str, job_id: str) -> str:
    return f"results.{tenant}.{job_id}"


def ledger_subject(tenant: str) -> str:
    return f"ledger.{tenant}"


def start_subject(tenant: str, job_id: str, attempt: int, call: int) -> str:
    return f"{START_SUBJECTS}{tenant}.{job_id}.{attempt}.{call}"


def reading_subject(stream: str, sequence: int) -> str:
    """Return the subject for reading one message of the stream. No start has it: there the fourth token is a number."""
    return f"{START_SUBJECTS}{stream}.{sequence}.read.0"


def dead_subject(tenant: str) -> str:
    return f"dead.{tenant}"


def feedback_subject(tenant: str, source: Witness) -> str:
    """Return the subject; a dispatcher's own comparisons have one that no publisher is given the right to."""
    return f"feedback.{tenant}.shadow" if source is Witness.SHADOW else f"feedback.{tenant}"


def cancel_subject(tenant: str, job_id: str) -> str:
    return f"cancels.{tenant}.{job_id}"


def content_subject(tenant: str) -> str:
    return f"content.{tenant}"


def event_subject(tenant: str) -> str:
    return f"events.{tenant}"


def delivery_subject(tenant: str, endpoint_id: str, event_id: str) -> str:
    """Return the subject of an event on its way to an endpoint."""
    return f"events.{tenant}.{endpoint_id}.{event_id}"


def object_chunk_subject(name: str, number: int | str, bucket: str = LARGE_RESULTS_BUCKET) -> str:
    return f"$O.{bucket}.C.{name}.{number}"


def object_meta_subject(name: str, bucket: str = LARGE_RESULTS_BUCKET) -> str:
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def calibration_subject(key: str) -> str:
    return f"$KV.calibrations.{key}"


def spend_subject(key: str) -> str:
    return f"$KV.spend.{key}"


def provider_batches_subject(key: str) -> str:
    return f"$KV.provider_batches.{key}"


def key_subject(key_id: str) -> str:
    return f"$KV.keys.{key_id}"


def response_subject(tenant: str, job_id: str) -> str:
    return f"$KV.responses.{tenant}.{job_id}"


def cache_subject(tenant: str, key: str) -> str:
    return f"$KV.cache.{tenant}.{key}"


def experiment_subject(name: str) -> str:
    return f"$KV.experiments.{name}"


def adapter_subject(name: str) -> str:
    return f"$KV.adapters.{name}"


def turn_subject(name: str) -> str:
    return f"$KV.turns.{name}"


def load_subject(key: str) -> str:
    return f"$KV.load.{key}"


def file_chunk_subject(tenant: str, file_id: str, segment: str, number: int | str) -> str:
    return f"files.{tenant}.{file_id}.{segment}.{number}"


def batches_subject(key: str) -> str:
    return f"$KV.batches.{key}"


def file_key(tenant: str, file_id: str) -> str:
    return f"{tenant}.file.{file_id}"


def batch_key(tenant: str, batch_id: str) -> str:
    return f"{tenant}.batch.{batch_id}"


def upload_key(tenant: str, upload: str) -> str:
    return f"{tenant}.upload.{upload}"


def list_key(tenant: str, kind: str) -> str:
    """Return the key of the list of the tenant's ids: a tenant with an account of its own can list no keys."""
    return f"{tenant}.list.{kind}"


def endpoint_subject(tenant: str, endpoint_id: str) -> str:
    return f"$KV.webhooks.{tenant}.{endpoint_id}"


SUBJECTS: Mapping[str, tuple[str, ...]] = {
    # A lane that nobody serves is no subject of the stream: its publisher learns at once that nobody answers.
    JOBS: tuple(job_subject(lane, "*") for lane in Lane),
    # Any lane, so that a newer dispatcher may have one more.
    WORK: ("work.*.*.*",),
    RESULTS: (result_subject("*", "*"),),
    LEDGER: (ledger_subject("*"),),
    DEAD: (dead_subject("*"),),
    FEEDBACK: tuple(feedback_subject("*", source) for source in (Witness.USER, Witness.SHADOW)),
    STARTS: (f"{START_SUBJECTS}*.*.*.*",),
    CANCELS: (cancel_subject("*", "*"),),
    CONTENT: (content_subject("*"),),
    EVENTS: (event_subject("*"), delivery_subject("*", "*", "*")),
    LARGE_RESULTS: tuple(f"$O.{LARGE_RESULTS_BUCKET}.{kind}.>" for kind in "CM"),
    CALIBRATIONS: (calibration_subject(">"),),
    SPEND: (spend_subject(">"),),
    LOAD: (load_subject(">"),),
    KEYS: (key_subject(">"),),
    FILES: (file_chunk_subject("*", "*", "*", "*"),),
    BATCHES: (batches_subject(">"),),
    RESPONSES: (response_subject("*", "*"),),
    WEBHOOKS: (endpoint_subject("*", "*"),),
    CACHE: (cache_subject("*", "*"),),
    EXPERIMENTS: (experiment_subject(">"),),
    ADAPTERS: (adapter_subject(">"),),
    ADAPTER_OBJECTS: tuple(f"$O.{ADAPTER_OBJECTS_BUCKET}.{kind}.>" for kind in "CM"),
    TURNS: (turn_subject(">"),),
    PROVIDER_BATCHES: (provider_batches_subject(">"),),
}
"""The subjects that each stream stores."""


def stream_for(subject: str) -> str:
    """Return the name of the stream that stores what is published to a subject of the fleet."""
    kind, _, rest = subject.partition(".")
    stream = _STREAMS[kind]
    return stream.format(rest.partition(".")[0]) if kind[0] == "$" else stream


def stream_of(source: Source) -> str:
    match source:
        case JobsOf():
            return JOBS
        case WorkOf():
            return WORK


def consumer_of(source: Source) -> str:
    """Return the durable consumer's name. No lane has a dash, so target, lane and tenant stay apart."""
    match source:
        case JobsOf(lane, tenant):
            return lane.value if tenant is None else f"{lane}-{tenant}"
        case WorkOf(target, lane):
            return f"{target}-{lane}"


def filter_of(source: Source) -> str:
    """Return the subject filter of the source."""
    match source:
        case JobsOf(lane, tenant):
            return job_subject(lane, tenant or "*")
        case WorkOf(target, lane):
            return work_subject(target, lane, "*")


def depths_of(jobs: Mapping[str, int], work: Mapping[str, int]) -> Depths:
    """Return the depths that these counts of messages by subject give."""
    waiting: Counter[JobsOf] = Counter()
    stored: Counter[WorkOf] = Counter()
    in_flight: Counter[str] = Counter()
    work_by_tenant: dict[WorkOf, dict[str, int]] = {}
    for subject, count in jobs.items():
        _, lane, tenant = subject.split(".", 2)
        waiting[JobsOf(Lane(lane), tenant)] += count
    for subject, count in work.items():
        _, target, lane, tenant = subject.split(".", 3)
        # The WORK stream takes any lane.
        if lane in _LANES:
            source = WorkOf(target, Lane(lane))
            stored[source] += count
            in_flight[tenant] += count
            if count:
                work_by_tenant.setdefault(source, {})[tenant] = count
    return Depths(+waiting, +stored, +in_flight, work_by_tenant)


def checked_job_id(job_id: str) -> str:
    """Return the id as given, to become part of a subject. Raises: InvalidJob if it is none."""
    if JOB_ID.fullmatch(job_id) is None:
        raise InvalidJob("id", f"must match {JOB_ID.pattern}")
    return job_id
