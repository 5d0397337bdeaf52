"""The places that keep what was learned: the journal to learn from, the calibrations in force, and files of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from fleet.files import write_whole
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.errors import ConfigError
from fleet.ports import CalibrationStore, Journal
from policies.rules.catalogue import Catalogue
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.journal import JetStreamJournal
from queues.wire.calibration import check_target, decode_document, encode_document

Calibrations = Mapping[CalibrationKey, Calibration]


async def open_journal(nats_url: str, login: Login = ANONYMOUS) -> Journal:
    """Connect to the ledger and the feedback of all tenants.

    Raises: QueueUnavailable; ConfigError if the login is refused.
    """
    return await JetStreamJournal.connect(nats_url, login)


async def open_calibrations(nats_url: str, login: Login = ANONYMOUS) -> CalibrationStore:
    """Connect to the calibrations in force.

    Raises: QueueUnavailable; ConfigError if the login is refused.
    """
    return await JetStreamCalibrations.connect(nats_url, login)


def load_calibrations(path: Path, catalogue: Catalogue) -> Calibrations:
    """Return the calibrations in a file; each must be for a target of the catalogue as it is now.

    Raises: ConfigError; `field` is the dotted path inside the file, `rule` ends with the file.
    """
    try:
        found = decode_document(path.read_bytes())
        for number, calibration in enumerate(found.values()):
            check_target(calibration, catalogue.targets, f"calibrations.{number}.")
    except ConfigError as error:
        raise ConfigError(error.field, f"{error.rule} (in {path})") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    return found


def save_calibrations(path: Path, calibrations: Iterable[Calibration]) -> None:
    """Write the calibrations to a file; the same calibrations always give the same file.

    Raises: OSError if the file cannot be written.
    """
    write_whole(path, encode_document(calibrations).encode())


def shipped_calibrations(profile: str) -> Calibrations:
    """Return the calibrations shipped with the models of `profile`, if any. Those for another model will be ignored."""
    shipped = files("deployments") / "standins" / "calibration.json"
    return decode_document(shipped.read_bytes()) if profile == "local" and shipped.is_file() else {}
