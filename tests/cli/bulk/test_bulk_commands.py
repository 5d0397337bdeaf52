"""`fleet bulk`: a file becomes a batch on the server, which can be watched, fetched, cancelled and tried again."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from answered_batches import answer, failure, leave
from fake_app import App
from typer.testing import Result

from fleet.cli.bulk import results
from fleet.cli.bulk.options import seconds_of
from fleet.cli.bulk.watch import LEAST_BAR, _bar, split_of_latest
from fleet.cli.output import Output
from fleet.model.batch import Batch, BatchStatus, LineProblem
from fleet.model.errors import ConfigError
from fleet.ports import BatchStore, FileStore
from queues.batches import TenantBatches, TenantFiles

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

HELLO = [{"role": "user", "content": "hello"}]
MISSING = f"batch_{'0' * 24}"


class Stores:
    """What lies on the server for the default tenant."""

    def __init__(self, app: App, tenant: str = "demo") -> None:
        self.files = TenantFiles(app.shelf, tenant)
        self.batches = TenantBatches(app.shelf, tenant)

    def batch(self, batch_id: str) -> Batch:
        entry = asyncio.run(self.batches.get(batch_id))
        assert entry is not None
        return entry[0]

    def content(self, file_id: str) -> bytes:
        async def read() -> bytes:
            return b"".join([piece async for piece in self.files.read(file_id)])

        return asyncio.run(read())

    def answered(self, batch_id: str, rows: Sequence[dict[str, Any]], **more: Any) -> Batch:
        return asyncio.run(leave(self.files, self.batches, batch_id, rows, **more))


@pytest.fixture
def stores(fake_app: App) -> Stores:
    return Stores(fake_app)


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"".join(job(f"row-{number}") for number in (1, 2, 3)))
    return path


@pytest.fixture
def submitted(invoke_json: InvokeJson, jobs: Path) -> str:
    return str(invoke_json("bulk", "submit", str(jobs))["id"])


def job(custom_id: str, **more: Any) -> bytes:
    return json.dumps({"task": "chat", "messages": HELLO, "custom_id": custom_id, **more}).encode() + b"\n"


def test_a_file_is_stored_and_becomes_a_batch(invoke: Invoke, stores: Stores, jobs: Path) -> None:
    result = invoke("bulk", "submit", str(jobs))
    [first, second] = result.stdout.splitlines()
    found = re.match(r"(batch_[0-9a-f]{24})  validating: no row yet, \$0\.0000", first)
    assert found is not None
    assert second == f"see how far it is: fleet bulk watch {found[1]}"
    batch = stores.batch(found[1])
    assert stores.content(batch.input_file_id) == jobs.read_bytes()
    assert (batch.status, batch.tenant, batch.endpoint) == (BatchStatus.VALIDATING, "demo", "/v1/chat/completions")
    assert (batch.completion_window_seconds, batch.keep_going, batch.max_cost_nano_usd) == (86400.0, False, None)


def test_bounds_and_defaults_go_into_the_batch(invoke_json: InvokeJson, stores: Stores, jobs: Path) -> None:
    words = "--deadline 90m --max-cost 2.5 --tier medium --cloud groq,openai --plan free --metadata a=b --keep-going"
    shown = invoke_json("bulk", "submit", str(jobs), *words.split())
    batch = stores.batch(shown["id"])
    assert (batch.completion_window_seconds, batch.max_cost_nano_usd, batch.keep_going) == (5400.0, 2_500_000_000, True)
    assert batch.defaults == {"tier": "medium", "cloud": ["groq", "openai"], "plan": "free"}
    assert (batch.metadata, shown["metadata"]) == ({"a": "b"}, {"a": "b"})
    assert (shown["rows_read"], shown["rows_refused"]) == (3, 0)


def test_a_table_and_a_template_become_a_batch(invoke_json: InvokeJson, stores: Stores, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,name\ne-1,Ada\n")
    (tmp_path / "nudge.j2").write_text("Thank {{ name }}.")
    table, template = str(tmp_path / "people.csv"), str(tmp_path / "nudge.j2")
    words = ("--task", "nudge.recognition", "--set", "max_tokens=60", "--set", 'stop=["."]')
    shown = invoke_json("bulk", "submit", table, "--template", template, *words)
    assert json.loads(stores.content(shown["input_file_id"])) == {
        "custom_id": "e-1",
        "task": "nudge.recognition",
        "request": {"max_tokens": 60, "stop": ["."], "messages": [{"role": "user", "content": "Thank Ada."}]},
    }


BAD = b"{oops\n" + job("row-1") + job("row-2", tier="tiny") + job("row-1") + job("row-3", task="not a task!")
BEGINS = [sum(map(len, BAD.splitlines(keepends=True)[:number])) for number in range(5)]


def test_rows_that_are_no_jobs_are_told_by_line_and_nothing_is_left(invoke: Invoke, stores: Stores, jobs: Path) -> None:
    jobs.write_bytes(BAD)
    result = invoke("bulk", "submit", str(jobs))
    assert (result.exit_code, result.stdout) == (1, "")
    told = result.stderr.splitlines()
    assert told[0].startswith("· line 1, byte 0, line-1: line must be JSON (expecting property name")
    assert told[1].startswith(f"· line 3, byte {BEGINS[2]}, row-2: tier must be 'simple'")
    assert told[2] == f"· line 4, byte {BEGINS[3]}, line-4: custom_id must be unique, and is on line 2 already"
    assert told[3].startswith(f"· line 5, byte {BEGINS[4]}, row-3: task ")
    assert told[4] == f"fleet: 4 of 5 rows of {jobs} are no jobs; --keep-going runs the others"
    assert (asyncio.run(stores.files.list()), asyncio.run(stores.batches.list())) == ([], [])


def test_the_json_of_a_refusal_has_the_problems(invoke_json: InvokeJson, jobs: Path) -> None:
    jobs.write_bytes(BAD)
    refusal = invoke_json("bulk", "submit", str(jobs), exit_code=1)
    assert refusal["problem_count"] == 4
    assert [(problem["line"], problem["field"]) for problem in refusal["problems"]] == [
        (1, "line"),
        (3, "tier"),
        (4, "custom_id"),
        (5, "task"),
    ]


def test_the_good_rows_run_if_that_is_asked_and_all_problems_are_written(
    invoke_json: InvokeJson, stores: Stores, jobs: Path, tmp_path: Path
) -> None:
    jobs.write_bytes(BAD)
    problems = tmp_path / "wrong.jsonl"
    shown = invoke_json("bulk", "submit", str(jobs), "--keep-going", "--problems", str(problems))
    assert (shown["rows_read"], shown["rows_refused"]) == (5, 4)
    assert stores.content(shown["input_file_id"]) == BAD
    assert sorted(json.loads(line)["line"] for line in problems.read_text().splitlines()) == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "words", "advice"),
    [
        (b"", (), "jobs.jsonl has no rows"),
        (b"\n\xef\xbb\xbf\r\n", (), "jobs.jsonl has no rows"),
        (b"oops", ("--keep-going",), "1 of 1 rows of"),
        (job("a"), ("--deadline", "soon"), "wrong setting: --deadline: must be a number and a unit"),
        (job("a"), ("--task", "chat"), "wrong setting: --task: goes with --template"),
        (job("a"), ("--metadata", "a"), "wrong setting: --metadata: must be KEY=VALUE"),
        (job("a"), ("--template", "x", "--set", "model=llama-8b"), """a text has quotes: --set 'model="llama-8b"'"""),
        (job("a"), ("--template", "gone.j2"), "gone.j2: no such file or directory"),
    ],
)
def test_a_file_that_makes_no_batch_says_why_in_one_line(
    invoke: Invoke, stores: Stores, jobs: Path, content: bytes, words: tuple[str, ...], advice: str
) -> None:
    jobs.write_bytes(content)
    result = invoke("bulk", "submit", str(jobs), *words)
    assert result.exit_code == 1
    assert advice in result.stderr.splitlines()[-1]
    assert asyncio.run(stores.batches.list()) == []


@pytest.mark.parametrize("option", ["--problems", "--output"])
def test_what_a_command_writes_never_replaces_what_it_reads(
    invoke: Invoke, jobs: Path, tmp_path: Path, option: str
) -> None:
    template, linked = tmp_path / "chat.j2", tmp_path / "linked.jsonl"
    template.write_text("{{ text }}")
    linked.hardlink_to(jobs)
    before = jobs.read_bytes()
    for written in (jobs, linked, template):
        refused = invoke("bulk", "submit", str(jobs), "--template", str(template), option, str(written), "--overwrite")
        assert (refused.exit_code, "must not be the input" in refused.stderr) == (1, True)
    assert (jobs.read_bytes(), template.read_text()) == (before, "{{ text }}")


def test_problems_and_results_do_not_go_into_one_file(invoke: Invoke, jobs: Path, tmp_path: Path) -> None:
    rows = str(tmp_path / "rows.jsonl")
    jobs.write_text("")
    for problems in (rows, f"{rows}.part"):
        assert "--problems" in invoke("bulk", "submit", str(jobs), "-o", rows, "--problems", problems).stderr


def test_status_shows_how_far_a_batch_is(invoke: Invoke, stores: Stores, submitted: str) -> None:
    rows = [answer(1, "row-1"), failure(2, "row-2")]
    stores.answered(submitted, rows, status=BatchStatus.IN_PROGRESS, total=3)
    lines = invoke("bulk", "status", submitted).stdout.splitlines()
    assert lines[0] == f"{submitted}  in_progress: 2 of 3 rows, 1 without an answer, $0.0010"


def test_status_lists_the_first_problems(invoke: Invoke, stores: Stores, submitted: str) -> None:
    batch = stores.batch(submitted)
    problems = tuple(LineProblem(number, number * 10, None, "task", "is required") for number in range(1, 13))
    failed = replace(batch, status=BatchStatus.FAILED, problems=problems, problem_count=250)
    asyncio.run(stores.batches.update(failed, 1))
    lines = invoke("bulk", "status", submitted).stdout.splitlines()
    assert "line 10, byte 100: task is required" in lines
    assert lines[-1] == "and 240 more"


def test_watch_ends_with_the_batch(invoke: Invoke, invoke_json: InvokeJson, stores: Stores, submitted: str) -> None:
    stores.answered(submitted, [answer(1, "row-1")])
    assert f"{submitted}  completed: 1 of 1 rows, $0.0010" in invoke("bulk", "watch", submitted).stdout
    assert invoke_json("bulk", "watch", submitted)["status"] == "completed"


def test_the_bar_and_all_that_is_said_beside_it_have_room_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    written = io.StringIO()
    output = Output(False, stderr=written)
    bar = _bar(output)
    end = "1,234/s, 12 min to 3.5 h left, $1234.56 in all; llama-8b 71%, llama-70b 29%"
    bar.add_task("in_progress", total=1_000_000, completed=500_000, end=end)
    output.progress_console.print(bar.get_renderable())
    shown = re.sub(r"\x1b\[[\d;]*m", "", written.getvalue())
    assert shown.count("━") + shown.count("╸") >= LEAST_BAR
    assert all(word in shown.split() for word in end.split())


def test_the_latest_answers_say_which_targets_answer(stores: Stores, submitted: str) -> None:
    rows = [answer(number, "a", target="llama-8b" if number % 4 else "gpt-4o") for number in range(1, 2001)]
    batch = stores.answered(submitted, rows)
    split = asyncio.run(split_of_latest(stores.files, batch))
    assert split == {"llama-8b": pytest.approx(0.75, abs=0.01), "gpt-4o": pytest.approx(0.25, abs=0.01)}


def test_results_are_written_at_any_time(
    invoke: Invoke, invoke_json: InvokeJson, stores: Stores, submitted: str, tmp_path: Path
) -> None:
    rows = [answer(2, "row-2"), failure(1, "row-1")]
    stores.answered(submitted, rows, status=BatchStatus.IN_PROGRESS, total=3)
    sink = tmp_path / "out.jsonl"
    assert invoke("bulk", "results", submitted, "-o", str(sink)).stdout == f"2 rows of 3, so far → {sink}\n"
    assert [json.loads(line)["line"] for line in sink.read_text().splitlines()] == [2, 1]
    assert "is there already: --overwrite replaces it" in invoke("bulk", "results", submitted, "-o", str(sink)).stderr
    shown = invoke_json("bulk", "results", submitted, "-o", str(sink), "--overwrite", "--order", "input")
    assert (shown["rows_written"], shown["output"]) == (2, str(sink))
    assert [json.loads(line)["line"] for line in sink.read_text().splitlines()] == [1, 2]


def test_rows_that_are_gone_are_told_of_and_replace_nothing(
    invoke: Invoke, stores: Stores, submitted: str, tmp_path: Path
) -> None:
    batch = stores.answered(submitted, [answer(1, "row-1")])
    sink = tmp_path / "out.jsonl"
    invoke("bulk", "results", submitted, "-o", str(sink))
    asyncio.run(stores.files.delete(str(batch.output_file_id)))

    gone = invoke("bulk", "results", submitted, "-o", str(sink), "--overwrite")

    assert (gone.exit_code, f"the rows of {submitted} are gone" in gone.stderr) == (1, True)
    assert json.loads(sink.read_text())["custom_id"] == "row-1"


def test_a_file_called_parquet_is_parquet(invoke: Invoke, stores: Stores, submitted: str, tmp_path: Path) -> None:
    stores.answered(submitted, [answer(1, "row-1", "hi")])
    sink = tmp_path / "out.parquet"
    assert invoke("bulk", "results", submitted, "-o", str(sink)).stdout == f"1 rows → {sink}\n"
    assert pq.read_table(sink)["content"].to_pylist() == ["hi"]


def test_a_cancelled_batch_can_be_cancelled_again_and_an_ended_one_cannot(
    invoke: Invoke, stores: Stores, submitted: str
) -> None:
    for _ in range(2):
        assert "cancelling" in invoke("bulk", "cancel", submitted).stdout
    stores.answered(submitted, [answer(1, "row-1")])
    assert "is completed: it cannot be cancelled any more" in invoke("bulk", "cancel", submitted).stderr


def test_what_failed_becomes_a_batch_of_its_own(invoke_json: InvokeJson, stores: Stores, submitted: str) -> None:
    stores.answered(submitted, [answer(1, "row-1"), failure(2, "row-2")])
    again = stores.batch(invoke_json("bulk", "retry-failed", submitted)["id"])
    before = stores.batch(submitted)
    assert (again.retries, again.input_file_id, again.status) == (submitted, before.input_file_id, "validating")
    assert (again.completed, again.failed, again.output) == (0, 0, ())


def test_a_retry_waits_and_writes_its_rows_if_that_is_asked(
    invoke_json: InvokeJson, stores: Stores, submitted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.answered(submitted, [answer(1, "row-1"), failure(2, "row-2")])
    sink = tmp_path / "again.jsonl"

    async def ended(files: FileStore, batches: BatchStore, output: object, batch_id: str) -> Batch:
        return await leave(files, batches, batch_id, [answer(2, "row-2")])

    monkeypatch.setattr(results, "ended", ended)
    again = invoke_json("bulk", "retry-failed", submitted, "-o", str(sink))
    assert (again["retries"], again["rows_written"], again["output"]) == (submitted, 1, str(sink))
    assert [json.loads(row)["custom_id"] for row in sink.read_text().splitlines()] == ["row-2"]


@pytest.mark.parametrize(
    ("rows", "status", "advice"),
    [
        ([], BatchStatus.IN_PROGRESS, "has not ended: it is in_progress"),
        ([answer(1, "row-1")], BatchStatus.COMPLETED, "has no row to retry"),
    ],
)
def test_a_batch_with_nothing_to_try_again_says_so(
    invoke: Invoke, stores: Stores, submitted: str, rows: list[dict[str, Any]], status: BatchStatus, advice: str
) -> None:
    stores.answered(submitted, rows, status=status)
    assert advice in invoke("bulk", "retry-failed", submitted).stderr


def test_batches_are_listed_newest_first(invoke: Invoke, invoke_json: InvokeJson, jobs: Path) -> None:
    assert invoke("bulk", "list").stdout == "no batches yet: fleet bulk submit FILE\n"
    made = [invoke_json("bulk", "submit", str(jobs))["id"] for _ in range(3)]
    assert [batch["id"] for batch in invoke_json("bulk", "list", "--limit", "2")["batches"]] == made[:0:-1]
    assert [line.split()[0] for line in invoke("bulk", "list").stdout.splitlines()] == ["batch", *reversed(made)]


@pytest.mark.parametrize("command", ["status", "watch", "cancel", "retry-failed", "results"])
@pytest.mark.parametrize("whose", ["nobody's", "another tenant's", "no id"])
def test_a_batch_that_is_not_there_for_the_tenant_is_one_line(
    invoke: Invoke, submitted: str, tmp_path: Path, command: str, whose: str
) -> None:
    batch_id, tenant = {"nobody's": (MISSING, "demo"), "another tenant's": (submitted, "acme"), "no id": ("x", "demo")}[
        whose
    ]
    output = ("-o", str(tmp_path / "out.jsonl")) if command == "results" else ()
    result = invoke("bulk", command, batch_id, "--tenant", tenant, *output)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"fleet: there is no batch {batch_id}: fleet bulk list shows those there are\n"
    assert not (tmp_path / "out.jsonl").exists()


def test_a_run_does_not_write_over_what_is_there(invoke: Invoke, jobs: Path, tmp_path: Path) -> None:
    sink = tmp_path / "out.jsonl"
    sink.write_text("mine")
    assert "is there already" in invoke("bulk", "run", str(jobs), "-o", str(sink)).stderr
    assert sink.read_text() == "mine"
    assert invoke("bulk", "run", str(jobs), "-o", str(sink), "--overwrite").exit_code == 0
    assert len(sink.read_text().splitlines()) == 3


@pytest.mark.parametrize(("name", "advice"), [("staff.csv", "bulk submit --template"), ("staff.txt", ".jsonl")])
def test_a_run_takes_lines_of_jobs_and_names_what_takes_a_table(
    invoke: Invoke, tmp_path: Path, name: str, advice: str
) -> None:
    source = tmp_path / name
    source.write_text("id,name\ne-17,Katapu\n")
    refused = invoke("bulk", "run", str(source), "-o", str(tmp_path / "out.jsonl"))
    assert (refused.exit_code, list(tmp_path.glob("out*"))) == (1, [])
    assert f"file: {source}" in refused.stderr and advice in refused.stderr


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400.0), ("8h", 28800.0), ("2d", 172800.0), ("1.5s", 1.5)])
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert seconds_of("--deadline", text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "-1h", "0h", "8 h", "1e3s", "8w"])
def test_a_duration_without_a_unit_or_a_length_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        seconds_of("--deadline", text)
