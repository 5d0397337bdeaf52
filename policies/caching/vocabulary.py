"""The words that the comparison of short English questions knows: from the rules of English, fitted to no data."""

from __future__ import annotations


def in_order(text: str) -> tuple[str, ...]:
    """Return the words of a text, with blanks between."""
    return tuple(text.split())


def listed(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


FILLERS = listed(
    "a an the hi hello hey actually um uh ok okay well there i me my mine we us our you your yours it its this that "
    "these those is are am was were be been being do does did doing done can could would will shall may might what "
    "which how to of for in at on and or with by as from"
)
"""Words that change no answer: articles, greetings, the persons who talk, auxiliary verbs, and what ROLES has."""
ROLES = listed("to from in on at off with without by for of into onto than before after over under as")
"""Words that are no content but say which part another word plays."""
NEGATIONS = listed("not no never none nothing nobody neither nor without except unless excluding stop avoid")
MEASURES = listed("much many long often far old big large tall late early soon fast heavy")
"""What is asked for by "how much", "how many" and so on."""
_SMALL = in_order(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = in_order("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = in_order("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")
NUMBERS = (
    {word: str(value) for value, word in enumerate(_SMALL)}
    | {word: str(10 * value) for value, word in enumerate(_TENS, 2)}
    | {word: str(value) for value, word in enumerate(_ORDINALS, 1)}
    | {
        "once": "1",
        "twice": "2",
        "half": "0.5",
        "dozen": "12",
        "hundred": "100",
        "thousand": "1000",
        "million": "1000000",
    }
)
QUESTIONS = {word: word for word in ("why", "when", "where", "who", "whose")} | {"whom": "who"}
ASKED = (
    dict.fromkeys(("time", "times", "hours", "date", "deadline"), "when")
    | dict.fromkeys(("price", "prices", "cost", "costs", "fee", "fees"), "how much")
    | dict.fromkeys(("address", "location"), "where")
    | dict.fromkeys(("reason", "cause"), "why")
)
"""Nouns that ask as a question word does: "what is the price" is "how much"."""
SIGNS = {"$": " dollar ", "€": " euro ", "£": " pound ", "¥": " yen ", "%": " percent ", "°": " degree "}
DATES = listed(
    "monday mon tuesday tue tues wednesday wed thursday thu thur thurs friday fri saturday sat sunday sun weekday "
    "weekdays weekend weekends january jan february feb march april apr june jun july jul august aug september "
    "sep sept october oct november nov december dec today tonight tomorrow yesterday morning noon afternoon "
    "evening night midnight now next last previous current week month year quarter day daily weekly monthly "
    "yearly annual annually hourly spring summer autumn winter christmas easter thanksgiving"
)
UNITS = listed(
    "usd eur gbp dollar euro pound yen rupee franc cent penny percent km kilometre kilometer mile metre meter cm "
    "mm inch foot feet yard kg kilogram gram ounce oz lb ton litre liter ml gallon pint degree celsius fahrenheit "
    "second minute hour kb mb gb tb byte"
)
_OPPOSITES = (
    "on off|in out|up down|open close|start stop|begin end|start end|enable disable|increase decrease|"
    "raise lower|increase reduce|add remove|add delete|create delete|buy sell|deposit withdraw|"
    "send receive|lend borrow|before after|with without|more less|more fewer|most least|maximum minimum|"
    "max min|first last|oldest newest|old new|cheap expensive|cheapest dearest|big small|large small|"
    "high low|higher lower|highest lowest|fast slow|hot cold|warm cold|allow ban|allow forbid|"
    "allow prohibit|allowed banned|allowed forbidden|accept reject|accept decline|approve reject|"
    "approve claim|include exclude|import export|push pull|login logout|upgrade downgrade|arrive depart|"
    "arrival departure|inbound outbound|incoming outgoing|domestic international|local international|"
    "internal external|public private|early late|earliest latest|win lose|pass fail|above below|"
    "over under|left right|north south|east west|male female|man woman|boy girl|mother father|"
    "husband wife|true false|always never|join leave|show hide|credit debit|income expense|profit loss|"
    "indoor outdoor|inside outside|adult child|adults children|safe dangerous|temporary permanent|"
    "major minor|front back|top bottom|long short|hard soft|wet dry|many few|pause resume|"
    "encrypt decrypt|upload download|attach detach|compress extract|hire fire|activate cancel|"
    "subscribe cancel|renew cancel|book cancel|keep cancel|light dark|black white|full empty|full part|"
    "sender recipient|buyer seller|employer employee|landlord tenant|student teacher|question answer|"
    "cause prevent|gain lose|save spend|to from|into from|breakfast dinner|lunch dinner|breakfast lunch|"
    "single double|single return|online offline|manual automatic|read write|encode decode|"
    "ascending descending|horizontal vertical|positive negative|same different"
)
OPPOSITES = frozenset(frozenset(pair.split()) for pair in _OPPOSITES.split("|"))
PREFIXES = ("un", "in", "im", "ir", "il", "non", "dis", "de", "mis", "anti")
"""What turns a word into its opposite, as a rule."""
