"""Runs of inked text, and their lines at a width in terminal cells.

Lines break at white space, between East Asian characters (but not before closing punctuation),
and, where a word is wider than the line, between grapheme clusters. Breaking is greedy: lines
before the last depend only on the text before them, so that text can be added at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len, split_graphemes

_WIDE = (
    "\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\uac00-\ud7a3"
    "\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\U00020000-\U0003fffd"
)
_OPENING = "（［｛「『【《〈〔｟"
_CLOSING = "、。，．・：；？！）］｝」』】》〉〕｠ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々…‥"
# What may not be broken: white space, an East Asian character with its punctuation, a word.
_UNIT = re.compile(
    rf"\s+|[{_OPENING}]*[{_WIDE}][\u0300-\u036f\u3099\u309a\ufe00-\ufe0f{_CLOSING}]*"
    rf"|[^\s{_WIDE}]+"
)


class Run(NamedTuple):
    """Text of one ink. `at` is where it stands in the block's source, -1 where it does not."""

    text: str
    ink: int
    at: int = -1
    url: str = ""


class Line:
    """One line on the screen. Compared by identity, so that it can be a key of caches.

    soft: it continues the line before, of which it is only the overflow.
    lead: characters at its start that are layout: indents, bullets, bars.
    fill: the ink of the cells after its text.
    """

    __slots__ = ("fill", "lead", "runs", "soft")

    def __init__(
        self, runs: tuple[Run, ...], *, soft: bool = False, lead: int = 0, fill: int = 0
    ) -> None:
        self.runs = runs
        self.soft = soft
        self.lead = lead
        self.fill = fill

    def same(self, other: Line) -> bool:
        """Whether both look the same."""
        return self.runs == other.runs and self.soft == other.soft and self.fill == other.fill

    @property
    def text(self) -> str:
        """What is seen."""
        return "".join([run.text for run in self.runs])

    @property
    def is_label(self) -> bool:
        """Whether it names the code below it, and is no part of that."""
        return self.fill != 0 and len(self.text.rstrip()) > 0 and self.lead >= len(self.text)

    def column(self, character: int) -> int:
        """The cell at which a character begins."""
        return cell_len(self.text[:character])

    def url(self, column: int) -> str:
        """Where the link at a cell leads, "" where there is none."""
        for run in self.runs:
            width = cell_len(run.text)
            if 0 <= column < width:
                return run.url
            column -= width
        return ""


def fold(text: str, width: int) -> list[tuple[int, int]]:
    """Spans of `text` that fill lines of `width` cells, broken anywhere between graphemes."""
    width = max(width, 2)
    if text.isascii():
        return [(i, min(i + width, len(text))) for i in range(0, len(text), width)] or [(0, 0)]
    spans: list[tuple[int, int]] = []
    start = cells = 0
    for first, _, size in split_graphemes(text)[0]:
        if cells + size > width:
            spans.append((start, first))
            start, cells = first, 0
        cells += size
    return [*spans, (start, len(text))]


def _break_ascii(text: str, start: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    while end - start > width:
        cut = text.rfind(" ", start, start + width + 1)
        if cut <= start or not text[start:cut].strip(" "):
            yield start, start + width
            start += width
            continue
        yield start, start + len(text[start:cut].rstrip(" "))
        while cut < end and text[cut] == " ":
            cut += 1
        start = cut
    yield start, end


def _break_any(text: str, start: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    cells = 0  # of the line so far
    stop = start  # its end without trailing white space
    for match in _UNIT.finditer(text, start, end):
        unit, first = match.group(), match.start()
        size = cell_len(unit)
        if unit.isspace():
            cells += size
            continue
        if cells + size > width and stop > start:
            yield start, stop
            start, cells = first, 0
        if cells + size > width:
            *full, (rest, _) = fold(text[start : match.end()], width)
            for a, b in full:
                yield start + a, start + b
            start += rest
            cells, stop = cell_len(text[start : match.end()]), match.end()
            continue
        cells += size
        stop = match.end()
    yield start, end


def break_lines(text: str, width: int) -> Iterator[tuple[int, int, bool]]:
    """Spans of the lines of `text`, and whether each is the overflow of the one before."""
    width = max(width, 2)
    breaker = _break_ascii if text.isascii() else _break_any
    start = 0
    while True:
        end = text.find("\n", start)
        soft = False
        for first, last in breaker(text, start, len(text) if end < 0 else end, width):
            yield first, last, soft
            soft = True
        if end < 0:
            return
        start = end + 1


def slice_runs(runs: Sequence[Run], spans: Sequence[tuple[int, int]]) -> list[tuple[Run, ...]]:
    """The runs of each span (ascending) of the runs' joined text."""
    lines: list[tuple[Run, ...]] = []
    index = base = 0  # runs[index] begins at `base` of the joined text
    for start, end in spans:
        while index < len(runs) and base + len(runs[index].text) <= start:
            base += len(runs[index].text)
            index += 1
        line: list[Run] = []
        here, at = index, base
        while here < len(runs) and at < end:
            run = runs[here]
            a, b = max(start - at, 0), min(end - at, len(run.text))
            if b - a == len(run.text):
                line.append(run)
            elif b > a:
                line.append(Run(run.text[a:b], run.ink, run.at + a if run.at >= 0 else -1, run.url))
            at += len(run.text)
            here += 1
        lines.append(tuple(line))
    return lines


def wrap(runs: Sequence[Run], width: int) -> list[tuple[tuple[Run, ...], bool]]:
    """Lines of `runs`, each with whether it is the overflow of the one before."""
    spans = list(break_lines("".join([run.text for run in runs]), width))
    sliced = slice_runs(runs, [(start, end) for start, end, _ in spans])
    return [(line, soft) for line, (_, _, soft) in zip(sliced, spans, strict=True)]


def verbatim(text: str, at: int, ink: int) -> list[Run]:
    """Runs of text as it is, but for tabs."""
    if "\t" not in text:
        return [Run(text, ink, at)] if text else []
    runs = []
    for index, part in enumerate(text.split("\t")):
        if index:
            runs.append(Run("    ", ink, at - 1))
        if part:
            runs.append(Run(part, ink, at))
        at += len(part) + 1
    return runs


def cells(runs: Sequence[Run]) -> int:
    """The width of `runs` in terminal cells."""
    return sum([cell_len(run.text) for run in runs])
