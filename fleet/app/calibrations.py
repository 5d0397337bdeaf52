"""Files of calibrations: those of an operator, and those shipped with the models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from fleet.files import write_whole
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.settings.documents import named, read_bytes
from policies.rules.catalogue import Catalogue
from queues.wire.calibration import check_target, decode_document, encode_document

Calibrations = Mapping[CalibrationKey, Calibration]


def load_calibrations(path: Path, catalogue: Catalogue) -> Calibrations:
    """Return the calibrations in a file; each must be for a target of the catalogue as it is now.

    Raises: ConfigError; `field` is the dotted path inside the file, `rule` ends with the file.
    """
    found = read_calibrations(path)
    return named(path, lambda: _known(found, catalogue))


def read_calibrations(path: Path) -> Calibrations:
    """Return the calibrations in a file, those too of models that are gone. Raises: ConfigError."""
    content = read_bytes(path)
    return named(path, lambda: decode_document(content))


def _known(found: Calibrations, catalogue: Catalogue) -> Calibrations:
    for number, calibration in enumerate(found.values()):
        check_target(calibration, catalogue.targets, f"calibrations.{number}.")
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
