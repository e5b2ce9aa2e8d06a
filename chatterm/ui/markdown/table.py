"""Tables -> lines: columns by what is in them, a light rule under the header, no boxes.

Columns are as wide as their widest cell (in steps, so that a growing table seldom moves); when
that is too wide, wide columns share what is left and their cells wrap. Where even that leaves too
little, each row becomes a list of "header  value" lines.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple

from chatterm.ui.markdown import ink
from chatterm.ui.markdown.blocks import split_row
from chatterm.ui.markdown.inline import parse
from chatterm.ui.markdown.wrap import Run, cells, wrap

_STEP, _GAP, _NARROWEST = 4, 2, 6
_Runs = tuple[Run, ...]


class _Cell(NamedTuple):
    runs: list[Run]
    width: int


class Table:
    """The lines of a growing table at a width."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._source: list[str] = []
        self._rows: list[list[_Cell]] = []  # the header, then the body
        self._offsets: list[int] = []
        self._aligns: list[str] = []
        self._columns: list[int] = []
        self._natural: list[int] = []
        self._lines: list[list[_Runs]] = []  # of each row

    def update(self, lines: list[str]) -> tuple[int, list[_Runs]]:
        """The first changed line and the lines from there on. `lines` are those of last time, of
        which the last may have changed, and more."""
        keep = min(len(self._rows), max(len(self._source) - 2, 0))
        if not self._aligns:
            self._aligns = [_align(text) for _, text in split_row(lines[1])]
            self._natural = [_STEP] * len(self._aligns)
        self._read(lines, keep)
        self._source = lines
        natural = [
            max([-(-row[column].width // _STEP) * _STEP for row in self._rows[keep:]] + [least])
            for column, least in enumerate(self._natural)
        ]
        self._natural = natural
        columns = self._fit(natural)
        if columns != self._columns:
            self._columns, keep = columns, 0
        before = sum(len(row) for row in self._lines[:keep])
        self._lines[keep:] = [
            self._row(index, row) for index, row in enumerate(self._rows[keep:], keep)
        ]
        return before, [line for row in self._lines[keep:] for line in row]

    def _read(self, lines: list[str], keep: int) -> None:
        del self._rows[keep:], self._offsets[keep:]
        for index in range(keep, len(lines) - 1):
            source = 0 if index == 0 else index + 1  # the delimiter row is no row
            if index < 2:
                base = sum(len(line) + 1 for line in lines[:source])
            else:
                base = self._offsets[-1] + len(lines[source - 1]) + 1
            self._offsets.append(base)
            bits = ink.TABLE_HEAD if index == 0 else ink.PLAIN
            found = [
                _cell(text.replace("\\|", "|"), base + at, bits)
                for at, text in split_row(lines[source])[: len(self._aligns)]
            ]
            found += [_Cell([], 0)] * (len(self._aligns) - len(found))
            self._rows.append(found)

    def _fit(self, natural: list[int]) -> list[int]:
        """Widths of the columns; empty when they cannot stand side by side."""
        room = self._width - _GAP * (len(natural) - 1)
        if room < _NARROWEST * len(natural):
            return []
        widths = dict.fromkeys(range(len(natural)), 0)
        left = sorted(widths, key=natural.__getitem__)
        while left:
            column = left.pop(0)
            widths[column] = min(natural[column], room // (len(left) + 1))
            room -= widths[column]
        return list(widths.values())

    def _row(self, index: int, row: list[_Cell]) -> list[_Runs]:
        if not self._columns:
            return self._record(index, row)
        wrapped = [
            [(*runs,) for runs, _ in wrap(cell.runs, width)]
            for cell, width in zip(row, self._columns, strict=True)
        ]
        lines = [self._join(parts) for parts in zip_longest(*wrapped, fillvalue=())]
        if index == 0:
            total = sum(self._columns) + _GAP * (len(self._columns) - 1)
            lines.append((Run("─" * total, ink.RULE),))
        return lines

    def _join(self, parts: tuple[_Runs, ...]) -> _Runs:
        line: list[Run] = []
        blank = 0
        for runs, width, align in zip(parts, self._columns, self._aligns, strict=True):
            spare = width - cells(runs)
            before = {"left": 0, "right": spare, "center": spare // 2}[align]
            if runs:
                if blank + before:
                    line.append(Run(" " * (blank + before), ink.PLAIN))
                line += runs
                blank = spare - before + _GAP
            else:
                blank += width + _GAP
        return tuple(line)

    def _record(self, index: int, row: list[_Cell]) -> list[_Runs]:
        if index == 0:
            return []
        lines: list[_Runs] = [()] if index > 1 else []
        for head, cell in zip(self._rows[0], row, strict=True):
            runs = [*head.runs, Run("  ", ink.PLAIN), *cell.runs]
            lines += [line for line, _ in wrap(runs, self._width)]
        return lines


def _cell(text: str, base: int, bits: int) -> _Cell:
    runs, _ = parse(text, base, bits, unfinished=False)
    return _Cell(runs, cells(runs))


def _align(delimiter: str) -> str:
    if delimiter.endswith(":"):
        return "center" if delimiter.startswith(":") else "right"
    return "left"
