"""What `fleet adapters` says to wrong names of tasks, files and folders, before anything is trained or asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from fleet.cli.adapters.trial import Wanted, prepared
from fleet.model.errors import ConfigError

Invoke = Callable[..., Result]


def test_a_task_that_the_rules_do_not_know_is_refused_before_the_training(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").touch()
    done = invoke(
        "adapters", "train", str(tmp_path / "chats.jsonl"), "--task", "plan.shedule", "-o", str(tmp_path / "a")
    )
    assert done.exit_code == 1
    assert (
        "--task: 'plan.shedule' is not among the tasks of the rules, 'plan.schedule' is; FLEET_RULES_PATH"
        in done.stderr
    )


def test_a_folder_that_is_none_is_called_that(invoke: Invoke, tmp_path: Path) -> None:
    assert (
        f"{tmp_path / 'gone'}: must be a folder with adapter_config.json"
        in invoke("adapters", "check", str(tmp_path / "gone")).stderr
    )
    never: Any = None
    with pytest.raises(ConfigError, match=r"--data: must be a folder, and .*gone is none"):
        prepared(Wanted("plan.schedule", frozenset(), tmp_path / "gone", never), never)
