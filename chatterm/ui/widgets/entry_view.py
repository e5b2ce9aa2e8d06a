"""One entry of the transcript, laid out at a width: its rows, which are made when they are seen.

Rows are counted from the entry's title. Until its block is laid out a row is an estimate, so
heights change while the reader scrolls; a row's `place` does not: it names the same line of the
same block for as long as that exists, and places are in the order of the rows.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Literal, NamedTuple

import msgspec

from chatterm.chat.message import Role
from chatterm.ui.markdown import ink
from chatterm.ui.markdown.blocks import Block, BlockParser, Kind, PlainParser
from chatterm.ui.markdown.layout import Laid, layout
from chatterm.ui.markdown.wrap import Line, Run, cells, wrap

_PLACE = 24  # bits of a place for the line within its block
_FOOT = 1 << 48  # places of what stands below the text
_LABELS = 4  # changes of settings that are named below a reply
_BLANK = Line(())


class Mark(NamedTuple):
    """A sampling setting changed at character `offset` of the entry's text; `label` says which."""

    offset: int
    label: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the transcript shows it. All text is cleaned.

    key: the message's. title, badge, note: of the line above the text. open: still being written.
    plain: shown as it was typed, not as Markdown.
    """

    key: int
    role: Role | Literal["notice"]
    title: str
    text: str
    badge: str = ""
    note: str = ""
    marks: tuple[Mark, ...] = ()
    open: bool = False
    plain: bool = False


class Row(NamedTuple):
    """A line with what is around it: its place, what changed before it, where in it."""

    line: Line
    place: int
    change: str  # the last change of settings before its end, "" before the first
    changed: tuple[int, ...]  # characters of the line at which settings changed
    last: bool  # the last row of the text


_TITLES: dict[str, int] = {
    Role.USER: ink.USER,
    Role.ASSISTANT: ink.ASSISTANT,
    Role.SYSTEM: ink.NOTE,
}


class EntryView:
    """The rows of an entry."""

    def __init__(self, entry: Entry, width: int) -> None:
        self.entry = entry
        self.width = width
        self._parser: BlockParser | PlainParser | None = None
        self._laid: list[Laid | None] = []
        self._heights: list[int] = []  # rows of each block
        self._starts: list[int] = []  # rows before each block
        self._rows = _estimate(entry, width)  # of the text
        self._marks: list[tuple[int, int]] = []  # (block, offset in its content) of each mark
        self._head = self._make_head()
        self._foot = self._make_foot()

    @property
    def height(self) -> int:
        """Rows, with the blank one that follows the entry."""
        return len(self._head) + self._rows + len(self._foot) + 1

    @property
    def blocks(self) -> list[Block]:
        """The blocks of the text."""
        return self._parsed().blocks

    def resize(self, width: int) -> None:
        """Forget the lines; they will be laid out at another width."""
        self.width = width
        self._head, self._foot = self._make_head(), self._make_foot()
        if self._parser is None:
            self._rows = _estimate(self.entry, width)
        else:
            self._lay_nothing()

    def forget(self) -> None:
        """Free what can be made again from the text; the height stays as it is known."""
        self._parser = None
        self._laid, self._heights, self._starts, self._marks = [], [], [], []

    def update(self, entry: Entry) -> None:
        """Take another value of the entry."""
        before, self.entry = self.entry, entry
        self._head, self._foot = self._make_head(), self._make_foot()
        if self._parser is None:
            self._rows = _estimate(entry, self.width)
            return
        same = (entry.plain, entry.text, entry.open) == (before.plain, before.text, before.open)
        longer = entry.plain == before.plain and before.open and entry.text.startswith(before.text)
        if longer and not same:
            self._feed(entry.text[len(before.text) :])
        elif not same:
            self.forget()
            self._parsed()
        self._place_marks(0)

    def append(self, text: str) -> int:
        """Add to the text; the first row that may have changed."""
        self.entry = msgspec.structs.replace(self.entry, text=self.entry.text + text)
        if self._parser is None:
            self._rows = _estimate(self.entry, self.width)
            return 0
        cursor = self._rows - 1  # leaves its row, even where the row's text stays
        return len(self._head) + min(self._feed(text), cursor)

    def settle(self, first: int, last: int) -> bool:
        """Lay out the rows from `first` up to `last`; whether any was not."""
        first, last = max(first - len(self._head), 0), last - len(self._head)
        if last <= 0 or first >= self._rows:
            return False
        blocks = self.blocks
        index = max(bisect_right(self._starts, first) - 1, 0)
        row = self._starts[index] if self._starts else 0
        changed = len(blocks)
        while index < len(blocks) and row < last:
            if self._laid[index] is None:
                laid = self._laid[index] = layout(blocks[index], self.width)
                self._heights[index] = len(laid.lines)
                changed = min(changed, index)
            row += self._heights[index]
            index += 1
        self._sum(changed)
        return changed < len(blocks)

    def settled(self, row: int) -> bool:
        """Whether the row is laid out."""
        row -= len(self._head)
        if not 0 <= row < self._rows:
            return True
        return bool(self._laid) and self._laid[bisect_right(self._starts, row) - 1] is not None

    def row(self, row: int) -> Row:
        """A row, which must be settled."""
        if row < len(self._head):
            return Row(self._head[row], row, "", (), last=False)
        row -= len(self._head)
        if row >= self._rows:
            below = row - self._rows
            line = self._foot[below] if below < len(self._foot) else _BLANK
            return Row(line, _FOOT + below, "", (), last=False)
        last = row == self._rows - 1
        index = bisect_right(self._starts, row) - 1
        laid = self._laid[index] if index >= 0 else None
        if laid is None:
            return Row(_BLANK, 1 << _PLACE, "", (), last)
        number = row - self._starts[index]
        change, changed = self._changes(index, number) if self._marks else ("", ())
        return Row(laid.lines[number], (index + 1 << _PLACE) + number, change, changed, last)

    def row_of(self, place: int) -> int:
        """The row of a place."""
        if place >= _FOOT:
            return len(self._head) + self._rows + place - _FOOT
        index, number = (place >> _PLACE) - 1, place & ((1 << _PLACE) - 1)
        if index < 0:
            return min(number, len(self._head))
        self._parsed()
        if index >= len(self._starts):
            return len(self._head) + self._rows
        return len(self._head) + self._starts[index] + min(number, self._heights[index])

    def span(self, place: int | None) -> tuple[int, int]:
        """Where the block at a place, or with None the text, begins and where what follows does."""
        if place is None:
            return 1 << _PLACE, _FOOT
        block = place >> _PLACE << _PLACE
        return block, block + (1 << _PLACE)

    def badge_span(self) -> tuple[int, int]:
        """The columns of the badge on the first row."""
        start = cells((Run(self.entry.title + " ", ink.PLAIN),))
        return start, start + cells((Run(self.entry.badge, ink.PLAIN),))

    # Making rows

    def _parsed(self) -> BlockParser | PlainParser:
        if self._parser is None:
            self._parser = PlainParser() if self.entry.plain else BlockParser()
            self._parser.feed(self.entry.text, final=not self.entry.open)
            self._lay_nothing()
            self._place_marks(0)
        return self._parser

    def _lay_nothing(self) -> None:
        blocks = self.blocks
        self._laid = [None] * len(blocks)
        self._heights = [_block_estimate(block, self.width) for block in blocks]
        self._starts = []
        self._sum(0)

    def _feed(self, text: str) -> int:
        """Parse more text; the first changed row of the text."""
        parser = self._parsed()
        first = parser.feed(text, final=not self.entry.open)
        blocks, old = parser.blocks, self._laid[first:]
        del self._laid[first:], self._heights[first:]
        changed: tuple[int, int] | None = None  # block, line
        for index, block in enumerate(blocks[first:], first):
            laid = old[index - first] if index - first < len(old) else None
            line = None if laid is None else laid.extend(block)
            if line is None:
                laid = None
            if changed is None and (laid is None or line is None or line < len(laid.lines)):
                changed = index, line or 0
            self._laid.append(laid)
            self._heights.append(
                _block_estimate(block, self.width) if laid is None else len(laid.lines)
            )
        rows = self._rows
        self._sum(first)
        self._place_marks(first)
        if changed is None:
            return min(rows, self._rows)
        return self._starts[changed[0]] + changed[1]

    def _sum(self, first: int) -> None:
        """Count the rows before each block from `first` on."""
        base = self._starts[first - 1] + self._heights[first - 1] if first else 0
        *starts, rows = accumulate(self._heights[first:], initial=base)
        self._starts[first:] = starts
        self._rows = max(rows, 1 if self.entry.open else 0)  # one for the cursor

    def _make_head(self) -> list[Line]:
        entry = self.entry
        runs = [Run(entry.title, _TITLES.get(entry.role, ink.NOTICE))]
        if entry.badge:
            runs += [Run(" ", ink.PLAIN), Run(entry.badge, ink.BADGE)]
        if entry.note and not self._note_below:
            runs += [Run("  ", ink.PLAIN), Run(entry.note, ink.NOTE)]
        runs = [run for run in runs if run.text]
        return [Line(line, soft=soft) for line, soft in wrap(runs, self.width)] if runs else []

    def _make_foot(self) -> list[Line]:
        labels = [mark.label for mark in self.entry.marks]
        note = wrap([Run(self.entry.note, ink.NOTE)], self.width) if self._note_below else []
        if not labels and not note:
            return []
        shown = labels[-_LABELS:]
        if more := len(labels) - len(shown):
            shown.insert(0, f"and {more} more above")
        bar = Run("┊ ", ink.GUTTER)
        lines = [Line((bar, Run(label[: self.width - 2], ink.NOTE))) for label in shown]
        lines += [Line(line, soft=soft) for line, soft in note]
        return [_BLANK, *lines] if self.entry.text else lines

    @property
    def _note_below(self) -> bool:
        """How a reply ended is said where it ended; how it goes, where it began."""
        entry = self.entry
        return bool(entry.note) and entry.role is Role.ASSISTANT and not entry.open

    # Changes of settings

    def _place_marks(self, first: int) -> None:
        """Find the blocks of the marks; those in blocks before `first` are known."""
        if not self.entry.marks:
            self._marks = []
            return
        self._marks = [place for place in self._marks if place[0] < first]
        blocks = self.blocks
        for mark in self.entry.marks[len(self._marks) :]:
            if mark.offset < len(self.entry.text) and blocks:
                index = max(bisect_right(blocks, mark.offset, key=_begin) - 1, 0)
                self._marks.append((index, blocks[index].content_offset(mark.offset)))

    def _changes(self, index: int, number: int) -> tuple[str, tuple[int, ...]]:
        """The change in force at the end of a line, and the characters in it that begin one."""
        label = ""
        changed = []
        for (block, offset), mark in zip(self._marks, self.entry.marks, strict=False):
            line, character = self._find(index, offset) if block == index else (-1, 0)
            if (block, line) > (index, number):
                break
            label = mark.label
            if (block, line) == (index, number):
                changed.append(character)
        return label, tuple(changed)

    def _find(self, index: int, offset: int) -> tuple[int, int]:
        """The line of a block, and the character in it, that shows `offset` of its content."""
        laid = self._laid[index]
        best, found = -1, (0, 0)
        for number, line in enumerate(laid.lines if laid is not None else ()):
            character = 0
            for run in line.runs:
                if 0 <= run.at <= offset < run.at + len(run.text):
                    return number, character + offset - run.at
                if run.at > offset and (best < 0 or run.at < best):
                    best, found = run.at, (number, character)
                character += len(run.text)
        return found


def _begin(block: Block) -> int:
    return block.lines[0][0] if block.lines else 0


def _estimate(entry: Entry, width: int) -> int:
    text = entry.text
    if not text:
        return 1 if entry.open or entry.plain else 0
    return text.count("\n") + len(text) // width + 1


def _block_estimate(block: Block, width: int) -> int:
    rows = sum([len(text) // width + 1 for _, text in block.lines])
    return rows + (block.gap >= 0) + (block.kind is Kind.CODE)
