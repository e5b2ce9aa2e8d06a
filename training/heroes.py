"""Who a story is about, and the same story with another hero.

Invariant: a recast story says nothing of the hero it had, as far as its words can tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LEAD = r"\b(?P<article>a|an) (?P<adjectives>(?:[a-z-]+,? (?:and )?){0,3}?)"
_INTRODUCED = re.compile(
    _LEAD + r"(?P<kind>(?:teddy |polar |guinea )?[a-z]+)"
    r",? (?:named|called|whose name was|who was called) (?P<name>[A-Z][a-z]+)\b"
)
_OPENING = 170  # characters, in which a hero has to come up


@dataclass(frozen=True)
class Hero:
    """The one whom a story is about. `pronoun` is he, she or it; `adjectives` end with a space."""

    kind: str
    name: str
    pronoun: str
    adjectives: str = ""


def hero_of(story: str) -> Hero | None:
    """The hero who is introduced by kind and name at the beginning and still there at the end."""
    found = _INTRODUCED.search(story[:_OPENING])
    if not found:
        return None
    name = found["name"]
    if not re.search(rf"\b{name}\b", story[2 * len(story) // 3 :]):
        return None
    return Hero(found["kind"], name, _pronoun(story), found["adjectives"])


def with_name(story: str, name: str, kinds: set[str]) -> tuple[str, Hero] | None:
    """A story of a hero without a name, "a lion who …", told with one; None where it has none."""
    found = re.search(
        r"[Tt]here (?:was|lived) " + _LEAD + r"(?P<kind>[a-z]+)\b(?! (?:named|called))",
        story[:_OPENING],
    )
    if not found or found["kind"] not in kinds:
        return None
    kind = found["kind"]
    rest = story[found.end() :]
    mentions = list(re.finditer(rf"\b[Tt]he (?:little )?{kind}\b(?!'s? (?:named|called))", rest))
    if len(mentions) < 3 or mentions[-1].start() < len(rest) * 2 // 3:
        return None
    for index, mention in reversed(list(enumerate(mentions))):
        if (len(mentions) - 1 - index) % 2 == 0:
            rest = rest[: mention.start()] + name + rest[mention.end() :]
    told = f"{story[: found.end()]} named {name}{rest}"
    return told, Hero(kind, name, _pronoun(told), found["adjectives"])


def recast(story: str, hero: Hero, kind: str, name: str, adjective: str = "") -> str:
    """The story with a hero of another kind and name, and `adjective` in place of its own."""
    story = re.sub(rf"\b{hero.name}\b", name, story)
    adjectives = f"{adjective} " if adjective else hero.adjectives
    pattern = rf"\b(?:a|an) {re.escape(hero.adjectives)}{hero.kind}(?= |,)"
    story = re.sub(pattern, article(f"{adjectives}{kind}"), story, count=1)
    if kind != hero.kind:
        story = re.sub(rf"\b([Aa])n? {hero.kind}\b", lambda at: _like(at[1], article(kind)), story)
        for old, new in ((hero.kind, kind), (_plural(hero.kind), _plural(kind))):
            story = re.sub(rf"\b{old}\b", new, story)
            story = re.sub(rf"\b{old.capitalize()}\b", new.capitalize(), story)
    return story


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' and not words.startswith('uni') else 'a'} {words}"


def _like(first: str, words: str) -> str:
    return words[0].upper() + words[1:] if first.isupper() else words


def _plural(kind: str) -> str:
    return kind + ("es" if kind.endswith(("s", "x", "ch", "sh")) else "s")


def _pronoun(story: str) -> str:
    counts = {
        "he": len(re.findall(r"\b(?:he|his|him)\b", story, re.I)),
        "she": len(re.findall(r"\b(?:she|her)\b", story, re.I)),
        "it": len(re.findall(r"\b(?:it|its)\b", story, re.I)) // 2,
    }
    return max(counts, key=lambda pronoun: counts[pronoun])
