# Shows: three kinds of nudges for everyone in an invented company: a table, three templates, and what comes out.
# Needs: a running fleet: `make up` in another terminal.
# Run:   .venv/bin/python examples/nudges/nudges.py

import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NUDGES = {"recognition": "nudge.recognition", "onboarding": "nudge.onboarding", "status": "nudge.reminder"}
SHOWN = 10

# Names of syllables, as nobody has them.
SYLLABLES = [onset + vowel for onset in "bdfgjklmnprstvz" for vowel in "aeiou"]
DEEDS = ("closed", "rescued", "launched", "improved", "tested", "documented")
STEPS = ("laptop setup", "safety course", "badge photo", "payroll form", "")


def name(rng: random.Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=2)).capitalize()


def employees(count: int, seed: int = 7) -> list[dict[str, str | int]]:
    rng = random.Random(seed)
    teams = {name(rng): name(rng) for _ in range(max(1, count // 8))}
    rows = []
    for number in range(1, count + 1):
        team, manager = rng.choice(list(teams.items()))
        deed, step, project = rng.choice(DEEDS), rng.choice(STEPS), name(rng)
        row = {"id": f"e-{number}", "name": name(rng), "team": team, "manager": manager, "deed": deed}
        rows.append(
            row | {"project": project, "day": rng.randint(10, 99), "open_step": step, "percent": 10 * rng.randint(1, 9)}
        )
    return rows


def write_table(path: Path, rows: list[dict[str, str | int]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def answers(table: Path, kind: str, task: str) -> list[str]:
    output = table.with_name(f"{kind}.jsonl")
    template = HERE / f"{kind}.j2"
    command = ["bulk", "submit", table, "--template", template, "--task", task, "--set", "max_tokens=40", "-o", output]
    subprocess.run([sys.executable, "-m", "fleet.cli", *command, "--order", "input"], check=True)
    rows = map(json.loads, output.read_text(encoding="utf-8").splitlines())
    return [said(row) for row in rows]


def said(row: dict) -> str:
    if row["error"]:
        return f"{row['custom_id']}: no answer, {row['error']['message']}"
    return f"{row['custom_id']}: {row['response']['body']['choices'][0]['message']['content']}"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "employees.csv"
        write_table(table, employees(count))
        columns = [answers(table, kind, task) for kind, task in NUDGES.items()]
    lines = [line for row in zip(*columns, strict=True) for line in row]
    print("\n".join(lines[:SHOWN]))


main()
