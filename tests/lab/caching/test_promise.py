"""What the semantic cache may promise is tested on labels, and says what is missing where nothing can be."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fleet.embedding.encoder import Encoder
from fleet.lab.caching.entries import Entries, ask
from fleet.lab.caching.promise import CacheLabel, PromiseOutcome, fit_promises
from fleet.model.attempt import Usage
from fleet.model.cache_entry import CacheEntry
from fleet.model.caching import CacheCalibration, Near, SemanticMode
from policies.caching.semantic import loss_of
from policies.caching.verifying import GREY
from policies.rules.caching import SemanticRules

KEY = ("acme", "faq")
RULES = SemanticRules(risk=0.05, tasks={"faq": SemanticMode.SHADOW})
SUBJECTS = range(6)
NOW = 2000.0


def cached(number: int, text: str, answer: str) -> CacheEntry:
    told = ({"content": answer}, "stop", "invented/8b", Usage(1, 1))
    return CacheEntry("acme", f"{number:064x}", "job", "faq", "llama", float(number), 9e9, *told, None, text, "s" * 64)


KEPT = [cached(10 * n + k, f"subject {n}, question {k}", f"answer {n}") for n in SUBJECTS for k in range(10)]


def labels_for(encoder: Encoder, count: int, propensity: float = 1.0) -> list[CacheLabel]:
    """Labels of questions about the subjects, a tenth of them about nothing."""
    texts = [f"subject {n % 6}, question {n}" if n % 10 else f"nothing, {n}" for n in range(100, 100 + count)]
    right = [f"answer {n % 6}" if n % 10 else "" for n in range(100, 100 + count)]
    kept = [each.question or "" for each in KEPT]
    entries = Entries(kept, [each.message["content"] for each in KEPT], encoder.encode(kept))
    found = ask(entries, texts, encoder.encode(texts))
    return [
        CacheLabel(Near("0" * 64, "subjects", tuple(signals), propensity, answer == wanted), NOW)
        for signals, answer, wanted in zip(found.signals.tolist(), found.answers, right, strict=True)
    ]


def fitted(
    encoder: Encoder, labels: list[CacheLabel], before: CacheCalibration | None = None, at: float = NOW + 1.0
) -> PromiseOutcome:
    known = {} if before is None else {KEY: before}
    [outcome] = fit_promises({KEY: labels}, KEPT, encoder, "subjects", known, RULES, at)
    return outcome


def test_enough_labels_make_a_promise_that_holds_for_others_like_them(encoder) -> None:
    outcome = fitted(encoder, labels_for(encoder, 400))
    promise = outcome.promise
    assert promise is not None and math.isfinite(promise.threshold.value) and outcome.served > 0.3
    assert (promise.looks.count, promise.threshold.delta) == (1, RULES.delta / 2)
    others = labels_for(encoder, 1200)[400:]
    assert sum(loss_of(each.near, promise) for each in others) <= RULES.risk * len(others)


def test_too_few_labels_promise_nothing_and_say_how_many_are_missing(encoder) -> None:
    outcome = fitted(encoder, labels_for(encoder, 40))
    assert outcome.labels_missing == 59 - 40
    promise = outcome.promise
    assert promise is not None and (promise.threshold.value, promise.threshold.labels_missing) == (math.inf, 19)
    enough = fitted(encoder, labels_for(encoder, 400), promise, NOW + 2.0).promise
    assert enough is not None and enough.looks.count == 1 and math.isfinite(enough.threshold.value)


def test_a_mode_that_is_off_and_cosines_of_another_encoder_count_for_nothing(encoder) -> None:
    labels = labels_for(encoder, 200)
    foreign = [replace(each, near=replace(each.near, encoder="another")) for each in labels]
    assert fitted(encoder, foreign).labels == 0
    assert fit_promises({("acme", "mail"): labels}, KEPT, encoder, "subjects", {}, RULES, NOW) == []


def test_the_same_labels_are_tested_once_and_the_next_test_spends_less(encoder) -> None:
    first = fitted(encoder, labels_for(encoder, 400)).promise
    assert first is not None
    again = fitted(encoder, labels_for(encoder, 400), first, NOW + 2.0)
    assert again.promise is None and again.why == "tested, and few labels are new since"
    fresh = [replace(each, at=NOW + 5.0) for each in labels_for(encoder, 600)]
    second = fitted(encoder, fresh, first, NOW + 9.0).promise
    assert second is not None and (second.looks.count, second.threshold.delta) == (2, pytest.approx(RULES.delta / 6))


def test_after_a_withdrawal_only_labels_since_then_count(encoder) -> None:
    first = fitted(encoder, labels_for(encoder, 400)).promise
    assert first is not None
    withdrawn = replace(first, withdrawn="drift")
    assert fitted(encoder, labels_for(encoder, 400), withdrawn, NOW + 2.0).labels == 0


def test_labels_from_before_a_withdrawal_never_count_again(encoder) -> None:
    """A test after it, passed or not, is no reason to believe what was true before."""
    first = fitted(encoder, labels_for(encoder, 400)).promise
    assert first is not None
    fresh = [replace(each, at=NOW + 5.0) for each in labels_for(encoder, 300)]
    second = fitted(encoder, labels_for(encoder, 400) + fresh, replace(first, withdrawn="drift"), NOW + 9.0).promise
    assert second is not None and second.withdrawn is None and second.looks.labels == 300
    assert fitted(encoder, labels_for(encoder, 400) + fresh, second, NOW + 20.0).labels == 300


def test_a_promise_of_less_than_the_rules_ask_for_is_tested_again_at_once_and_does_not_stay(encoder) -> None:
    first = fitted(encoder, labels_for(encoder, 400)).promise
    assert first is not None
    loose = replace(first, threshold=replace(first.threshold, risk=0.5))
    [one] = labels_for(encoder, 1)
    wrong = [replace(one, near=replace(one.near, same=False))] * 400
    after = fitted(encoder, wrong, loose, NOW + 2.0).promise
    assert after is not None and (after.threshold.value, after.threshold.risk) == (math.inf, RULES.risk)
    assert fitted(encoder, wrong, after, NOW + 3.0).promise is None


def test_a_test_that_passes_nothing_leaves_the_promise_before_it(encoder) -> None:
    first = fitted(encoder, labels_for(encoder, 400)).promise
    assert first is not None
    [one] = labels_for(encoder, 1)
    wrong = [replace(one, near=replace(one.near, same=False), at=NOW + 5.0)] * 400
    after = fitted(encoder, wrong, first, NOW + 9.0).promise
    assert after == replace(first, looks=after.looks) and after.looks.count == 2


def test_labels_drawn_with_propensities_count_for_what_they_stand_for(encoder) -> None:
    even, drawn = labels_for(encoder, 400), labels_for(encoder, 400, propensity=0.5)
    outcome = fitted(encoder, [*even, *drawn])
    assert outcome.promise is not None and outcome.labels == 800


def heard(labels: list[CacheLabel], right: float, verifier: str = "8b m@1") -> list[CacheLabel]:
    """The same labels, with the word of a verifier that is right so often."""
    words = [right if each.near.same else 1.0 - right for each in labels]
    nears = [replace(each.near, verifier=verifier, verified=word) for each, word in zip(labels, words, strict=True)]
    return [replace(each, near=near) for each, near in zip(labels, nears, strict=True)]


def test_the_word_of_a_verifier_that_knows_lets_more_be_served_under_the_same_promise(encoder) -> None:
    plain = labels_for(encoder, 400)
    [without] = fit_promises({KEY: heard(plain, 0.99)}, KEPT, encoder, "subjects", {}, RULES, NOW)
    [verified] = fit_promises({KEY: heard(plain, 0.99)}, KEPT, encoder, "subjects", {}, RULES, NOW, "8b m@1")
    assert without.promise is not None and verified.promise is not None
    assert (without.promise.grey, verified.promise.grey) == (None, GREY)
    assert verified.served > without.served
    others = heard(labels_for(encoder, 1200)[400:], 0.99)
    assert sum(loss_of(each.near, verified.promise) for each in others) <= RULES.risk * len(others)
    unheard = [replace(each, near=replace(each.near, verified=None)) for each in others]
    assert sum(loss_of(each.near, verified.promise) for each in unheard) == 0


def test_a_verifier_that_guesses_breaks_no_promise(encoder) -> None:
    labels = heard(labels_for(encoder, 400), 0.5)
    promise = fit_promises({KEY: labels}, KEPT, encoder, "subjects", {}, RULES, NOW, "8b m@1")[0].promise
    others = heard(labels_for(encoder, 1200)[400:], 0.5)
    assert promise is not None
    assert sum(loss_of(each.near, promise) for each in others) <= RULES.risk * len(others)


def test_words_of_another_verifier_and_too_few_of_this_one_count_for_nothing(encoder) -> None:
    others = heard(labels_for(encoder, 400), 0.99, "8b m@2")
    few = [*heard(labels_for(encoder, 40), 0.99), *labels_for(encoder, 400)[40:]]
    for labels in (others, few):
        promise = fit_promises({KEY: labels}, KEPT, encoder, "subjects", {}, RULES, NOW, "8b m@1")[0].promise
        assert promise is not None and promise.grey is None and math.isfinite(promise.threshold.value)
