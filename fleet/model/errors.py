"""Every error the fleet raises on purpose.

FleetError
├── ConfigError        settings, rules or catalogue are wrong; names the field and the rule
├── InvalidJob         a job cannot be accepted; names the field and the rule
│   └── DuplicateJob   it had to be new, and its id was there already
├── InvalidFeedback    feedback cannot be accepted; names the field and the rule
├── InvalidExperiment  an experiment cannot start, or take this step; names the field and the rule
├── InvalidTurn        a turn of the learning loop cannot begin, or take this step; names the field and the rule
├── InvalidAdapter     an adapter cannot be registered, or take this step; names the field and the rule
├── InvalidWebhook     a webhook endpoint cannot be accepted; names the field and the rule
├── QueueUnavailable   the broker did not confirm; the step will be repeated
│   ├── Unreachable    no connection came about: nothing listens, nothing is said, or the name is not known
│   ├── NotSettled     everything is stored, only the settlement is not confirmed (`fleet.model.delivery`)
│   └── QueueRefused   it answered and said no: a stream that is missing or full, JetStream that is off
│       └── LoginRefused  the login is refused, or has no right to what was asked
├── LedgerUnavailable  the ledger's database did not confirm; what was to be written is still in the stream
└── BackendUnavailable a backend cannot be built or reached at all
"""

from __future__ import annotations


class FleetError(Exception):
    """Base of everything the fleet raises on purpose."""


class FieldError(FleetError):
    """An input from outside that breaks a rule: `field` is a dotted path, `rule` is what it must obey."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class ConfigError(FieldError):
    """Settings, rules or the catalogue are wrong."""


class InvalidJob(FieldError):
    """A job cannot be accepted."""


class DuplicateJob(InvalidJob):
    """A job that had to be new was not: its id was there already, and a result under it is the earlier job's."""

    def __init__(self, job_id: str) -> None:
        super().__init__("id", f"must be new, and {job_id} was there already: a result under it is that job's")
        self.job_id = job_id


class InvalidFeedback(FieldError):
    """Feedback cannot be accepted."""


class InvalidExperiment(FieldError):
    """An experiment cannot start beside the others, or take this step as it stands."""


class InvalidTurn(FieldError):
    """A turn of the learning loop cannot begin beside the others, or take this step as it stands."""


class InvalidAdapter(FieldError):
    """An adapter cannot be registered beside the others, or take this step as it stands."""


class InvalidWebhook(FieldError):
    """A webhook endpoint cannot be accepted."""


class QueueUnavailable(FleetError):
    """The broker did not confirm in time. Nothing is lost: the delivery comes back."""


class Unreachable(QueueUnavailable):
    """No connection to the broker came about. The message is the whole sentence: what was met there, and what to do."""


class QueueRefused(QueueUnavailable):
    """The broker answered, and said no: the message names the cause and the way out."""


class LoginRefused(QueueRefused):
    """The broker refuses this login, or what it asked for: another login or a right helps, trying again does not."""


class PartMissing(QueueRefused):
    """The broker answered, and a part of a stored file is not there: it is too old, or was lost."""


class LedgerUnavailable(FleetError):
    """The ledger's database cannot be reached, or did not confirm. Nothing is lost: the stream still has it."""


class BackendUnavailable(FleetError):
    """A backend cannot be built or reached at all."""
