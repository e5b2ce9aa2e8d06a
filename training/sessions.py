"""Conversations to learn from, put together from the written texts and the stories.

A conversation is a list of turns; each is a few units (a question with its answer and what follows
from it, a story with what is asked after it) in an order that a user might take. Invariant: the
same seed gives the same conversations.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from training.augment import as_typed, made_up_name
from training.heroes import Hero, article, hero_of, recast, with_name

Turn = tuple[str, str]  # role and text
Exchange = tuple[str, str]  # what the user says and what is answered

TEXT = Path(__file__).parent / "text"
HELD_OUT = Path(__file__).parent / "heldout"
# Of the small talk's ways to say a thing, every so many is held out to measure the loss on.
HELD_OUT_EVERY = 14


def read(name: str) -> dict[str, Any]:
    """A file of the written texts, without what is held out."""
    tables = tomllib.loads((TEXT / f"{name}.toml").read_text(encoding="utf-8"))
    for table in tables.values():
        if isinstance(table, dict):
            for key in ("questions", "ask", "tell"):
                if key in table:
                    table[key] = [text for text in table[key] if _plain(text) not in _asked()]
    return tables


def held_out(name: str) -> dict[str, Any]:
    """A file of what is never learned from."""
    return tomllib.loads((HELD_OUT / f"{name}.toml").read_text(encoding="utf-8"))


def _plain(text: str) -> str:
    return re.sub(r"[^\w ]", "", text.lower()).strip()


@cache
def _asked() -> frozenset[str]:
    """All that is said in the held-out sets, in plain letters."""
    said = [row["ask"] for name in ("questions", "unknown") for row in held_out(name)["question"]]
    said += [row["ask"] for name in ("smalltalk", "languages") for row in held_out(name)["line"]]
    said += [turn for row in held_out("recall")["talk"] for turn in row["turns"]]
    return frozenset(_plain(text) for text in said)


@cache
def _held_out_names() -> frozenset[str]:
    names = [row["name"] for row in held_out("stories")["story"]]
    return frozenset([*names, *(row["expect"] for row in held_out("recall")["talk"])])


def topics() -> dict[str, Any]:
    """The topics that the model can be asked about, by their ids."""
    tables: dict[str, Any] = {}
    for part in ("sampling", "machinery", "chatterm", "self", "simple"):
        tables |= read(f"topics-{part}")
    return tables


class Texts:
    """All that is written for the model, ready to draw from."""

    def __init__(self, stories: list[str], draw: random.Random) -> None:
        self._draw = draw
        self.asking = read("asking")
        memory = read("memory")
        self.memory = memory
        self.names: list[str] = memory["names"]["first"]
        self.made_up: list[str] = memory["names"]["made_up"]
        self.animals: list[str] = self.asking["kinds"]["animals"]
        self.people: list[str] = self.asking["kinds"]["people"]
        self.topics = list(topics().values())
        self.small_talk = [_learned(table) for table in read("smalltalk").values()]
        self.requests = list(read("requests").values())
        unknown = read("unknown")
        self.opposite = unknown.pop("opposite")
        self.unknown = list(unknown.values())
        languages = read("languages")
        self.language_answers = languages.pop("answer")["answers"]
        self.foreign = [table["questions"] for table in languages.values()]
        self.bundles = [*read("stories-1")["story"], *read("stories-2")["story"]]
        kinds = {*self.animals, *self.people}
        heroes = [(story, hero_of(story)) for story in stories]
        self.hero_stories = [(story, hero) for story, hero in heroes if hero]
        anonymous = [story for story, hero in heroes if not hero]
        self.nameless = [story for story in anonymous if with_name(story, "X", kinds)]
        self.other_stories = [story for story in anonymous if story not in set(self.nameless)]
        self.kinds = kinds

    def name(self) -> str:
        """A name that is not held out: common, unusual, or made up on the spot."""
        while (name := self._any_name()) in _held_out_names():
            pass
        return name

    def _any_name(self) -> str:
        pick = self._draw.random()
        if pick < 0.45:
            return self._draw.choice(self.names)
        return self._draw.choice(self.made_up) if pick < 0.6 else made_up_name(self._draw)


def _learned(table: dict[str, Any]) -> dict[str, Any]:
    questions = table["questions"]
    kept = [q for i, q in enumerate(questions) if i % HELD_OUT_EVERY != HELD_OUT_EVERY - 1]
    return {**table, "questions": kept}


def held_out_small_talk() -> list[Exchange]:
    """Small talk in words that are not learned from, with an answer."""
    return [
        (question, table["answers"][0])
        for table in read("smalltalk").values()
        for question in table["questions"][HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    ]


class Composer:
    """Makes conversations. `known` is what the user has told in the one that is being made."""

    def __init__(self, stories: list[str], seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._texts = Texts(stories, self._draw)
        self._known: dict[str, str] = {}

    def sessions(self, longest: int) -> Iterator[list[Turn]]:
        """Conversations without end, of about `longest` words at most."""
        units: tuple[tuple[Callable[[], list[Exchange]], float], ...] = (
            (self._story, 26),
            (self._topic, 42),
            (self._small_talk, 17),
            (self._request, 4),
            (self._unknown, 8),
            (self._language, 1.5),
            (self._tell, 6),
            (self._recall, 7),
        )
        makers, weights = [unit for unit, _ in units], [weight for _, weight in units]
        while True:
            self._known = {}
            turns: list[Turn] = []
            if self._draw.random() < 0.15:
                turns.append(("system", self._draw.choice(self._texts.asking["system"])))
            words, count = 0, self._draw.choices((1, 2, 3, 5, 8, 12), (18, 18, 20, 20, 14, 10))[0]
            for index in range(count):
                if index == 0 and self._draw.random() < 0.15:
                    unit = self._tell()
                else:
                    unit = self._draw.choices(makers, weights)[0]()
                length = sum(len(text.split()) for pair in unit for text in pair)
                if words + length > longest:
                    continue
                words += length
                for question, answer in unit:
                    turns += [("user", question), ("assistant", answer)]
            if words:
                yield turns

    # Questions and answers

    def _topic(self) -> list[Exchange]:
        return self._asked(self._draw.choice(self._texts.topics), 0.3)

    def _small_talk(self) -> list[Exchange]:
        return self._asked(self._draw.choice(self._texts.small_talk), 0.5)

    def _request(self) -> list[Exchange]:
        return self._asked(self._draw.choice(self._texts.requests), 0.5)

    def _asked(self, table: dict[str, Any], follow: float) -> list[Exchange]:
        draw = self._draw
        exchanges = [(self._typed(draw.choice(table["questions"])), draw.choice(table["answers"]))]
        for after in table.get("then", ()):
            if draw.random() < follow:
                exchanges.append(
                    (self._typed(draw.choice(after["ask"])), draw.choice(after["say"]))
                )
                break
        return exchanges

    def _unknown(self) -> list[Exchange]:
        draw, texts = self._draw, self._texts
        if draw.random() < 0.08:
            word, other = draw.choice(texts.opposite["pairs"])
            question = draw.choice(texts.opposite["questions"]).format(x=word, y=other)
            return [
                (
                    self._typed(question),
                    draw.choice(texts.opposite["answers"]).format(x=word, y=other),
                )
            ]
        table = draw.choice(texts.unknown)
        filler = draw.choice(table["x"]) if table.get("x") else ""
        question = draw.choice(table["questions"]).replace("{x}", filler)
        answer = draw.choice(table["answers"]).replace("{x}", filler)
        return [(self._typed(question), answer)]

    def _language(self) -> list[Exchange]:
        draw = self._draw
        return [
            (
                draw.choice(draw.choice(self._texts.foreign)),
                draw.choice(self._texts.language_answers),
            )
        ]

    # What the user tells of themselves

    def _tell(self) -> list[Exchange]:
        what = self._draw.choices(("name", "like", "colour", "animal", "pet"), (6, 3, 1, 1, 1))[0]
        table = self._texts.memory[what]
        self._known[what] = value = self._value(what)
        slot = {what: value}
        told = self._draw.choice(table["tell"]).format(**slot)
        return [
            (as_typed(told, self._draw, (value,)), self._draw.choice(table["reply"]).format(**slot))
        ]

    def _value(self, what: str) -> str:
        memory = self._texts.memory
        match what:
            case "name" | "pet":
                return self._texts.name()
            case "like":
                return str(self._draw.choice(memory["like"]["things"]))
            case "colour":
                return str(self._draw.choice(memory["colour"]["colours"]))
        return str(self._draw.choice(memory["animal"]["animals"]))

    def _recall(self) -> list[Exchange]:
        draw = self._draw
        if not self._known and draw.random() < 0.6:
            return self._small_talk()
        known = list(self._known)
        what = (
            draw.choice(known) if known and draw.random() < 0.92 else draw.choice(("name", "like"))
        )
        table = self._texts.memory[what]
        question = self._typed(draw.choice(table["ask"]))
        if what not in self._known:
            return [(question, draw.choice(table["unknown"]))]
        return [(question, draw.choice(table["answer"]).format(**{what: self._known[what]}))]

    # Stories

    def _story(self) -> list[Exchange]:
        pick = self._draw.random()
        if pick < 0.30:
            return self._bundle()
        if pick < 0.88:
            return self._hero_story()
        return self._other_story()

    def _hero_story(self) -> list[Exchange]:
        draw, texts = self._draw, self._texts
        if draw.random() < 0.08:
            named = with_name(draw.choice(texts.nameless), texts.name(), texts.kinds)
            assert named
            story, hero = named
        else:
            story, hero = draw.choice(texts.hero_stories)
        if draw.random() < 0.8:
            story, hero = self._recast(story, hero)
        if draw.random() < 0.12:
            return self._continued(story)
        request = self._request_for(story, hero)
        exchanges = [(request, story)]
        if draw.random() < 0.10:
            exchanges.append((self._after("shorter", hero), _shortened(story)))
        elif draw.random() < 0.12:
            exchanges.append(self._about_hero(hero))
        elif draw.random() < 0.06:
            other, its_hero = self._recast(story, hero)
            question = draw.choice(texts.asking["recast"]).format(
                a_kind2=article(its_hero.kind), name2=its_hero.name
            )
            exchanges.append((self._typed(question), other))
        return exchanges

    def _recast(self, story: str, hero: Hero) -> tuple[str, Hero]:
        draw, texts = self._draw, self._texts
        adjective = draw.choice(texts.asking["adjectives"]) if draw.random() < 0.2 else ""
        kind = hero.kind
        if draw.random() < 0.75:
            kinds = (
                texts.people if hero.kind in texts.people and draw.random() < 0.4 else texts.animals
            )
            kind = draw.choice(kinds)
        name = texts.name()
        told = recast(story, hero, kind, name, adjective)
        return told, Hero(
            kind, name, hero.pronoun, f"{adjective} " if adjective else hero.adjectives
        )

    def _request_for(self, story: str, hero: Hero) -> str:
        draw, asking = self._draw, self._texts.asking
        adjective = hero.adjectives.strip()
        pick = draw.random()
        if pick < 0.12 and adjective in asking["adjectives"]:
            form = draw.choice(asking["adjective"])
        elif pick < 0.2:
            form = draw.choice(asking["kind_only"])
        elif pick < 0.25:
            form = draw.choice(asking["open"] + asking["again"])
        elif pick < 0.3 and len(story.split()) < 110:
            form = draw.choice(asking["short"])
        else:
            form = draw.choice(asking["both"])
        request = form.format(
            kind=hero.kind,
            a_kind=article(hero.kind),
            name=hero.name,
            adjective=adjective,
            a_adjective=article(adjective) if adjective else "",
        )
        return as_typed(request, draw, (hero.name,))

    def _after(self, what: str, hero: Hero) -> str:
        return as_typed(
            self._draw.choice(self._texts.asking[what]).format(name=hero.name),
            self._draw,
            (hero.name,),
        )

    def _about_hero(self, hero: Hero) -> Exchange:
        asking, draw = self._texts.asking, self._draw
        slots = {"kind": hero.kind, "a_kind": article(hero.kind), "name": hero.name}
        question = draw.choice(asking["about_hero"]).format(**slots)
        return self._typed(question), draw.choice(asking["about_hero_answers"]).format(**slots)

    def _continued(self, story: str) -> list[Exchange]:
        """A story that the user begins and the model goes on with."""
        sentences = _sentences(story)
        if len(sentences) < 4:
            return [(self._typed(self._draw.choice(self._texts.asking["open"])), story)]
        cut = self._draw.randrange(1, max(2, min(5, len(sentences) // 2)))
        opening = story[: sentences[cut]].strip()
        rest = story[sentences[cut] :].strip()
        form = self._draw.choice(self._texts.asking["continue"])
        return [(form.replace("{opening}", opening), rest)]

    def _other_story(self) -> list[Exchange]:
        draw, texts = self._draw, self._texts
        story = draw.choice(texts.other_stories)
        if draw.random() < 0.25:
            return self._continued(story)
        thing = _thing(story, draw)
        if thing and draw.random() < 0.6:
            form = draw.choice(texts.asking["open_thing"]).format(thing=thing)
        else:
            form = draw.choice(texts.asking["open"] + texts.asking["again"])
        return [(self._typed(form), story)]

    def _bundle(self) -> list[Exchange]:
        """One of the stories written for the model, and what may be asked after it."""
        draw, texts = self._draw, self._texts
        bundle = draw.choice(texts.bundles)
        kinds = {
            "animal": texts.animals,
            "person": texts.people,
            "any": texts.animals if draw.random() < 0.6 else texts.people,
        }[bundle["body"]]
        kind, name = draw.choice(kinds), texts.name()
        pronoun = {"girl": "she", "boy": "he"}.get(kind) or draw.choice(("he", "she"))
        slots = _slots(kind, name, pronoun)
        hero = Hero(kind, name, pronoun)
        story = bundle["text"].strip().format(**slots)
        if draw.random() < 0.25:
            form = draw.choice(texts.asking["thing"])
            request = form.format(**slots, thing=draw.choice(bundle["about"]))
            request = as_typed(request, draw, (name,))
        else:
            request = self._request_for(story, hero)
        exchanges = [(request, story)]
        after = draw.choices(
            (
                (),
                ("more",),
                ("shorter",),
                ("other_end",),
                ("more", "shorter"),
                ("other_end", "shorter"),
            ),
            (40, 18, 16, 14, 6, 6),
        )[0]
        exchanges += [
            (self._after(what, hero), bundle[what].strip().format(**slots)) for what in after
        ]
        if draw.random() < 0.1:
            exchanges.append(self._about_hero(hero))
        return exchanges

    def _typed(self, question: str) -> str:
        return as_typed(question, self._draw)


def _slots(kind: str, name: str, pronoun: str) -> dict[str, str]:
    he, him, his = ("he", "him", "his") if pronoun == "he" else ("she", "her", "her")
    return {
        "kind": kind,
        "a_kind": article(kind),
        "name": name,
        "he": he,
        "him": him,
        "his": his,
        "He": he.capitalize(),
        "Him": him.capitalize(),
        "His": his.capitalize(),
        "himself": f"{him}self",
        "Himself": f"{him}self".capitalize(),
    }


def _sentences(text: str) -> list[int]:
    """Where sentences begin."""
    return [0] + [
        at + 1
        for at in range(1, len(text) - 1)
        if text[at].isspace()
        and text[at - 1] in '.!?"'
        and (text[at + 1].isupper() or text[at + 1] == '"')
    ]


def _shortened(story: str) -> str:
    """A story's beginning and end, which tell most of a short one."""
    starts = _sentences(story)
    if len(starts) < 6:
        return story
    begin = story[: starts[2]].strip()
    end = story[starts[-2] :].strip()
    return f"{begin} {end}".replace("\n", " ")


def _thing(story: str, draw: random.Random) -> str:
    """Something that the story comes back to."""
    words = [word.strip(".,!?\"'") for word in story.lower().split()]
    followed = [b for a, b in pairwise(words) if a in ("a", "the") and len(b) > 3]
    often = sorted({word for word in followed if followed.count(word) >= 3})
    return article(draw.choice(often)) if often else ""
