"""The entries of a transcript, one below the other, as rows of one long page.

Rows are counted from the first entry's title and shift when anything above them is laid out or
changes. A `place` (an entry's number, and the place in it) names the same line throughout.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from textual.selection import Selection

from chatterm.ui.markdown.wrap import Line
from chatterm.ui.widgets.entry_view import EntryView, Row

_PLACES = 64  # bits of a place for the place within its entry
_WARM = 64  # entries whose lines are kept, at least


class Found(NamedTuple):
    """What stands in a row: which line of which view, how far below the view's first."""

    number: int
    view: EntryView
    within: int
    row: Row
    place: int


class Anchor(NamedTuple):
    """A line that is to stay where it is: `below` rows under the top of what is seen."""

    view: EntryView
    place: int
    below: int


class EntryStack:
    """Views below each other. After a view has changed, `stack` must be called."""

    def __init__(self) -> None:
        self.views: list[EntryView] = []
        self.total = 0  # rows
        self._tops: list[int] = []  # the first row of each view
        self._warm: dict[EntryView, None] = {}  # views with lines, by when they were last seen

    def stack(self, first: int = 0) -> None:
        """Count the rows again, of the views from `first` on."""
        base = self._tops[first] if 0 < first < len(self._tops) else 0
        heights = [view.height for view in self.views[first:]]
        *tops, self.total = accumulate(heights, initial=base)
        self._tops[first:] = tops

    def top(self, index: int) -> int:
        """The first row of a view."""
        return self._tops[index]

    def at(self, row: int) -> Found:
        """What stands in a row that there is."""
        index = bisect_right(self._tops, row) - 1
        view, within = self.views[index], row - self._tops[index]
        found = view.row(within)
        return Found(index, view, within, found, (index << _PLACES) + found.place)

    def anchor(self, top: int, bottom: int) -> Anchor | None:
        """The first of some rows that is laid out."""
        for row in range(top, min(bottom, self.total)):
            index = bisect_right(self._tops, row) - 1
            view, within = self.views[index], row - self._tops[index]
            if view.settled(within):
                return Anchor(view, view.row(within).place, row - top)
        return None

    def row_of(self, anchor: Anchor) -> int | None:
        """The row of an anchor's line, None when its view is no longer there."""
        for index, view in enumerate(self.views):
            if view is anchor.view:
                return self._tops[index] + view.row_of(anchor.place)
        return None

    def lay(self, top: int, bottom: int) -> bool:
        """Lay out some rows; whether any was not."""
        changed = False
        index = max(bisect_right(self._tops, top) - 1, 0)
        while index < len(self.views) and self._tops[index] < bottom:
            view, base = self.views[index], self._tops[index]
            if view.settle(top - base, bottom - base):
                changed = True
                self.stack(index)
            self._warm.pop(view, None)
            self._warm[view] = None
            index += 1
        return changed

    def cool(self, seen: int) -> None:
        """Forget the lines of entries that were not seen for long; `seen` are in sight."""
        keep = max(_WARM, seen)
        if len(self._warm) <= 2 * keep:
            return
        for view in [*self._warm][:-keep]:
            del self._warm[view]
            if not view.entry.open:
                view.forget()

    def block_places(self, found: Found, *, whole: bool) -> tuple[int, int]:
        """Where the block of a row, or its whole text, begins, and where what follows does."""
        first, last = found.view.span(None if whole else found.row.place)
        base = found.number << _PLACES
        return base + first, base + last

    def text(self, selection: Selection) -> str:
        """The text between two places as it is seen, without layout: lines that only overflow
        are joined."""
        if not self.views:
            return ""
        first, last = self._rows(selection)
        while self.lay(first, last + 1):
            first, last = self._rows(selection)
        parts: list[str] = []
        before: Line | None = None
        for number in range(first, min(last + 1, self.total)):
            found = self.at(number)
            line, span = found.row.line, selected_span(selection, found.place)
            if span is None or line.is_label:
                continue
            parts.append(_copied(line, span, before))
            before = line
        return "".join(parts).strip("\n")

    def _rows(self, selection: Selection) -> tuple[int, int]:
        start, end = selection
        first = 0 if start is None else self._row_of_place(start.y)
        return first, self.total - 1 if end is None else self._row_of_place(end.y)

    def _row_of_place(self, place: int) -> int:
        index = min(place >> _PLACES, len(self.views) - 1)
        row = self.views[index].row_of(place & ((1 << _PLACES) - 1))
        self.stack(index)
        return self._tops[index] + row


def selected_span(selection: Selection, place: int) -> tuple[int, int] | None:
    """The characters of a line that are selected."""
    span = selection.get_span(place)
    if span is None:
        return None
    start, end = span
    ends_here = selection.end is not None and selection.end.y == place
    return max(start, 0), max(end, 0) if ends_here else 1 << 30


def _copied(line: Line, span: tuple[int, int], before: Line | None) -> str:
    """What is copied of a line, with what joins it to the line copied before it."""
    # Bullets and bars are copied, but not what stands before code or an overflow.
    start = max(span[0], line.lead if line.soft or line.fill else 0)
    text = line.text[start : span[1]].rstrip()
    if before is None:
        return text
    if not line.soft:
        return "\n" + text
    return text if _joined(before, line) else " " + text


def _joined(before: Line, after: Line) -> bool:
    """Whether nothing was left out between two lines."""
    ends: Sequence[int] = [run.at + len(run.text) for run in before.runs if run.at >= 0]
    starts = [run.at for run in after.runs if run.at >= 0]
    return bool(ends and starts and ends[-1] == starts[0])
