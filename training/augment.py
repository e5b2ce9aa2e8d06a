"""Questions as people type them: other casing, missing marks, slips, small words around them.

Every function takes the random state that it draws from, so that a build is the same for a seed.
"""

from __future__ import annotations

import random

_BEFORE = (
    *(
        "Hey, ",
        "hey ",
        "Hi, ",
        "hi ",
        "Please, ",
        "please ",
        "ok, ",
        "Okay, ",
        "so, ",
        "So ",
        "um, ",
    ),
    *(
        "Well, ",
        "Just wondering: ",
        "Question: ",
        "quick question: ",
        "Now ",
        "And ",
        "Another thing: ",
    ),
    *(
        "I wanted to ask: ",
        "Say, ",
        "tell me: ",
        "by the way, ",
        "One more thing. ",
        "Hm. ",
        "alright, ",
    ),
)
_AFTER = (
    " please",
    ", please",
    " thanks",
    " thx",
    "?",
    "??",
    " :)",
    "...",
    ".",
    " then?",
    ", do you know?",
    " pls",
)
_NEAR = {
    **dict(
        zip("qwertyuiop", ("wa", "qe", "wr", "et", "ry", "tu", "yi", "uo", "ip", "ol"), strict=True)
    ),
    **dict(zip("asdfghjkl", ("sq", "ad", "sf", "dg", "fh", "gj", "hk", "jl", "k"), strict=True)),
    **dict(zip("zxcvbnm", ("x", "zc", "xv", "cb", "vn", "bm", "n"), strict=True)),
}
_SHORT = {
    "you": "u",
    "are": "r",
    "please": "pls",
    "what is": "whats",
    "because": "cuz",
    "your": "ur",
    "do not": "dont",
    "don't": "dont",
    "what's": "whats",
    "it's": "its",
    "I'm": "im",
    "can't": "cant",
}


def as_typed(text: str, draw: random.Random, kept: tuple[str, ...] = ()) -> str:
    """`text` as somebody might type it. The words in `kept` stay as they are: names, say."""
    if draw.random() < 0.14:
        text = _before(draw.choice(_BEFORE), text, kept)
    if draw.random() < 0.10:
        text = text.rstrip(".?!") + draw.choice(_AFTER)
    if draw.random() < 0.08:
        for long, short in _SHORT.items():
            text = text.replace(long, short)
    if draw.random() < 0.22:
        text = text.rstrip(".?!")
    if draw.random() < 0.25:
        text = _lowered(text, kept if draw.random() < 0.5 else ())
    if draw.random() < 0.16:
        text = _slipped(text, draw, kept)
    return text


def _before(words: str, text: str, kept: tuple[str, ...]) -> str:
    if text[0].isupper() and not text.startswith(("I ", "I'", *kept)):
        text = text[0].lower() + text[1:]
    return words + text


def _lowered(text: str, kept: tuple[str, ...]) -> str:
    lowered = text.lower()
    for word in kept:
        lowered = lowered.replace(word.lower(), word)
    return lowered


def _slipped(text: str, draw: random.Random, kept: tuple[str, ...]) -> str:
    """One slip in one of the longer words."""
    words = text.split(" ")
    places = [
        i
        for i, word in enumerate(words)
        if len(word) > 4 and not any(name in word for name in kept)
    ]
    if not places:
        return text
    place = draw.choice(places)
    word = words[place]
    at = draw.randrange(1, len(word) - 1)
    match draw.randrange(4):
        case 0:
            word = word[:at] + word[at + 1 :]
        case 1:
            word = word[:at] + word[at] + word[at:]
        case 2:
            word = word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]
        case _:
            word = word[:at] + draw.choice(_NEAR.get(word[at], word[at])) + word[at + 1 :]
    words[place] = word
    return " ".join(words)


def made_up_name(draw: random.Random) -> str:
    """A name that nobody bears, easy to read."""
    starts = (
        "b",
        "bl",
        "br",
        "c",
        "ch",
        "d",
        "dr",
        "f",
        "fl",
        "g",
        "gl",
        "gr",
        "h",
        "j",
        "k",
        "kr",
        "l",
        "m",
        "n",
    )
    starts += (
        "p",
        "pl",
        "pr",
        "qu",
        "r",
        "s",
        "sh",
        "sk",
        "sl",
        "st",
        "t",
        "th",
        "tr",
        "v",
        "vr",
        "w",
        "x",
        "y",
        "z",
    )
    vowels = ("a", "e", "i", "o", "u", "a", "e", "i", "o", "oo", "ee", "ai", "au", "y", "ia", "io")
    ends = (
        "",
        "",
        "",
        "b",
        "ck",
        "d",
        "g",
        "k",
        "l",
        "ll",
        "m",
        "mp",
        "n",
        "nd",
        "p",
        "r",
        "rk",
        "s",
        "sh",
        "t",
        "th",
    )
    ends += ("x", "zz", "lf", "lt", "nk", "rn", "rt", "v", "z")
    count = draw.choices((1, 2, 3), (2, 6, 2))[0]
    name = "".join(draw.choice(starts) + draw.choice(vowels) for _ in range(count)) + draw.choice(
        ends
    )
    return name.capitalize()
