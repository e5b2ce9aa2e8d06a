"""Markdown's block structure, read line by line as the text arrives.

The parser keeps the containers (quotes, list items) that are open and a flat list of leaf blocks,
each of which knows the containers around it. A line is read once when it is complete; until then
it is read on trial, and what the trial changed is put back. Only the last block that a complete
line touched, and those after it, ever change, so the cost is linear in the text.

The grammar is CommonMark with tables and task lists, but for what a reply in a terminal needs
otherwise: line breaks in paragraphs are kept, HTML and LaTeX stay as they are written, and there
are no link reference definitions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final, NamedTuple

_HEADING: Final = re.compile(r"(#{1,6})(?:[ \t]+|$)(.*?)(?:[ \t]+#+)?[ \t]*$")
_RULE: Final = re.compile(r"([-*_])[ \t]*(?:\1[ \t]*){2,}$")
_SETEXT: Final = re.compile(r"(=+|-+)[ \t]*$")
_FENCE: Final = re.compile(r"(`{3,})([^`]*)$|(~{3,})(.*)$")
_ITEM: Final = re.compile(r"([-+*]|(\d{1,9})[.)])(?=[ \t]|$)")
_TASK: Final = re.compile(r"\[([ xX])\][ \t]+(?=\S)")
_COLUMN: Final = re.compile(r"[ \t]*:?-+:?[ \t]*")
# An unfinished line of these could still become many things: it is not shown before it is clear.
_UNCLEAR: Final = re.compile(
    r"[ \t>]*(?:[-+*][ \t]*|\d{1,9}[.)]?[ \t]*)?(?:[-=*_#~`|:. \t>]*|\[[ xX]?\]?[ \t]*)$"
)
_MATH: Final = {r"\[": r"\]", "$$": "$$"}
BULLETS: Final = ("•", "◦", "▪")


class Kind(Enum):
    """What a leaf block is."""

    PARAGRAPH = auto()
    HEADING = auto()
    CODE = auto()
    TABLE = auto()
    RULE = auto()
    PLAIN = auto()  # no Markdown: one line as it was typed


class Frame(NamedTuple):
    """A container, as it shows at the left of a block: a quote's bar, or a list's marker on the
    first line of the item's first block and blanks elsewhere."""

    marker: str
    quote: bool
    first: bool


@dataclass(slots=True)
class Block:
    """A leaf block. `lines` are (offset in the source, text without its containers' marks)."""

    kind: Kind
    lines: list[tuple[int, str]]
    frames: tuple[Frame, ...] = ()
    gap: int = -1  # how many frames go on through the blank line before it; -1: no such line
    level: int = 0  # of a heading
    info: str = ""  # language of code
    closed: bool = False

    @property
    def content(self) -> str:
        """The source of the block without what its containers add to it."""
        return "\n".join([text for _, text in self.lines])

    def content_offset(self, offset: int) -> int:
        """Where a place of the source is in `content` (or the first place after it that is)."""
        base = 0
        for at, text in self.lines:
            if offset <= at + len(text):
                return base + max(offset - at, 0)
            base += len(text) + 1
        return max(base - 1, 0)


@dataclass(slots=True, frozen=True, eq=False)
class _Container:
    quote: bool
    indent: int = 0
    marker: str = ""


class _Fence(NamedTuple):
    closer: str
    indent: int


@dataclass(slots=True)
class _State:
    """Everything that reading a line changes, but for the blocks."""

    containers: tuple[_Container, ...] = ()
    within: tuple[_Container, ...] = ()  # those of the last block
    blank: bool = False  # the line before was blank
    open: bool = False  # the last block may take another line
    fence: _Fence | None = None
    indented: bool = False  # the open block is indented code
    blanks: list[tuple[int, str]] = field(default_factory=list)  # may belong to indented code


class _Cursor:
    """A place in a line, in columns; tabs stop at every fourth."""

    __slots__ = ("_column", "_pos", "_spare", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._pos = self._column = self._spare = 0

    def look(self) -> tuple[int, int]:
        """Columns of white space from here, and the index of what follows it."""
        text, pos = self._text, self._pos
        column = self._column + self._spare
        while pos < len(text) and text[pos] in " \t":
            column += 4 - column % 4 if text[pos] == "\t" else 1
            pos += 1
        return column - self._column, pos

    def skip(self, columns: int) -> None:
        """Go over at most so many columns of white space."""
        while columns > 0:
            if self._spare:
                step = min(self._spare, columns)
                self._spare -= step
            elif self._pos < len(self._text) and self._text[self._pos] in " \t":
                tab = self._text[self._pos] == "\t"
                size = 4 - self._column % 4 if tab else 1
                step = min(size, columns)
                self._spare = size - step
                self._pos += 1
            else:
                return
            self._column += step
            columns -= step

    def take(self, characters: int) -> None:
        """Go over the white space from here and so many characters after it."""
        columns, pos = self.look()
        self._column += columns + characters
        self._pos, self._spare = pos + characters, 0

    def rest(self) -> tuple[int, str]:
        """The index of this place, and what follows it."""
        return self._pos, " " * self._spare + self._text[self._pos :]


class BlockParser:
    """Source in, blocks out. `blocks` is whole at any time; see `feed` for what changes in it."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._state = _State()
        self._offset = 0  # of the unfinished line
        self._line = ""  # the unfinished line
        self._kept: tuple[_State, int, Block | None] | None = None  # before its trial

    def feed(self, text: str, *, final: bool = False) -> int:
        """Read more source; `final` when there is no more. Blocks before the returned index are
        as they were."""
        self._undo_trial()
        first = max(len(self.blocks) - 1, 0)
        *complete, self._line = (self._line + text).split("\n")
        for line in complete:
            self._read(line)
            self._offset += len(line) + 1
        if final:
            if self._line:
                self._read(self._line)
            self._close_leaf()
        else:
            self._try(self._line)
        return first

    def _undo_trial(self) -> None:
        if self._kept is not None:
            self._state, count, last = self._kept
            del self.blocks[count:]
            if last is not None:
                self.blocks[-1] = last
            self._kept = None

    def _try(self, line: str) -> None:
        state, fence = self._state, self._state.fence
        if not line or (fence is None and _UNCLEAR.match(line)):
            return
        if fence is not None and fence.closer.startswith(line.strip()[: len(fence.closer)]):
            return
        last = self.blocks[-1] if self.blocks else None
        self._kept = (replace(state, blanks=[*state.blanks]), len(self.blocks), last)
        if last is not None:
            self.blocks[-1] = replace(last, lines=[*last.lines])
        self._read(line)

    def _read(self, line: str) -> None:
        state = self._state
        cursor = _Cursor(line)
        matched = self._match(cursor)
        whole = matched == len(state.containers)
        if state.fence is not None:
            if whole:
                self._read_fenced(cursor)
                return
            self._close_leaf()
        columns, pos = cursor.look()
        if pos == len(line):
            self._read_blank(cursor, matched)
            return
        if state.indented and not (whole and columns >= 4):
            self._close_leaf()
        if not self._read_block(cursor, line, matched):
            self._read_text(cursor, line)
        state.blank = False

    def _match(self, cursor: _Cursor) -> int:
        """How many of the open containers the line continues."""
        for index, container in enumerate(self._state.containers):
            columns, _ = cursor.look()
            _, rest = cursor.rest()
            if container.quote:
                if columns > 3 or not rest.lstrip(" \t").startswith(">"):
                    return index
                cursor.take(1)
                cursor.skip(1)
            elif columns >= container.indent:
                cursor.skip(container.indent)
            elif rest.strip(" \t"):
                return index
        return len(self._state.containers)

    def _read_fenced(self, cursor: _Cursor) -> None:
        state, fence = self._state, self._state.fence
        assert fence is not None
        columns, _ = cursor.look()
        stripped = cursor.rest()[1].strip()
        mark = fence.closer[0]
        closing = stripped == fence.closer or (
            mark in "`~" and stripped.startswith(fence.closer) and not stripped.strip(mark)
        )
        if closing and columns <= 3:
            self._close_leaf()
            state.blank = False
            return
        cursor.skip(min(fence.indent, columns))
        at, text = cursor.rest()
        self.blocks[-1].lines.append((self._offset + at, text))

    def _read_blank(self, cursor: _Cursor, matched: int) -> None:
        state = self._state
        if state.indented and matched == len(state.containers):
            cursor.skip(4)
            at, text = cursor.rest()
            state.blanks.append((self._offset + at, text))
        elif state.open:
            self._close_leaf()
        # A quote ends at a line without its mark; so does what is in it.
        state.containers = state.containers[:matched]
        state.blank = True

    def _read_block(self, cursor: _Cursor, line: str, matched: int) -> bool:
        """Open the containers and the leaf that begin here; False: the line is text."""
        state = self._state
        containers = state.containers[:matched]
        direct = matched == len(state.containers)  # an open leaf is right here
        lazy = state.open and not state.indented
        while True:
            columns, pos = cursor.look()
            text = line[pos:]
            paragraph = lazy and self.blocks[-1].kind is Kind.PARAGRAPH
            if columns >= 4:
                if not lazy:
                    self._enter(containers)
                    cursor.skip(4)
                    self._read_indented(cursor)
                    return True
                return False
            if paragraph and direct and self._extend_paragraph(text, pos):
                return True
            item = None if _RULE.match(text) else _ITEM.match(text)
            if text[0] == ">":
                containers = (*containers, _Container(quote=True))
                cursor.take(1)
                cursor.skip(1)
            elif item and not (paragraph and direct and not _interrupts(item)):
                containers = (*containers, self._item(cursor, item, columns))
            else:
                break
            self._enter(containers)
            direct = lazy = False
            if cursor.look()[1] == len(line):
                self._add(Kind.PARAGRAPH, pos=len(line), text="", is_open=True)
                return True
        if self._read_leaf(containers, text, pos, columns):
            return True
        if not lazy or (self.blocks[-1].kind is Kind.TABLE and not direct):
            self._enter(containers)
        return False

    def _extend_paragraph(self, text: str, pos: int) -> bool:
        """A line that changes the open paragraph into something else."""
        block = self.blocks[-1]
        if block.lines[-1][1] and (setext := _SETEXT.match(text)):
            block.kind, block.level = Kind.HEADING, 1 if setext[1][0] == "=" else 2
            self._close_leaf()
            return True
        if "-" not in text or "|" not in block.lines[-1][1] + text:
            return False
        columns = text.strip(" \t").removeprefix("|").removesuffix("|").split("|")
        if not all(_COLUMN.fullmatch(column) for column in columns):
            return False
        if len(columns) != len(split_row(block.lines[-1][1])):
            return False
        head = block.lines.pop()
        if not block.lines:
            self.blocks.pop()
            block.kind, block.lines = Kind.TABLE, [head, (self._offset + pos, text)]
            self.blocks.append(block)
        else:
            block.closed = True
            self._add(Kind.TABLE, lines=[head, (self._offset + pos, text)], is_open=True)
        return True

    def _read_leaf(
        self, containers: tuple[_Container, ...], text: str, pos: int, columns: int
    ) -> bool:
        if heading := _HEADING.match(text):
            self._enter(containers)
            self._add(Kind.HEADING, pos=pos + heading.start(2), text=heading[2])
            self.blocks[-1].level = len(heading[1])
        elif _RULE.match(text):
            self._enter(containers)
            self._add(Kind.RULE, pos=pos, text="")
        elif fence := _FENCE.match(text):
            self._enter(containers)
            info = (fence[2] or fence[4] or "").strip()
            self._open_code(_Fence(fence[1] or fence[3], columns), info)
        elif (closer := _MATH.get(text.rstrip())) is not None:
            self._enter(containers)
            self._open_code(_Fence(closer, columns), "math")
        else:
            return False
        return True

    def _open_code(self, fence: _Fence, info: str) -> None:
        self._add(Kind.CODE, lines=[], is_open=True)
        self.blocks[-1].info = info
        self._state.fence = fence

    def _read_indented(self, cursor: _Cursor) -> None:
        state = self._state
        if not state.indented:
            self._add(Kind.CODE, lines=[], is_open=True)
            state.indented = True
        at, text = cursor.rest()
        self.blocks[-1].lines += [*state.blanks, (self._offset + at, text)]
        state.blanks = []

    def _item(self, cursor: _Cursor, item: re.Match[str], columns: int) -> _Container:
        """Go over a list item's marker, and make its container."""
        cursor.take(item.end())
        spaces, _ = cursor.look()
        empty = not cursor.rest()[1].strip(" \t")
        padding = 1 if empty or spaces > 4 else spaces
        cursor.skip(padding)
        task = _TASK.match(cursor.rest()[1])
        if task:
            cursor.take(task.end())
            marker = "☐" if task[1] == " " else "☑"
        else:
            marker = f"{item[2]}." if item[2] else ""
        return _Container(quote=False, indent=columns + item.end() + padding, marker=marker)

    def _read_text(self, cursor: _Cursor, line: str) -> None:
        _, pos = cursor.look()
        text = line[pos:].rstrip(" \t")
        state = self._state
        if state.open and not state.indented:
            lines = self.blocks[-1].lines
            if len(lines) == 1 and not lines[0][1]:
                lines.clear()  # an empty list item's placeholder
            lines.append((self._offset + pos, text))
        else:
            self._add(Kind.PARAGRAPH, pos=pos, text=text, is_open=True)

    def _enter(self, containers: tuple[_Container, ...]) -> None:
        """Close the open leaf unless it is the indented code that goes on here."""
        state = self._state
        if not (state.indented and containers == state.containers):
            self._close_leaf()
        state.containers = containers

    def _close_leaf(self) -> None:
        state = self._state
        state.open = state.indented = False
        state.fence = None
        state.blanks = []
        if self.blocks:
            self.blocks[-1].closed = True

    def _add(
        self,
        kind: Kind,
        *,
        pos: int = 0,
        text: str = "",
        lines: list[tuple[int, str]] | None = None,
        is_open: bool = False,
    ) -> None:
        state = self._state
        within, containers = state.within, state.containers
        last = self.blocks[-1] if self.blocks else None
        if last is not None and within == containers and _is_empty(last):
            # The item's first block replaces the placeholder that showed its marker.
            self.blocks.pop()
            frames, gap = last.frames, last.gap
        else:
            frames = _frames(containers, within)
            gap = -1 if last is None else _gap(within, containers, state.blank)
        if lines is None:
            lines = [(self._offset + pos, text)]
        self.blocks.append(Block(kind, lines, frames, gap, closed=not is_open))
        state.within, state.open = containers, is_open


class PlainParser:
    """As BlockParser, for text that is not Markdown: each of its lines is a block."""

    def __init__(self) -> None:
        self.blocks: list[Block] = [Block(Kind.PLAIN, [(0, "")])]
        self._offset = 0  # of the last line

    def feed(self, text: str, *, final: bool = False) -> int:
        """As BlockParser.feed."""
        first = len(self.blocks) - 1
        head, *more = text.split("\n")
        last = self.blocks[first].lines[0][1] + head
        self.blocks[first] = Block(Kind.PLAIN, [(self._offset, last)], closed=bool(more) or final)
        for line in more:
            self._offset += len(last) + 1
            self.blocks.append(Block(Kind.PLAIN, [(self._offset, line)], closed=True))
            last = line
        self.blocks[-1].closed = final
        return first


def _is_empty(block: Block) -> bool:
    return block.kind is Kind.PARAGRAPH and len(block.lines) == 1 and not block.lines[0][1]


def _interrupts(item: re.Match[str]) -> bool:
    """Whether a list may begin right after a line of text."""
    return item[2] in (None, "1") and bool(item.string[item.end() :].strip())


def _frames(
    containers: tuple[_Container, ...], within: tuple[_Container, ...]
) -> tuple[Frame, ...]:
    frames: list[Frame] = []
    depth = 0
    for container in containers:
        if container.quote:
            frames.append(Frame("▎ ", quote=True, first=False))
            continue
        marker = container.marker or BULLETS[min(depth, len(BULLETS) - 1)]
        # The outermost list is set in a little; numbers up to 99 line up.
        marker = (marker.rjust(3) if depth == 0 else marker) + " "
        frames.append(Frame(marker, quote=False, first=container not in within))
        depth += 1
    return tuple(frames)


def _gap(before: tuple[_Container, ...], after: tuple[_Container, ...], blank: bool) -> int:
    """How many containers go on through a blank line between two blocks, -1: no blank line."""
    shared = 0
    while shared < min(len(before), len(after)) and before[shared] is after[shared]:
        shared += 1
    in_list = any(not container.quote for container in after[:shared])
    siblings = all(len(side) > shared and not side[shared].quote for side in (before, after))
    return shared if blank or not (in_list or siblings) else -1


def split_row(line: str) -> list[tuple[int, str]]:
    """The cells of a table's row: (index in the line, text)."""
    cells: list[tuple[int, str]] = []
    start = len(line) - len(line.lstrip(" \t"))
    end = len(line.rstrip(" \t"))
    if line.startswith("|", start):
        start += 1
    at = start
    while at <= end:
        if at == end or line[at] == "|":
            if at < end or at > start:
                cell = line[start:at]
                text = cell.strip(" \t")
                cells.append((start + len(cell) - len(cell.lstrip(" \t")), text))
            start = at + 1
        elif line[at] == "\\":
            at += 1
        at += 1
    return cells
