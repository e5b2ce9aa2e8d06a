"""Which characters of a chat template's rendering are whose words.

A template may trim, move, repeat or drop what it is given. So it renders twice, the second time
with marks around each message's words, and only where the two agree are the places certain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from chatterm.engine.renderer import Renderer, TemplateFailedError, Turn
from chatterm.engine.splice import Span

# Two characters for private use for each message.
_FIRST_MARK = 0xF0000


class Rendering(msgspec.Struct, frozen=True):
    """A template's text, and where in it the words of each turn stand, if they do.

    `exact`: the places are certain. Else they were looked for.
    """

    text: str
    places: tuple[Span | None, ...]
    exact: bool


def words(text: str, offset: int = 0) -> Span:
    """Where the words of a message stand in its text, without the white space around them.

    Templates may trim that; of a message of nothing else, the place is its beginning.
    """
    core = text.strip()
    start = offset + text.find(core)
    return Span(start, start + len(core))


def locate(renderer: Renderer, turns: Sequence[Turn]) -> Rendering:
    """Render, and find where the words of each turn stand."""
    text = renderer.render(turns)
    try:
        marked = renderer.render([_marked(turn, index) for index, turn in enumerate(turns)])
    except TemplateFailedError:
        marked = ""
    places = _unmarked(marked, len(turns))
    if places[0] == text:
        return Rendering(text, places[1], exact=True)
    return Rendering(text, _searched(text, turns), exact=False)


def _marked(turn: Turn, index: int) -> Turn:
    start, end = words(turn.text)
    opened, closed = chr(_FIRST_MARK + 2 * index), chr(_FIRST_MARK + 2 * index + 1)
    text = turn.text
    return Turn(turn.role, f"{text[:start]}{opened}{text[start:end]}{closed}{text[end:]}")


def _unmarked(marked: str, count: int) -> tuple[str, tuple[Span | None, ...]]:
    """The text without the marks, and the span of each pair of marks that stands there once."""
    positions: list[list[int]] = [[] for _ in range(2 * count)]
    kept: list[str] = []
    length = 0
    marks = f"([{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + 2 * count - 1)}])"
    for part in re.split(marks, marked):
        if len(part) == 1 and 0 <= ord(part) - _FIRST_MARK < 2 * count:
            positions[ord(part) - _FIRST_MARK].append(length)
        else:
            kept.append(part)
            length += len(part)
    places: list[Span | None] = []
    for index in range(count):
        opened, closed = positions[2 * index], positions[2 * index + 1]
        once = len(opened) == len(closed) == 1 and opened[0] <= closed[0]
        places.append(Span(opened[0], closed[0]) if once else None)
    return "".join(kept), tuple(places)


def _searched(text: str, turns: Sequence[Turn]) -> tuple[Span | None, ...]:
    """The first place of each turn's words after the turn before."""
    places: list[Span | None] = []
    at = 0
    for turn in turns:
        core = turn.text.strip()
        found = text.find(core, at)
        if found < 0:
            places.append(None)
        else:
            at = found + len(core)
            places.append(Span(found, at))
    return tuple(places)
