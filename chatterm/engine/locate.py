"""Which characters of a chat template's rendering are whose words.

A template may trim, move, repeat or drop what it is given. So it renders twice, the second time
with marks around each message's words, and only where the two agree are the places certain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from chatterm.engine.prefix import common_prefix, common_suffix
from chatterm.engine.renderer import Renderer, TemplateFailedError, Turn
from chatterm.engine.splice import Span

# Two characters for private use for each message.
_FIRST_MARK = 0xF0000


class Place(NamedTuple):
    """Where a message's words stand in a rendering.

    They begin with the character `offset` of the message. `certain`: these, and no others, are its
    words; else they were looked for, or the template left out a part of them.
    """

    start: int
    end: int
    offset: int
    certain: bool


class Rendering(msgspec.Struct, frozen=True):
    """A template's text, and where in it the words of each turn stand, if they do."""

    text: str
    places: tuple[Place | None, ...]


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
    unmarked, marks = _unmarked(marked, len(turns))
    if unmarked != text:
        return Rendering(text, _searched(text, turns))
    places = (
        _between(text, turn.text, *marks[2 * index : 2 * index + 2])
        for index, turn in enumerate(turns)
    )
    return Rendering(text, tuple(places))


def _marked(turn: Turn, index: int) -> Turn:
    start, end = words(turn.text)
    opened, closed = chr(_FIRST_MARK + 2 * index), chr(_FIRST_MARK + 2 * index + 1)
    text = turn.text
    return Turn(turn.role, f"{text[:start]}{opened}{text[start:end]}{closed}{text[end:]}")


def _unmarked(marked: str, count: int) -> tuple[str, list[list[int]]]:
    """The text without the marks, and for each of them where it stood."""
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
    return "".join(kept), positions


def _between(text: str, said: str, opened: list[int], closed: list[int]) -> Place | None:
    """The place of a message's words by their two marks, or of those beside the only one."""
    start, end = words(said)
    match opened, closed:
        case [first], [last] if first <= last:
            return Place(first, last, start, certain=True)
        case [first], [] if length := common_prefix(text[first:], said[start:end]):
            return Place(first, first + length, start, certain=False)
        case [], [last] if length := common_suffix(text[:last], said[:end]):
            return Place(last - length, last, end - length, certain=False)
    return None


def _searched(text: str, turns: Sequence[Turn]) -> tuple[Place | None, ...]:
    """The first place of each turn's words after the turn before."""
    places: list[Place | None] = []
    at = 0
    for turn in turns:
        core, offset = turn.text.strip(), words(turn.text).start
        found = text.find(core, at)
        if found < 0:
            places.append(None)
        else:
            at = found + len(core)
            places.append(Place(found, at, offset, certain=False))
    return tuple(places)
