"""The conversation, as one widget that paints lines.

Every entry is an EntryView; the widget stacks them, lays out what is seen, and paints a line only
when it has changed. Two invariants: while the reader is at the end, the end stays in sight; while
they are elsewhere, the line at the top of what they see stays there, whatever is added or laid
out above or below it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar, Self
from urllib.parse import urlsplit

from rich.style import Style
from rich.text import Text
from textual import events
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollTo
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from chatterm.ui.markdown import ink
from chatterm.ui.markdown.blocks import Block, BlockParser, Kind
from chatterm.ui.markdown.code import language
from chatterm.ui.markdown.wrap import Line, Run, cells
from chatterm.ui.palette import CLASSES, Palette
from chatterm.ui.widgets.entry_view import Entry, EntryView, Mark, Row

__all__ = ["Entry", "Mark", "Transcript"]

_GUTTER = 3  # cells before the text: selection, change of settings, blank
_WIDEST = 100  # cells of text, however wide the screen
_WHEEL = 3  # rows
_WARM = 64  # entries whose lines are kept
_PLACES = 64  # bits of a selection's row for the place within its entry
_SCHEMES = ("http", "https", "mailto")
_BELOW = " ↓ more below, End "


class Transcript(ScrollView, can_focus=True):
    """Shows entries, of which the last may still be written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Scroll up", show=False, id="transcript.up"),
        Binding("down", "scroll_down", "Scroll down", show=False, id="transcript.down"),
        Binding("pageup", "page_up", "Page up", show=False, id="transcript.page_up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="transcript.page_down"),
        Binding("home", "scroll_home", "To the beginning", show=False, id="transcript.home"),
        Binding("end", "follow", "To the end", show=False, id="transcript.end"),
        Binding("k,shift+up", "select(-1)", "Message before", show=False, id="transcript.before"),
        Binding("j,shift+down", "select(1)", "Message after", show=False, id="transcript.after"),
        Binding("y", "copy", "Copy the message", show=False, id="transcript.copy"),
        Binding("c", "copy_code", "Copy a code block", show=False, id="transcript.copy_code"),
        Binding("left", "sibling(-1)", "Version before", show=False, id="transcript.older"),
        Binding("right", "sibling(1)", "Version after", show=False, id="transcript.newer"),
        Binding("escape", "deselect", "Drop the selection", show=False, id="transcript.deselect"),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {*CLASSES}

    DEFAULT_CSS = """
    Transcript {
        background: $background;
        color: $foreground;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;

        & > .transcript--quote { color: $foreground 75%; }
        & > .transcript--code-block { background: $surface; }
        & > .transcript--strong { text-style: bold; }
        & > .transcript--emphasis { text-style: italic; }
        & > .transcript--strike { text-style: strike; }
        & > .transcript--link { color: $primary; text-style: underline; }
        & > .transcript--url { color: $foreground-muted; }
        & > .transcript--heading { color: $primary; text-style: bold; }
        & > .transcript--subheading { text-style: bold; }
        & > .transcript--table-head { text-style: bold; }
        & > .transcript--code { color: $secondary; background: $surface; }
        & > .transcript--marker { color: $foreground-muted; }
        & > .transcript--rule { color: $foreground 25%; }
        & > .transcript--language { color: $foreground-muted; }
        & > .transcript--keyword { color: $primary; }
        & > .transcript--name { color: $accent; }
        & > .transcript--type { color: $secondary; }
        & > .transcript--string { color: $success; }
        & > .transcript--number { color: $warning; }
        & > .transcript--comment { color: $foreground-muted; text-style: italic; }
        & > .transcript--inserted { color: $success; }
        & > .transcript--deleted { color: $error; }
        & > .transcript--user { color: $speaker-user; text-style: bold; }
        & > .transcript--assistant { color: $speaker-model; text-style: bold; }
        & > .transcript--badge { color: $accent; }
        & > .transcript--note { color: $foreground-muted; }
        & > .transcript--notice { color: $foreground-muted; text-style: italic; }
        & > .transcript--cursor { color: $accent; }
        & > .transcript--gutter { color: $gutter-mark; }
        & > .transcript--change { color: $gutter-mark; text-style: underline; }
        & > .transcript--selected { color: $primary; }
    }
    """

    class EntrySelected(Message):
        """Another entry is selected, or none (None)."""

        def __init__(self, key: int | None) -> None:
            super().__init__()
            self.key = key

    class SiblingWanted(Message):
        """The version of entry `key` that is `offset` places further is wanted."""

        def __init__(self, key: int, offset: int) -> None:
            super().__init__()
            self.key = key
            self.offset = offset

    class Copied(Message):
        """Something was copied; `what` says what, for the user."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    class LinkClicked(Message):
        """A link to the web or to a mail address was clicked."""

        def __init__(self, url: str) -> None:
            super().__init__()
            self.url = url

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        self._painted: dict[int, Strip] = {}  # the lines on the screen
        super().__init__(id=id)
        self._views: list[EntryView] = []
        self._tops: list[int] = []  # the first row of each view
        self._total = 0
        self._width = self._height = 0  # of the widget
        self._columns = _WIDEST  # of the text
        self._warm: dict[EntryView, None] = {}  # views with lines, by when they were last seen
        self._selected: int | None = None  # index of a view
        self._code_copied = 0  # code blocks of the selected entry that were copied, from its last
        self._following = True
        self._settling = False
        self._more_below = False
        self._thumb: int | None = None  # cells of the scrollbar's thumb, while following
        self._tip: str | None = None
        self._palette: Palette | None = None
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(512)  # by line and look

    # What is shown

    @property
    def selected(self) -> int | None:
        """The key of the selected entry."""
        return None if self._selected is None else self._views[self._selected].entry.key

    @property
    def following(self) -> bool:
        """Whether the end stays in sight as text is added."""
        return self._following

    def show(self, entries: Sequence[Entry]) -> None:
        """Show a whole conversation. Entries that are shown already keep their layout; when none
        is, its end is shown."""
        selected, anchor = self.selected, self._anchor()
        before = self._views
        old = {view.entry.key: view for view in before}
        self._views = [self._view(entry, old.get(entry.key)) for entry in entries]
        keys = [view.entry.key for view in self._views]
        self._following = self._following or old.keys().isdisjoint(keys)
        self._selected = keys.index(selected) if selected in keys else None
        if selected is not None and self._selected is None:
            self.post_message(self.EntrySelected(None))
        if self.text_selection is not None and self._views[: len(before)] != before:
            self.screen.clear_selection()
        self._stack(0)
        self._settle(anchor)
        self.refresh()

    def append(self, text: str) -> None:
        """Add to the last entry, which is open."""
        view = self._views[-1]
        anchor = self._anchor()
        row = self._tops[-1] + view.append(text)
        self._grown(row, anchor)

    def update_last(self, entry: Entry) -> None:
        """Put another value in the place of the last entry."""
        anchor = self._anchor()
        self._views[-1] = self._view(entry, self._views[-1])
        self._grown(self._tops[-1], anchor)

    def follow(self) -> None:
        """Go to the end and stay there as text is added."""
        self._following = True
        self._settle(None)

    def _view(self, entry: Entry, old: EntryView | None) -> EntryView:
        if old is None:
            return EntryView(entry, self._columns)
        if old.entry is not entry and old.entry != entry:
            old.update(entry)
        return old

    def _grown(self, row: int, anchor: tuple[EntryView, int, int] | None) -> None:
        """The last entry has changed from `row` on."""
        before = self._total
        self._stack(len(self._views) - 1)
        top = self.scroll_offset.y
        self._settle(anchor)
        if not self._following and not self._more_below:
            self._more_below = True
            self._refresh_rows(self.scroll_offset.y + self._height - 1, 1)
        if self.scroll_offset.y == top:
            self._refresh_rows(row, max(self._total, before) - row)

    # Rows

    def _stack(self, first: int) -> None:
        """Put the views from `first` on below each other."""
        base = self._tops[first] if 0 < first < len(self._tops) else 0
        heights = [view.height for view in self._views[first:]]
        *tops, self._total = accumulate(heights, initial=base)
        self._tops[first:] = tops
        size = Size(self._columns, self._total)
        if size != self.virtual_size:
            # Not by the reactive, which would lay out the whole screen for each new line.
            self.set_reactive(Widget.virtual_size, size)
            self._sync_bar()

    def _at(self, row: int) -> tuple[int, int]:
        """The index of the view that a row belongs to, and the row in it."""
        index = max(bisect_right(self._tops, row) - 1, 0)
        return index, row - self._tops[index]

    def _anchor(self) -> tuple[EntryView, int, int] | None:
        """The first line in sight that is laid out: its view, place, and row on the screen.
        None where there is none, or where the end is followed."""
        top = self.scroll_offset.y
        if self._following:
            return None
        for row in range(top, min(top + self._height, self._total)):
            index, within = self._at(row)
            view = self._views[index]
            if view.settled(within):
                return view, view.row(within).place, row - top
        return None

    def _settle(self, anchor: tuple[EntryView, int, int] | None) -> None:
        """Lay out what is in sight, and scroll so that the end, or else the anchor, stays."""
        self._settling = True
        try:
            while True:
                top = self._wanted_top(anchor)
                if not self._lay(top, top + self._height):
                    break
                anchor = anchor or self._anchor()
            if top != self.scroll_offset.y:
                self.scroll_y = self.scroll_target_y = top
            if len(self._warm) > 2 * _WARM:
                self._cool()
        finally:
            self._settling = False
        if self._following:
            self._more_below = False

    def _wanted_top(self, anchor: tuple[EntryView, int, int] | None) -> int:
        highest = max(self._total - self._height, 0)
        if self._following:
            return highest
        if anchor is None:
            return min(self.scroll_offset.y, highest)
        view, place, below = anchor
        index = next((i for i, other in enumerate(self._views) if other is view), None)
        if index is None:
            return min(self.scroll_offset.y, highest)
        return min(max(self._tops[index] + view.row_of(place) - below, 0), highest)

    def _lay(self, top: int, bottom: int) -> bool:
        """Lay out the rows in sight; whether any was not."""
        if not self._views:
            return False
        changed = False
        index = max(bisect_right(self._tops, top) - 1, 0)
        while index < len(self._views) and self._tops[index] < bottom:
            view, base = self._views[index], self._tops[index]
            if view.settle(top - base, bottom - base):
                changed = True
                self._stack(index)
            self._warm.pop(view, None)
            self._warm[view] = None
            index += 1
        return changed

    def _cool(self) -> None:
        """Forget the lines of entries that were not seen for long."""
        for view in [*self._warm][: -max(_WARM, self._height)]:
            del self._warm[view]
            if not view.entry.open:
                view.forget()

    def _refresh_rows(self, row: int, count: int) -> None:
        y = row - self.scroll_offset.y
        first, last = max(y, 0), min(y + count, self._height)
        if first < last:
            self.refresh(Region(0, first, self._width, last - first))

    # Painting

    def refresh(
        self,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> Self:
        """Paint again what is in `regions`, or everything."""
        if regions:
            for region in regions:
                for y in region.line_range:
                    self._painted.pop(y, None)
        elif repaint:
            self._painted.clear()
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The strips of some lines. The widget has neither border nor padding, so that they can
        be kept, with what the terminal gets for them, for as long as their line does not change:
        to scroll is to send them again."""
        painted = self._painted
        missing = [y for y in crop.line_range if y not in painted]
        if missing:
            filters = self.get_line_filters()
            for y, strip in zip(missing, self._paint(missing), strict=True):
                for line_filter in filters:
                    strip = strip.apply_filter(line_filter, self._shown_palette.background)
                painted[y] = strip
        strips = [painted[y] for y in crop.line_range]
        if crop.width != self._width:
            return [strip.crop(*crop.column_span) for strip in strips]
        return strips

    def render_line(self, y: int) -> Strip:
        """A line in sight with the places that mouse selection needs."""
        (strip,) = self._paint([y])
        row = self.scroll_offset.y + y
        if row >= self._total:
            return strip
        index, within = self._at(row)
        place = self._views[index].row(within).place
        return strip.apply_offsets(-_GUTTER, (index << _PLACES) + place)

    def _paint(self, ys: Sequence[int]) -> list[Strip]:
        palette = self._shown_palette
        top, width, height = self.scroll_offset.y, self._width, self._height
        selection = self.text_selection
        strips = []
        for y in ys:
            if self._more_below and y == height - 1 and top + height < self._total:
                strips.append(self._hint(width))
            elif top + y >= self._total:
                strips.append(Strip.blank(width, palette.style(ink.PLAIN)))
            else:
                index, within = self._at(top + y)
                row = self._views[index].row(within)
                chosen = index == self._selected and within < self._views[index].height - 1
                place = (index << _PLACES) + row.place
                span = None if selection is None else _span(selection, place)
                cursor = row.last and self._views[index].entry.open
                strips.append(self._strip(row, width, span, chosen=chosen, cursor=cursor))
        return strips

    def _strip(
        self, row: Row, width: int, span: tuple[int, int] | None, *, chosen: bool, cursor: bool
    ) -> Strip:
        key = (row.line, width, row.change != "", row.changed, cursor, chosen, span)
        strip = self._strips.get(key)
        if strip is None:
            gutter = (
                Run("▎" if chosen else " ", ink.SELECTED),
                Run("┊" if row.change else " ", ink.GUTTER),
                Run(" ", ink.PLAIN),
            )
            strip = self._shown_palette.strip(
                row.line,
                gutter,
                self._columns,
                width,
                selected=span,
                selection=self._selection_style if span else None,
                changed=row.changed,
                cursor=cursor,
            )
            self._strips[key] = strip
        return strip

    @property
    def _shown_palette(self) -> Palette:
        if self._palette is None:
            self._palette = Palette(self)
        return self._palette

    @property
    def _selection_style(self) -> Style:
        return self.screen.get_component_rich_style("screen--selection")

    def _hint(self, width: int) -> Strip:
        text = _BELOW if width > len(_BELOW) + _GUTTER else _BELOW[:width]
        runs = (Run(text, ink.CODE_BLOCK | ink.LANGUAGE),)
        return self._shown_palette.strip(Line(runs), (Run(" " * _GUTTER, ink.PLAIN),), width, width)

    def notify_style_update(self) -> None:
        """The theme, or how the widget looks in it, has changed."""
        self._palette = None
        self._strips.clear()
        super().notify_style_update()

    # Scrolling

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Lay out what has come in sight; note whether the reader is at the end."""
        if not self._settling and round(old_value) != round(new_value):
            self._following = round(new_value) >= self.max_scroll_y
            self._settle(self._anchor())
        if round(old_value) != round(self.scroll_y):
            self.refresh()
        self._sync_bar()

    def _sync_bar(self) -> None:
        """Move the scrollbar's thumb. While the end is followed it only shrinks, bit by bit, and
        is not painted again before that can be seen."""
        height = self._height
        thumb = height * height // max(self._total, 1)
        if self._following and self._thumb is not None and abs(self._thumb - thumb) < 2:
            return
        self._thumb = thumb if self._following else None
        bar = self.vertical_scrollbar
        bar.window_virtual_size = self._total
        bar.position = max(self._total - height, 0) if self._following else self.scroll_y

    def on_resize(self) -> None:
        """Lay out again at another width, at the place where the reader is."""
        anchor = self._anchor()
        self._width, self._height = self.size
        width = self.scrollable_content_region.width - _GUTTER - 1
        self._columns = max(min(width, _WIDEST), 8)
        for view in self._views:
            view.resize(self._columns)
        self._painted.clear()
        self._stack(0)
        self._settle(anchor)
        self.refresh()

    def _scroll_by(self, rows: int) -> None:
        self.scroll_target_y = self.scroll_y = self.scroll_offset.y + rows

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll by the wheel."""
        event.stop()
        event.prevent_default()
        self._scroll_by(_WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll by the wheel."""
        event.stop()
        event.prevent_default()
        self._scroll_by(-_WHEEL)

    def on_scroll_to(self, message: ScrollTo) -> None:
        """Scroll by the bar, without animation: lines above may yet change their height."""
        message.stop()
        message.prevent_default()
        if message.y is not None:
            self.scroll_target_y = self.scroll_y = round(message.y)

    def action_scroll_up(self) -> None:
        """A line up."""
        self._scroll_by(-1)

    def action_scroll_down(self) -> None:
        """A line down."""
        self._scroll_by(1)

    def action_page_up(self) -> None:
        """A page up."""
        self._scroll_by(1 - self._height)

    def action_page_down(self) -> None:
        """A page down."""
        self._scroll_by(self._height - 1)

    def scroll_page_up(self, **_: object) -> None:
        """A page up, for the scrollbar."""
        self.action_page_up()

    def scroll_page_down(self, **_: object) -> None:
        """A page down, for the scrollbar."""
        self.action_page_down()

    def action_scroll_home(self) -> None:
        """To the first line."""
        self.scroll_target_y = self.scroll_y = 0

    def action_follow(self) -> None:
        """To the last line, and on with it."""
        self.follow()

    # Selecting entries

    def action_select(self, step: int) -> None:
        """Select the entry before or after."""
        if not self._views:
            raise SkipAction
        index = len(self._views) - 1 if self._selected is None else self._selected + step
        self._select(min(max(index, 0), len(self._views) - 1))
        self._bring_in_sight()

    def action_deselect(self) -> None:
        """Select no entry."""
        if self._selected is None:
            raise SkipAction
        self._select(None)

    def _select(self, index: int | None) -> None:
        if index != self._selected:
            self._selected = index
            self._code_copied = 0
            self.refresh()
            self.post_message(self.EntrySelected(self.selected))

    def _bring_in_sight(self) -> None:
        assert self._selected is not None
        view, top = self._views[self._selected], self._tops[self._selected]
        first, last = self.scroll_offset.y, self.scroll_offset.y + self._height
        bottom = top + view.height - 1
        if top < first:
            wanted = top
        elif bottom > last and top > first:
            wanted = min(top, bottom - self._height)
        else:
            return
        self._following = False
        self._settle((view, 0, top - wanted))
        self._following = self.scroll_offset.y >= self.max_scroll_y

    def action_sibling(self, offset: int) -> None:
        """Ask for another version of the selected entry, or of the last that has others."""
        index = self._selected
        if index is None:
            badged = [i for i, view in enumerate(self._views) if view.entry.badge]
            index = badged[-1] if badged else None
        if index is None or not self._views[index].entry.badge:
            raise SkipAction
        self.post_message(self.SiblingWanted(self._views[index].entry.key, offset))

    # Copying

    def action_copy(self) -> None:
        """Copy the source of the selected entry, or of the last."""
        if not self._views:
            raise SkipAction
        view = self._views[-1 if self._selected is None else self._selected]
        self.app.copy_to_clipboard(view.entry.text)
        self.post_message(self.Copied("Copied the message."))

    def action_copy_code(self) -> None:
        """Copy the last code block of the selected entry; the one before it when asked again."""
        blocks = self._code_blocks()
        if not blocks:
            self.post_message(self.Copied("There is no code to copy."))
            return
        number = len(blocks) - self._code_copied % len(blocks)
        self._code_copied += 1
        block = blocks[number - 1]
        self.app.copy_to_clipboard(block.content + "\n")
        named = f" ({name})" if (name := language(block.info)) else ""
        which = f" {number} of {len(blocks)}" if len(blocks) > 1 else ""
        self.post_message(self.Copied(f"Copied code block{which}{named}."))

    def _code_blocks(self) -> list[Block]:
        """Those of the selected entry, or of the last entry that has any."""
        views = self._views if self._selected is None else [self._views[self._selected]]
        for view in reversed(views):
            if view.entry.plain:
                continue
            parser = BlockParser()
            parser.feed(view.entry.text, final=True)
            if blocks := [block for block in parser.blocks if block.kind is Kind.CODE]:
                return blocks
        return []

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text under the mouse selection as it is seen, without layout: lines that only
        overflow are joined."""
        if not self._views:
            return None
        anchor = self._anchor()
        while True:
            first = 0 if selection.start is None else self._row_of(selection.start.y)
            last = self._total - 1 if selection.end is None else self._row_of(selection.end.y)
            if not self._lay(first, last + 1):
                break
        parts: list[str] = []
        before: Line | None = None
        for number in range(first, last + 1):
            index, within = self._at(number)
            row = self._views[index].row(within)
            span = _span(selection, (index << _PLACES) + row.place)
            if span is not None:
                parts.append(_copied(row.line, span, before))
                before = row.line
        self._settle(anchor)
        return "".join(parts), "\n"

    def _row_of(self, place: int) -> int:
        index = min(place >> _PLACES, len(self._views) - 1)
        row = self._views[index].row_of(place & ((1 << _PLACES) - 1))
        self._stack(index)
        return self._tops[index] + row

    # The mouse

    def on_click(self, event: events.Click) -> None:
        """Select the entry under the mouse, switch its version, or follow a link. Twice: select
        the text of a block; three times: of the entry."""
        if event.chain > 1:
            event.prevent_default()  # which would select all there is
            self._select_text(event)
            return
        if self.text_selection is not None:
            return
        if self._more_below and event.y == self._height - 1:
            self.follow()
            return
        row = self.scroll_offset.y + event.y
        if row >= self._total:
            self._select(None)
            return
        index, within = self._at(row)
        view = self._views[index]
        column = event.x - _GUTTER
        start, end = view.badge_span()
        if within == 0 and start <= column < end:
            offset = -1 if column < (start + end) // 2 else 1
            self.post_message(self.SiblingWanted(view.entry.key, offset))
            return
        url = _url(view.row(within).line, column)
        if url and urlsplit(url).scheme in _SCHEMES:
            self.post_message(self.LinkClicked(url))
        else:
            self._select(index)

    def _select_text(self, event: events.Click) -> None:
        row = self.scroll_offset.y + event.y
        if row < self._total:
            index, within = self._at(row)
            view = self._views[index]
            first, last = view.span(view.row(within).place if event.chain == 2 else None)
            base = index << _PLACES
            selection = Selection(Offset(0, base + first), Offset(0, base + last))
            self.screen.selections = {self: selection}

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Say which setting changed, or where a link leads, where the mouse points at one."""
        row = self.scroll_offset.y + event.y
        tip: str | None = None
        if 0 <= row < self._total:
            index, within = self._at(row)
            shown = self._views[index].row(within)
            column = event.x - _GUTTER
            on_change = any(_column(shown.line, c) == column for c in shown.changed)
            if shown.change and (column < 0 or on_change):
                tip = shown.change
            else:
                tip = _url(shown.line, column) or None
        if tip != self._tip:
            self._tip = tip
            self.tooltip = None if tip is None else Text(tip)


def _span(selection: Selection, place: int) -> tuple[int, int] | None:
    """The characters of a line that are selected."""
    span = selection.get_span(place)
    if span is None:
        return None
    start, end = span
    return max(start, 0), 1 << 30 if end < 0 and (
        selection.end is None or selection.end.y != place
    ) else max(end, 0)


def _copied(line: Line, span: tuple[int, int], before: Line | None) -> str:
    """What is copied of a line, with what joins it to the line copied before it."""
    start, end = span
    if before is None:
        return line.text[start:end]
    if not line.soft:
        return "\n" + line.text[start:end].rstrip()
    lead = sum(len(run.text) for run in line.runs[: _lead(line)])
    ends = [run for run in before.runs if run.at >= 0][-1:]
    starts = [run for run in line.runs if run.at >= 0][:1]
    joined = ends and starts and ends[0].at + len(ends[0].text) == starts[0].at
    return ("" if joined else " ") + line.text[max(start, lead) : max(end, lead)]


def _lead(line: Line) -> int:
    return next((i for i, run in enumerate(line.runs) if run.at >= 0), len(line.runs))


def _column(line: Line, character: int) -> int:
    return cells((Run(line.text[:character], 0),))


def _url(line: Line, column: int) -> str:
    for run in line.runs:
        width = cells((run,))
        if 0 <= column < width:
            return run.url
        column -= width
    return ""
