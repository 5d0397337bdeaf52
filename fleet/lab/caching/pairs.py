"""Pairs of questions to fit a score on where there is nothing else: the same thing in other words, and look-alikes.

They are made from sentences of our own: a subject asked about in several ways, its siblings, which are other subjects,
and minimal changes that turn a question round. No pair of any file that is evaluated is among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

from fleet.lab.caching.files import Pair

_SUBJECTS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("How do I paint the {}?", "How can I paint the {}?", "What's the best way to paint a {}?"),
        ("fence", "ceiling", "boat", "door"),
    ),
    (
        ("Where is the {} kept?", "Where do you keep the {}?", "Which room has the {}?"),
        ("ladder", "toolbox", "projector", "first-aid kit"),
    ),
    (
        ("How much does a {} cost?", "What is the price of a {}?", "How expensive is a {}?"),
        ("kayak", "canoe", "tent", "sleeping bag"),
    ),
    (
        ("When does the {} close?", "What time does the {} close?", "Until when is the {} open?"),
        ("museum", "library", "harbour", "workshop"),
    ),
    (
        ("Who runs the {} class?", "Who teaches the {} class?", "Who is the teacher of the {} class?"),
        ("pottery", "violin", "sailing", "chess"),
    ),
    (
        ("Can I bring a {} on board?", "May I take a {} on board?", "Are passengers allowed to bring a {}?"),
        ("guitar", "surfboard", "cat", "pram"),
    ),
    (
        ("Does the ferry stop in {}?", "Is {} a stop of the ferry?", "Will the ferry call at {}?"),
        ("Oslo", "Bergen", "Malmo", "Turku"),
    ),
    (
        ("How long is the train from Leeds to {}?", "How long does the train to {} take from Leeds?"),
        ("York", "Hull", "Derby", "Crewe"),
    ),
    (
        ("How do I export a list to {}?", "How can I save a list as {}?", "What's the way to get a list into {}?"),
        ("Excel", "Notion", "Trello", "Airtable"),
    ),
    (
        ("Is the {} course worth it?", "Would you recommend the {} course?"),
        ("baking", "welding", "knitting", "drawing"),
    ),
    (
        ("What is the weight limit of the {}?", "How heavy may the {} be?", "How much weight can the {} carry?"),
        ("lift", "trailer", "hammock", "shelf"),
    ),
    (("Book a table for {} people", "Reserve a table for {}", "I need a table for {} persons"), ("2", "3", "5", "12")),
    (
        ("Send the report on {}", "Please send me the report on {}", "The report should go out on {}"),
        ("Monday", "Tuesday", "Thursday", "Sunday"),
    ),
    (
        ("What did we sell in {}?", "How were our sales in {}?", "Show the sales of {}"),
        ("2019", "2021", "2023", "2024"),
    ),
    (("What did we sell in {}?", "How were the sales for {}?"), ("March", "May", "August", "November")),
    (
        ("Where is parcel {}?", "Track parcel {}", "What is the status of parcel {}?"),
        ("77120", "77210", "71720", "77121"),
    ),
    (
        ("Set the oven to {} degrees", "Heat the oven to {} degrees", "Turn the oven to {} degrees"),
        ("160", "180", "200", "220"),
    ),
    (
        ("How many metres is {} feet?", "Convert {} feet to metres", "What is {} feet in metres?"),
        ("6", "16", "60", "66"),
    ),
    (
        ("How do I water a {}?", "How much water does a {} need?", "How often should a {} be watered?"),
        ("fern", "cactus", "lemon tree", "bonsai"),
    ),
    (
        ("My {} won't start", "The {} doesn't start", "What can I do if my {} does not start?"),
        ("mower", "boiler", "scooter", "generator"),
    ),
    (
        ("Can I return a {} without a receipt?", "Do you take back a {} if I lost the receipt?"),
        ("coat", "kettle", "bicycle", "lamp"),
    ),
    (
        ("What does the {} badge mean?", "What's the meaning of the {} badge?", "Explain the {} badge"),
        ("green", "blue", "silver", "purple"),
    ),
    (
        ("How do I rename a {}?", "How can I change the name of a {}?", "Give a {} another name"),
        ("folder", "branch", "channel", "device"),
    ),
    (
        ("What are the rules for {}?", "Which rules apply to {}?", "Are there rules for {}?"),
        ("visitors", "volunteers", "drivers", "interns"),
    ),
    (
        ("How do I apply for a {} permit?", "How can I get a {} permit?", "Where do I apply for a {} permit?"),
        ("fishing", "building", "camping", "filming"),
    ),
    (
        ("Is there a discount for {}?", "Do {} get a discount?", "Do you give {} a discount?"),
        ("students", "nurses", "veterans", "pensioners"),
    ),
    (("Play some {} music", "Put on some {} music", "I'd like to hear {} music"), ("jazz", "folk", "piano", "Cuban")),
    (
        ("What do {} eat?", "What is the diet of {}?", "What kind of food do {} eat?"),
        ("otters", "owls", "hedgehogs", "herons"),
    ),
    (
        ("Who wrote {}?", "Who is the author of {}?", "{} was written by whom?"),
        ("Emma", "Dracula", "Ulysses", "Middlemarch"),
    ),
    (
        ("What's the population of {}?", "How many people live in {}?", "How big is the population of {}?"),
        ("Chile", "Peru", "Bolivia", "Ecuador"),
    ),
    (
        ("How do I dispute an item on my monthly {} online?", "How can I dispute one item of the monthly {} online?"),
        ("invoice", "statement", "receipt", "bill"),
    ),
    (
        (
            "Who has to be told when the {} of a department leaves the company?",
            "When the {} of a department leaves the company, who must be told?",
        ),
        ("manager", "director", "supervisor", "treasurer"),
    ),
    (
        (
            "Does the {} plan include support by phone at weekends?",
            "Is support by phone at weekends part of the {} plan?",
        ),
        ("basic", "standard", "premium", "trial"),
    ),
    (
        (
            "Should I see a doctor if my toddler's {} lasts longer than a week?",
            "My toddler's {} has lasted longer than a week: should I see a doctor?",
        ),
        ("cough", "fever", "rash", "earache"),
    ),
    (
        (
            "Is there a daily limit for {} made with a business account?",
            "What is the daily limit for {} from a business account?",
        ),
        ("transfers", "withdrawals", "deposits", "payments"),
    ),
    (
        (
            "How do I stop the weekly {} about new products from your shop?",
            "I don't want the weekly {} about new products of your shop any more",
        ),
        ("emails", "letters", "calls", "texts"),
    ),
    (
        (
            "Which documents do {} have to keep for the tax office?",
            "Which documents must be kept by {} for the tax office?",
        ),
        ("landlords", "tenants", "freelancers", "charities"),
    ),
    (
        (
            "Can the {} of a rented flat be painted in another colour?",
            "Am I allowed to paint the {} of a rented flat in another colour?",
        ),
        ("walls", "doors", "windows", "floors"),
    ),
    (
        (
            "How do I wash a {} made of wool without shrinking it?",
            "What is the way to wash a wool {} so that it does not shrink?",
        ),
        ("sweater", "blanket", "scarf", "jacket"),
    ),
    (
        (
            "Where can I see how many {} our team has left this year?",
            "How can I look up the number of {} left for our team this year?",
        ),
        ("licences", "seats", "credits", "vacancies"),
    ),
    (
        (
            "What happens to my {} if the company that issued them is sold?",
            "If the company that issued my {} is sold, what becomes of them?",
        ),
        ("shares", "options", "bonds", "vouchers"),
    ),
    (
        (
            "How do I connect the {} to the router in the basement?",
            "What do I have to do to connect the {} with the router in the basement?",
        ),
        ("printer", "camera", "doorbell", "television"),
    ),
    (
        (
            "Is the {} on the second floor accessible by wheelchair?",
            "Can I reach the {} on the second floor in a wheelchair?",
        ),
        ("cafe", "reading room", "gallery", "cloakroom"),
    ),
    (
        (
            "How far in advance can {} be booked at the sports centre?",
            "How long in advance can I book {} at the sports centre?",
        ),
        ("courts", "lessons", "lockers", "lanes"),
    ),
    (
        ("Do I need a visa to {} in Canada for three months?", "Is a visa needed to {} in Canada for three months?"),
        ("work", "study", "teach", "travel"),
    ),
    (
        (
            "How do I {} an order that has already been shipped?",
            "Is there a way to {} an order that has already been shipped?",
        ),
        ("cancel", "change", "return", "redirect"),
    ),
    (
        (
            "Why was my application for the {} scheme turned down?",
            "What is the reason that my application for the {} scheme was turned down?",
        ),
        ("housing", "pension", "training", "heating"),
    ),
    (
        (
            "How many {} may one family borrow from the library at a time?",
            "What number of {} can one family borrow from the library at a time?",
        ),
        ("books", "films", "games", "magazines"),
    ),
)

_TURNED: tuple[tuple[str, str], ...] = (
    ("Can I freeze the soup?", "Can't I freeze the soup?"),
    ("Is the pool heated?", "Is the pool unheated?"),
    ("Switch the alarm on", "Switch the alarm off"),
    ("How do I mute a caller?", "How do I unmute a caller?"),
    ("Which shops are open today?", "Which shops are closed today?"),
    ("Do I have to sign the form?", "Do I not have to sign the form?"),
    ("Raise the blinds in the hall", "Lower the blinds in the hall"),
    ("What happens before the inspection?", "What happens after the inspection?"),
    ("Move the files from the server to the laptop", "Move the files from the laptop to the server"),
    ("Does the price include breakfast?", "Does the price exclude breakfast?"),
    ("Who can see the calendar?", "Who cannot see the calendar?"),
    ("Which plants like shade?", "Which plants don't like shade?"),
    ("What is the highest score?", "What is the lowest score?"),
    ("When does the shop open?", "Why does the shop open?"),
    ("How do I join the team?", "How do I leave the team?"),
    ("What is a lease?", "How do I end a lease?"),
    ("Is smoking allowed on the terrace?", "Is smoking forbidden on the terrace?"),
    ("How much does it cost to rent a van?", "How much does it cost to buy a van?"),
    ("Can children swim here?", "Can adults swim here?"),
    ("How do I clean the filter?", "How often do I clean the filter?"),
    ("What is covered by the policy?", "What is not covered by the policy?"),
    ("How do I log in to the portal?", "How do I log out of the portal?"),
    ("Is the bridge safe?", "Is the bridge dangerous?"),
    ("How do I add a member?", "How do I remove a member?"),
    ("What are the opening hours of the pool?", "What are the opening hours of the pool on holidays?"),
    ("How do I delete a photo?", "How do I delete all photos?"),
    ("What does delivery cost?", "What does delivery to islands cost?"),
    ("How do I cancel my lesson?", "How do I cancel my membership?"),
    ("Can I pay by card?", "Can I pay the deposit by card?"),
    ("What is the fine for parking?", "What is the fine for speeding?"),
)

_COURTEOUS = ("Hi, {}", "{} Thanks!", "Please, {}", "Hello there! {}", "{} thank you", "quick question: {}")
_LOOKS = (str.lower, str.upper, lambda text: text.rstrip("?") + "??", lambda text: text.replace("?", ""))


def generated_pairs() -> list[Pair]:
    """Return all pairs, in an order that never changes."""
    return [*_same(), *_siblings(), *_turned()]


def _same() -> Iterator[Pair]:
    for forms, siblings in _SUBJECTS:
        for sibling in siblings:
            texts = [form.format(sibling) for form in forms]
            yield from (Pair("rewording", a, b, same=True) for a, b in combinations(texts, 2))
            for place, text in enumerate(texts):
                yield Pair("courtesy", text, _COURTEOUS[place % len(_COURTEOUS)].format(text), same=True)
                yield Pair("looks", text, _LOOKS[place % len(_LOOKS)](text), same=True)


def _siblings() -> Iterator[Pair]:
    for forms, siblings in _SUBJECTS:
        for one, other in permutations(siblings, 2):
            yield Pair("sibling", forms[0].format(one), forms[0].format(other), same=False)
            yield Pair("sibling", forms[0].format(one), forms[1].format(other), same=False)


def _turned() -> Iterator[Pair]:
    for one, other in _TURNED:
        yield from (Pair("turned", *texts, same=False) for texts in ((one, other), (other, one)))
        yield from (
            Pair("turned", a, courtesy.format(b), same=False)
            for a, b in ((one, other), (other, one))
            for courtesy in _COURTEOUS[:2]
        )
