"""Blocks -> lines at a width, laid out again only where they can have changed.

`layout(block, width)` makes a `Laid`, which holds the block's lines and takes later values of the
same block: its lines before the index that `extend` returns are the same objects as before.
"""

from __future__ import annotations

from typing import Protocol

from chatterm.ui.markdown import ink
from chatterm.ui.markdown.blocks import Block, Kind
from chatterm.ui.markdown.code import Highlighter, language
from chatterm.ui.markdown.inline import parse
from chatterm.ui.markdown.table import Table
from chatterm.ui.markdown.wrap import Line, Run, fold, slice_runs, verbatim, wrap

_CHUNK, _LARGEST_CHUNK = 320, 2_400  # characters
_HEADINGS = {1: ink.HEADING, 2: ink.HEADING}


class _Margin:
    """What the containers of a block put at the left of its lines."""

    def __init__(self, block: Block) -> None:
        frames = block.frames
        self.first = _runs(
            [frame.marker if frame.first or frame.quote else "" for frame in frames], block
        )
        self.rest = _runs([frame.marker if frame.quote else "" for frame in frames], block)
        self.gap = _runs(
            [frame.marker if frame.quote else "" for frame in frames[: max(block.gap, 0)]], block
        )
        self.size = sum(len(frame.marker) for frame in frames)

    def line(
        self,
        runs: tuple[Run, ...],
        *,
        first: bool,
        soft: bool = False,
        fill: int = 0,
        pad: int = 0,
    ) -> Line:
        """A line of the block, whose runs begin with `pad` characters of layout."""
        return Line(
            (*(self.first if first else self.rest), *runs),
            soft=soft,
            lead=self.size + pad,
            fill=fill,
        )


def _runs(markers: list[str], block: Block) -> tuple[Run, ...]:
    runs: list[Run] = []
    for marker, frame in zip(markers, block.frames, strict=False):
        text = marker or " " * len(frame.marker)
        bits = (ink.QUOTE | ink.MARKER) if frame.quote else ink.MARKER
        runs.append(Run(text, bits if marker else ink.PLAIN))
    return tuple(runs)


class Laid(Protocol):
    """A block laid out at a width. `lines` includes the blank line before it, if any."""

    lines: list[Line]

    def extend(self, block: Block) -> int | None:
        """Take a later value of the block; the first changed line, or None when `block` is not
        what this block became by more text."""
        ...


def layout(block: Block, width: int) -> Laid:
    """Lay a block out."""
    kinds: dict[Kind, type[_Base]] = {Kind.CODE: _Code, Kind.TABLE: _Table, Kind.RULE: _Rule}
    return kinds.get(block.kind, _Prose)(block, width)


class _Base:
    def __init__(self, block: Block, width: int) -> None:
        self._margin = _Margin(block)
        self._width = max(width - self._margin.size, 4)
        self.lines: list[Line] = [Line(self._margin.gap)] if block.gap >= 0 else []
        self._above = len(self.lines)  # lines of the gap
        self._shape, self._seen = _shape(block), _extent(block)
        self._update(block)

    def extend(self, block: Block) -> int | None:
        extent = _extent(block)
        if extent[0] < self._seen[0] or _shape(block) != self._shape:
            return None
        if extent == self._seen:
            return len(self.lines)
        self._seen = extent
        return self._update(block)

    def _update(self, block: Block, /) -> int:
        raise NotImplementedError

    def _replace(self, first: int, lines: list[Line]) -> int:
        """Put `lines` in the place of those from `first` on; the first that differs."""
        old = self.lines
        same = 0
        for here, there in zip(lines, old[first:], strict=False):
            if not here.same(there):
                break
            same += 1
        changed = first + same
        old[changed:] = lines[same:]
        return changed


class _Prose(_Base):
    """A paragraph or heading. Its inline source is parsed in chunks that end where nothing is
    open, at places that depend on the text before them only."""

    def __init__(self, block: Block, width: int) -> None:
        self._chunk = 0  # where the last chunk begins
        self._tried = 0  # where it could not end
        self._tail: list[Run] = []  # what stands before it on its first line
        self._soft = False  # whether that line is the overflow of the one before
        self._done = 1 if block.gap >= 0 else 0  # lines before that line
        heading = block.kind is Kind.HEADING
        self._ink = _HEADINGS.get(block.level, ink.SUBHEADING) if heading else ink.PLAIN
        self._plain = block.kind is Kind.PLAIN
        if any(frame.quote for frame in block.frames):
            self._ink |= ink.QUOTE
        super().__init__(block, width)

    def _parse(self, text: str, *, unfinished: bool) -> tuple[list[Run], bool]:
        if self._plain:
            return verbatim(text, self._chunk, ink.PLAIN), False
        return parse(text, self._chunk, self._ink, unfinished=unfinished)

    def _update(self, block: Block) -> int:
        content = block.content
        if not block.closed and block.lines[-1][1].startswith("|"):
            # Likely the head of a table, which the next line will tell.
            content = content[: -len(block.lines[-1][1])].removesuffix("\n")
        first = self._done
        while (end := self._chunk_end(content)) is not None:
            runs, _ = self._parse(content[self._chunk : end], unfinished=False)
            lines = self._wrapped([*self._tail, *runs])
            self.lines[self._done :] = [line for _, line in lines]
            (self._tail, last) = lines[-1]
            self._soft, self._done = last.soft, len(self.lines) - 1
            self._chunk, self._tried = end, 0
        runs, _ = self._parse(content[self._chunk :], unfinished=not block.closed)
        lines = self._wrapped([*self._tail, *runs])
        if self._done > first:
            self.lines[self._done :] = [line for _, line in lines]
            return first
        return self._replace(self._done, [line for _, line in lines])

    def _wrapped(self, runs: list[Run]) -> list[tuple[list[Run], Line]]:
        lines = []
        for index, (line, soft) in enumerate(wrap(runs, self._width)):
            soft = soft or (index == 0 and self._soft)
            first = self._done == self._above and index == 0
            lines.append(([*line], self._margin.line(line, first=first, soft=soft)))
        return lines

    def _chunk_end(self, content: str) -> int | None:
        start = max(self._chunk + _CHUNK, self._tried)
        while True:
            end = next((i for i in range(start, len(content) - 1) if content[i] in " \n"), -1)
            if end < 0:
                return None
            _, pending = self._parse(content[self._chunk : end + 1], unfinished=False)
            if not pending or end - self._chunk > _LARGEST_CHUNK:
                return end + 1
            self._tried = start = end + _CHUNK


class _Code(_Base):
    def __init__(self, block: Block, width: int) -> None:
        self._highlighter = Highlighter(block.info)
        self._starts: list[int] = []  # the first line on the screen of each line of code
        super().__init__(block, width)

    def _update(self, block: Block) -> int:
        if not self._starts:
            name = language(block.info)
            if name:
                head = (Run(f" {name}", ink.LANGUAGE | ink.CODE_BLOCK),)
                self.lines.append(
                    self._margin.line(head, first=True, fill=ink.CODE_BLOCK, pad=len(name) + 1)
                )
        settled = self._highlighter.settled
        texts = [""] * settled + [text for _, text in block.lines[settled:]] or [""]
        first, changed = self._highlighter.update(texts, closed=block.closed)
        start = self._starts[first] if first < len(self._starts) else len(self.lines)
        del self._starts[first:]
        lines: list[Line] = []
        for runs in changed:
            self._starts.append(start + len(lines))
            lines += self._line(runs, first=start + len(lines) == self._above)
        return self._replace(start, lines)

    def _line(self, runs: list[Run], *, first: bool) -> list[Line]:
        text = "".join([run.text for run in runs])
        inked = [run._replace(ink=run.ink | ink.CODE_BLOCK) for run in runs]
        pad = Run(" ", ink.CODE_BLOCK)
        return [
            self._margin.line(
                (pad, *part),
                first=first and not index,
                soft=index > 0,
                fill=ink.CODE_BLOCK,
                pad=1,
            )
            for index, part in enumerate(slice_runs(inked, fold(text, self._width - 2)))
        ]


class _Table(_Base):
    def __init__(self, block: Block, width: int) -> None:
        self._table: Table | None = None
        super().__init__(block, width)

    def _update(self, block: Block) -> int:
        if self._table is None:
            self._table = Table(self._width)
        first, lines = self._table.update([text for _, text in block.lines])
        return self._replace(
            self._above + first,
            [self._margin.line(runs, first=first + index == 0) for index, runs in enumerate(lines)],
        )


class _Rule(_Base):
    def _update(self, _: Block, /) -> int:
        rule = (Run("─" * min(self._width, 40), ink.RULE),)
        return self._replace(self._above, [self._margin.line(rule, first=True)])


def _shape(block: Block) -> tuple[object, ...]:
    """What stays of a block when text is added to it."""
    at = block.lines[0][0] if block.lines else -1
    return block.kind, at, block.frames, block.gap, block.level, block.info


def _extent(block: Block) -> tuple[int, str, bool]:
    """What tells a block from the same block with more text."""
    return len(block.lines), block.lines[-1][1] if block.lines else "", block.closed
