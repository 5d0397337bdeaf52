"""Names and values of the generated corpus, split so that nothing held out is ever trained on.

Every name is made of syllables and belongs to exactly one split, decided by the name alone; the same holds for every
number. A draw is a rejection loop over that rule, so the splits are disjoint by construction and not by bookkeeping.
"""

import random
import zlib
from typing import Final, Literal

Split = Literal["train", "heldout"]

ONSETS: Final = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
VOWELS: Final = ("a", "e", "i", "o", "u")
SYLLABLES: Final = tuple(onset + vowel for onset in ONSETS for vowel in VOWELS)
CODAS: Final = ("l", "n", "r", "s", "x")

NUMBERS: Final = tuple(range(10, 100))

DEEDS: Final = ("closed", "rescued", "launched", "improved", "tested", "documented", "translated", "presented")
STEPS: Final = (
    "laptop setup",
    "safety course",
    "badge photo",
    "payroll form",
    "team tour",
    "privacy course",
    "buddy lunch",
    "access request",
)

INTENTS: Final[dict[str, tuple[str, ...]]] = {
    "leave": ("a day off", "my holiday", "parental leave", "time off", "a sick note"),
    "pay": ("my salary", "my payslip", "the bonus", "my expenses", "overtime money"),
    "training": ("a course", "a workshop", "a certificate", "a mentor", "language lessons"),
    "referral": ("a friend who applies", "a candidate", "the referral", "an open role", "a former colleague"),
    "complaint": ("the noise", "unfair shifts", "rude words", "broken chairs", "bullying"),
}
INTENT_FRAMES: Final = (
    "I am writing about {core}.",
    "Who can help me with {core}?",
    "Please call me on day {day} about {core}.",
    "We spoke in {team} about {core}.",
    "{other} told me to ask about {core}.",
)

GOOD: Final = ("great", "helpful", "smooth", "inspiring", "friendly", "clear")
BAD: Final = ("awful", "confusing", "slow", "unfair", "boring", "painful")
FLAT: Final = ("on day {day}", "as planned", "in the main office", "with {other}")
TOPICS: Final = ("review", "workshop", "meeting", "handover", "interview", "kickoff")

COURSES: Final = (
    "laptop",
    "safety",
    "badge",
    "payroll",
    "privacy",
    "buddy",
    "access",
    "review",
    "workshop",
    "handover",
)


def is_held_out(value: str | int) -> bool:
    """Return whether a name or number belongs to the held-out split; this depends on the value alone."""
    if isinstance(value, int):
        return value % 7 == 3
    return zlib.crc32(value.encode()) % 8 == 0


def draw_number(rng: random.Random, split: Split, low: int = NUMBERS[0], high: int = NUMBERS[-1]) -> int:
    """Draw a number of the split in [low, high]; the range must hold one."""
    while True:
        number = rng.randint(low, high)
        if is_held_out(number) == (split == "heldout"):
            return number


def draw_person(rng: random.Random, split: Split) -> str:
    """Draw a given name of two or three syllables, ending in a vowel."""
    return _draw_name(rng, split, syllables=2 if rng.random() < 0.7 else 3, coda="")


def draw_group(rng: random.Random, split: Split) -> str:
    """Draw the name of a team, project or course: two syllables and a final consonant."""
    return _draw_name(rng, split, syllables=2, coda=rng.choice(CODAS))


def _draw_name(rng: random.Random, split: Split, syllables: int, coda: str) -> str:
    while True:
        name = "".join(rng.choice(SYLLABLES) for _ in range(syllables)).capitalize() + coda
        if is_held_out(name) == (split == "heldout"):
            return name
