"""The score card of a model: what it was built to do, on requests that it never learned from.

    python -m training.score [--card FILE] MODEL

Prints the figures, and with --card writes them with every reply as Markdown.
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from chatterm.chat.message import Ending, Message
from chatterm.chat.sampling import Sampling
from chatterm.session import Session
from chatterm.state import ModelOptions
from chatterm.store import Store
from training.sessions import held_out

GREEDY = Sampling(temperature=0.0, max_tokens=120, seed=1)
# llama.cpp's cuts are off where the temperature alone is to be seen.
UNCUT = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
_DECLINES = re.compile(
    r"\b(?:do not|don't|cannot|can't|did not learn|never learn|no facts|not know)\b", re.I
)
_ENGLISH_ONLY = re.compile(r"\benglish\b", re.I)


class Talker:
    """Talks with one model through the real engine, a conversation at a time."""

    def __init__(self, model: Path) -> None:
        self._changed = threading.Condition()
        self._folder = tempfile.TemporaryDirectory()
        log = Path(self._folder.name, "engine.log")
        self.session = Session(Store(None), log, GREEDY)
        self.session.on_change = self._tell
        self.session.load(ModelOptions(path=model))
        self._wait(lambda: self.session.state.loading is None)
        if self.session.state.model is None:
            raise SystemExit(self.session.state.problem)

    def close(self) -> None:
        """End the engine."""
        self.session.close()
        self._folder.cleanup()

    def talk(self, turns: Iterable[str], sampling: Sampling) -> list[Message]:
        """Say these things one after the other in a new conversation; the replies."""
        self.session.new()
        self.session.tune(sampling)
        replies = []
        for turn in turns:
            self.session.send(turn)
            self._wait(lambda: self.session.state.running is None)
            replies.append(self.session.state.tree.path()[-1])
        return replies

    def say(self, text: str, sampling: Sampling = GREEDY) -> Message:
        """The reply to one thing said in a new conversation."""
        return self.talk([text], sampling)[0]

    def surprise(self, reply: Message) -> list[float]:
        """The surprise of each token of a reply, -log2 of its probability before samplers."""
        trace = self.session.trace(reply.id)
        return [-math.log2(max(trace[i].p, 1e-9)) for i in range(len(trace))]

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, done: Callable[[], bool]) -> None:
        with self._changed:
            while not done():
                self._changed.wait(0.5)


class Row:
    """One line of a card: what was said, what came back, and whether that is right."""

    def __init__(self, asked: str, said: str, right: bool | None, note: str = "") -> None:
        self.asked, self.said, self.right, self.note = asked, said, right, note


def right_topic(row: dict[str, Any], reply: str) -> bool:
    """Whether a reply has one of the words that an answer on the question's topic must have."""
    lower = reply.lower()
    return any(word.lower() in lower for word in row["words"])


def questions(talker: Talker) -> list[Row]:
    """Questions on the topics in unseen words, greedy."""
    rows = []
    for row in held_out("questions")["question"]:
        reply = talker.say(row["ask"]).text
        rows.append(Row(row["ask"], reply, right_topic(row, reply), row["topic"]))
    return rows


def is_told(row: dict[str, Any], reply: Message) -> bool:
    """Kind and name in the first sentence, the name in the last third, and an end of its own."""
    first = re.split(r"(?<=[.!?])\s", reply.text, maxsplit=1)[0]
    kind = row["kind"].split()[-1].lower()
    return (
        row["name"] in first
        and kind in first.lower()
        and row["name"] in reply.text[2 * len(reply.text) // 3 :]
        and reply.ending is Ending.EOG
    )


def repeated(text: str) -> float:
    """The part of a text's four-word runs that stood there before."""
    words = re.findall(r"\w+", text.lower())
    runs = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    total = sum(runs.values())
    return (total - len(runs)) / total if total else 0.0


def stories(talker: Talker, count: int = 0) -> tuple[list[Row], float]:
    """Story requests at T 0.7; also the mean part of four-word runs that repeat within a story.

    count: of the requests, evenly taken; 0 is all.
    """
    rows, repeats = [], []
    requests = held_out("stories")["story"]
    requests = requests[:: len(requests) // count] if count else requests
    for index, row in enumerate(requests):
        reply = talker.say(row["ask"], Sampling(temperature=0.7, seed=index, max_tokens=700))
        repeats.append(repeated(reply.text))
        rows.append(Row(row["ask"], reply.text, is_told(row, reply), f"{repeats[-1]:.0%} repeated"))
    return rows, sum(repeats) / len(repeats)


def small_talk(talker: Talker) -> list[Row]:
    """Small talk, to be judged by reading."""
    return [
        Row(row["ask"], talker.say(row["ask"]).text, None) for row in held_out("smalltalk")["line"]
    ]


def recall(talker: Talker) -> list[Row]:
    """Whether what the user told comes back four turns later, greedy."""
    rows = []
    for row in held_out("recall")["talk"]:
        reply = talker.talk(row["turns"], Sampling(temperature=0.0, max_tokens=500))[-1].text
        rows.append(
            Row(
                " / ".join(row["turns"]),
                reply,
                row["expect"].lower() in reply.lower(),
                row["expect"],
            )
        )
    return rows


def unknown(talker: Talker) -> list[Row]:
    """Whether it declines to know the facts of the world, greedy."""
    rows = []
    for row in held_out("unknown")["question"]:
        reply = talker.say(row["ask"]).text
        rows.append(Row(row["ask"], reply, bool(_DECLINES.search(reply))))
    return rows


def languages(talker: Talker) -> list[Row]:
    """Whether it says, in English, that it knows no other language."""
    rows = []
    for row in held_out("languages")["line"]:
        reply = talker.say(row["ask"]).text
        rows.append(Row(row["ask"], reply, bool(_ENGLISH_ONLY.search(reply))))
    return rows


def surprise_ratio(talker: Talker, count: int = 20) -> tuple[float, float]:
    """The mean surprise of a token in bits, at temperature 1.8 and 0.7, nothing cut."""
    means = []
    for temperature in (1.8, 0.7):
        bits: list[float] = []
        for index, row in enumerate(held_out("stories")["story"][:count]):
            sampling = Sampling(temperature=temperature, seed=index, max_tokens=120, **UNCUT)
            bits += talker.surprise(talker.say(row["ask"], sampling))
        means.append(sum(bits) / len(bits))
    return means[0], means[1]


def main() -> None:
    """Score."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model", type=Path)
    options.add_argument("--card", type=Path)
    chosen = options.parse_args()
    talker = Talker(chosen.model)
    try:
        told, repeats = stories(talker)
        parts = {
            "Questions in unseen words, right topic, greedy": questions(talker),
            "Story requests, T 0.7": told,
            "Name or like recalled after four turns, greedy": recall(talker),
            "Facts it cannot know, declined, greedy": unknown(talker),
            "Other languages, greedy": languages(talker),
            "Small talk, greedy": small_talk(talker),
        }
        wild, calm = surprise_ratio(talker)
    finally:
        talker.close()
    figures = [
        f"{title}: {sum(bool(row.right) for row in rows)} of {len(rows)}"
        for title, rows in parts.items()
        if rows[0].right is not None
    ]
    figures.append(f"Four-word runs that repeat within a story: {repeats:.1%}")
    figures.append(
        f"Surprise per token at T 1.8 ÷ 0.7: {wild:.2f} ÷ {calm:.2f} bit = {wild / calm:.1f}"
    )
    print("\n".join(figures))
    if chosen.card:
        chosen.card.write_text(_card(figures, parts), encoding="utf-8")


def _card(figures: list[str], parts: dict[str, list[Row]]) -> str:
    lines = ["# Score card", "", *(f"- {figure}" for figure in figures)]
    for title, rows in parts.items():
        lines += ["", f"## {title}"]
        for row in rows:
            mark = {True: "✓", False: "✗", None: "·"}[row.right]
            note = f" ({row.note})" if row.note else ""
            said = row.said.replace("\n", "\n  > ")
            lines += ["", f"- {mark} **{row.asked}**{note}", f"  > {said}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
