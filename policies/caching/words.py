"""The words of a short question: its content words, numbers, names, and what it denies.

Written from the rules of English, not fitted to any data. Words that could change the answer count as content, so
the list of those left out is short: articles, courtesies, the persons who talk, forms of "be", "do" and "can".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from policies.caching.vocabulary import ASKED, FILLERS, MEASURES, NEGATIONS, NUMBERS, QUESTIONS, ROLES, SIGNS

_TOKEN = re.compile(r"[^\W_]+(?:['\u2019.,:/-](?=[^\W_])[^\W_]+)*|[+=<>]")
_CONTRACTIONS = (
    (re.compile(r"\bcan['\u2019]t\b"), "can not"),
    (re.compile(r"\bwon['\u2019]t\b"), "will not"),
    (re.compile(r"n['\u2019]t\b"), " not"),
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"['\u2019](?:s|re|m|ve|ll|d)\b"), " "),
)
_COURTESIES = re.compile(
    r"\b(?:(?:can|could|would|will) you (?:please )?(?:tell|show|help) me(?: with)?|do you know|i was wondering|please"
    r"|i (?:would|want|need)(?: like)? to know|thank(?:s| you)(?: (?:so|very) much| a lot)?|in advance|kindly"
    r"|good (?:morning|evening|day)|quick question|sorry to bother)\b"
)
_SPELLED = 5
"""Letters from which on a slip does not make another word, as a rule."""
_ENDING = re.compile(r"(?<=\d)(?:st|nd|rd|th)$")
_SENTENCE = re.compile(r"[.!?]\s+|^\W*|\n")


@dataclass(frozen=True, slots=True)
class Words:
    """The parts of a text that a comparison looks at; all in lower case and in the order of the text.

    `content` has the stems of its content words, `question` what is asked for (`when`, `how many`; empty for a thing, a
    way, yes or no), `numbers` whatever has a digit or is a number in letters, `names` the words written with a capital
    inside a sentence, `negations` how often it denies, `roles` the content word that follows each word such as "from"
    and "to".
    """

    content: tuple[str, ...]
    question: str
    numbers: tuple[str, ...]
    names: frozenset[str]
    negations: int
    roles: frozenset[tuple[str, str]]
    all: frozenset[str]


@lru_cache(maxsize=65_536)
def words_of(text: str) -> Words:
    """Return the words of a text; the same text is read once."""
    plain = unicodedata.normalize("NFKC", text)
    tokens = _tokens(plain.casefold())
    content = [stem(token) for token in tokens if token not in FILLERS and token not in NEGATIONS]
    return Words(
        content=tuple(content),
        question=_question(tokens),
        numbers=tuple(number for token in tokens for number in _numbers(token)),
        names=_names(plain) & frozenset(tokens),
        negations=sum(token in NEGATIONS for token in tokens),
        roles=frozenset(_roles(tokens)),
        all=frozenset(tokens),
    )


def stem(word: str) -> str:
    """Return the word without the commonest endings of English, so that "parking" and "parked" meet."""
    for ending, rest in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)] + rest
    return word


def overlap(one: Words, other: Words) -> float:
    """Return the Jaccard index of the content words; two texts without any are the same."""
    a, b = set(one.content), set(other.content)
    return len(a & b) / len(a | b) if a or b else 1.0


def exchanged(one: Words, other: Words) -> bool:
    """Return whether each text has a content word that the other lacks, other spellings of a word apart."""
    left, right = set(one.content) - set(other.content), set(other.content) - set(one.content)
    return _lacks_one(left, right) and _lacks_one(right, left)


def _lacks_one(words: set[str], others: set[str]) -> bool:
    """Return whether one of the words is not among the others, however it is spelled."""
    by_letter: dict[str, list[str]] = {}
    for each in others:
        by_letter.setdefault(each[0], []).append(each)
    return any(not any(spelled_alike(word, each) for each in by_letter.get(word[0], ())) for word in words)


def spelled_alike(one: str, other: str) -> bool:
    """Return whether two long words with the same first letter differ by one slip: a letter more, other, or swapped."""
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) < _SPELLED or len(longer) - len(shorter) > 1 or shorter[0] != longer[0]:
        return False
    first = next(
        (place for place, pair in enumerate(zip(shorter, longer, strict=False)) if pair[0] != pair[1]), len(shorter)
    )
    if len(shorter) < len(longer):
        return shorter[first:] == longer[first + 1 :]
    swapped = shorter[:first] + shorter[first : first + 2][::-1] + shorter[first + 2 :]
    return longer in (swapped, shorter) or shorter[first + 1 :] == longer[first + 1 :]


def _tokens(text: str) -> list[str]:
    for sign, word in SIGNS.items():
        text = text.replace(sign, word)
    for pattern, plain in _CONTRACTIONS:
        text = pattern.sub(plain, text)
    text = _COURTESIES.sub(" ", text)
    return _TOKEN.findall(text)


def _question(tokens: list[str]) -> str:
    for word, following in pairwise([*tokens, ""]):
        if word in QUESTIONS:
            return QUESTIONS[word]
        if word == "how":
            return f"how {following}" if following in MEASURES else ""
    return next((ASKED[token] for token in tokens if token in ASKED), "")


def _numbers(token: str) -> list[str]:
    if any(letter.isdigit() for letter in token):
        return [_ENDING.sub("", token).replace(",", "")]
    return [NUMBERS[part] for part in token.split("-") if part in NUMBERS]


def _names(text: str) -> frozenset[str]:
    """Return the capitalised words that do not open a sentence; none where the whole text is in capitals."""
    if text.isupper():
        return frozenset()
    starts = {match.end() for match in _SENTENCE.finditer(text)}
    found = (match for match in re.finditer(r"[^\W\d_]{2,}", text) if match.start() not in starts)
    return frozenset(match[0].casefold() for match in found if not match[0].islower())


def _roles(tokens: list[str]) -> list[tuple[str, str]]:
    found, role = [], None
    for token in tokens:
        if token in ROLES:
            role = token
        elif token not in FILLERS:
            if role is not None:
                found.append((role, stem(token)))
            role = None
    return found
