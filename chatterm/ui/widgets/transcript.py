"""The conversation, as one widget that paints lines.

Every entry is an EntryView; the widget stacks them, lays out what is seen, and paints a line only
when it has changed. Two invariants: while the reader is at the end, the end stays in sight; while
they are elsewhere, the line at the top of what they see stays there, whatever is added or laid
out above or below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from chatterm.ui.markdown.wrap import Line, Run
from chatterm.ui.palette import CLASSES, CSS, Palette
from chatterm.ui.widgets.entry_stack import Anchor, EntryStack, Found, selected_span
from chatterm.ui.widgets.entry_view import Entry, EntryView, Mark

__all__ = ["Entry", "Mark", "Transcript"]

_GUTTER = 3  # cells before the text: selection, change of settings, blank
_WIDEST = 100  # cells of text, however wide the screen
_WHEEL = 3  # rows
_SCHEMES = ("http", "https", "mailto")
_BELOW = " ↓ more below, Ctrl+End "


class Transcript(ScrollView, can_focus=True):
    """Shows entries, of which one may still be written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Scroll up", show=False, id="transcript.up"),
        Binding("down", "scroll_down", "Scroll down", show=False, id="transcript.down"),
        Binding("pageup", "page_up", "Page up", show=False, id="transcript.page-up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="transcript.page-down"),
        Binding("home", "scroll_home", "To the beginning", show=False, id="transcript.home"),
        Binding("end", "follow", "To the end", show=False, id="transcript.end"),
        Binding("k,shift+up", "select(-1)", "Message before", show=False, id="transcript.before"),
        Binding("j,shift+down", "select(1)", "Message after", show=False, id="transcript.after"),
        Binding("y", "copy", "Copy the message's text", show=False, id="transcript.copy"),
        Binding(
            "c",
            "copy_code",
            "Copy its last code block; again: the one before",
            show=False,
            id="transcript.copy-code",
        ),
        Binding("left", "sibling(-1)", "Version before", show=False, id="transcript.older"),
        Binding("right", "sibling(1)", "Version after", show=False, id="transcript.newer"),
        Binding("escape", "deselect", "Choose no message", show=False, id="transcript.deselect"),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {*CLASSES}

    DEFAULT_CSS = (
        CSS
        + """
    Transcript {
        background: $background;
        color: $foreground;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
    }
    """
    )

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
        self._stack = EntryStack()
        self._width = self._height = 0  # of the widget
        self._columns = _WIDEST  # of the text
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
        return None if self._selected is None else self._stack.views[self._selected].entry.key

    @property
    def following(self) -> bool:
        """Whether the end stays in sight as text is added."""
        return self._following

    def show(self, entries: Sequence[Entry]) -> None:
        """Show a whole conversation. Entries that are shown already keep their layout; when none
        is, its end is shown."""
        selected, anchor = self.selected, self._anchor()
        before = self._stack.views
        old = {view.entry.key: view for view in before}
        self._stack.views = [self._view(entry, old.get(entry.key)) for entry in entries]
        keys = [view.entry.key for view in self._stack.views]
        self._following = self._following or old.keys().isdisjoint(keys)
        self._selected = keys.index(selected) if selected in keys else None
        if selected is not None and self._selected is None:
            self.post_message(self.EntrySelected(None))
        if self.text_selection is not None and self._stack.views[: len(before)] != before:
            self.screen.clear_selection()
        self._restack(0)
        self._settle(anchor)
        self.refresh()

    def append(self, text: str) -> None:
        """Add to the entry that is open; others may wait their turn below it."""
        index = self._last(lambda entry: entry.open)
        anchor = self._anchor()
        row = self._stack.top(index) + self._stack.views[index].append(text)
        self._grown(index, row, anchor)

    def update(self, entry: Entry) -> None:
        """Put another value in the place of the entry with its key."""
        index = self._last(lambda shown: shown.key == entry.key)
        anchor = self._anchor()
        self._stack.views[index] = self._view(entry, self._stack.views[index])
        self._grown(index, self._stack.top(index), anchor)

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

    def _last(self, wanted: Callable[[Entry], bool]) -> int:
        """The index of the last entry that is wanted, which there must be."""
        views = self._stack.views
        return next(i for i in range(len(views) - 1, -1, -1) if wanted(views[i].entry))

    def _grown(self, index: int, row: int, anchor: Anchor | None) -> None:
        """An entry has changed from `row` on."""
        before = self._stack.total
        self._restack(index)
        top = self.scroll_offset.y
        self._settle(anchor)
        if not self._following and not self._more_below:
            self._more_below = True
            self._refresh_rows(self.scroll_offset.y + self._height - 1, 1)
        if self.scroll_offset.y == top:
            self._refresh_rows(row, max(self._stack.total, before) - row)

    # Rows

    def _restack(self, first: int = 0) -> None:
        self._stack.stack(first)
        self._measure()

    def _measure(self) -> None:
        size = Size(self._columns, self._stack.total)
        if size != self.virtual_size:
            # Not by the reactive, which would lay out the whole screen for each new line.
            self.set_reactive(Widget.virtual_size, size)
            self._sync_bar()

    def _anchor(self) -> Anchor | None:
        """What is to stay in its place on the screen, None while the end is followed."""
        top = self.scroll_offset.y
        return None if self._following else self._stack.anchor(top, top + self._height)

    def _settle(self, anchor: Anchor | None) -> None:
        """Lay out what is in sight, and scroll so that the end, or else the anchor, stays."""
        self._settling = True
        try:
            while self._stack.lay(top := self._wanted_top(anchor), top + self._height):
                anchor = anchor or self._anchor()
            self._stack.cool(self._height)
            self._measure()
            if top != self.scroll_offset.y:
                self.scroll_y = self.scroll_target_y = top
        finally:
            self._settling = False
        if self._following:
            self._more_below = False

    def _wanted_top(self, anchor: Anchor | None) -> int:
        highest = max(self._stack.total - self._height, 0)
        if self._following:
            return highest
        row = None if anchor is None else self._stack.row_of(anchor)
        if anchor is None or row is None:
            return min(self.scroll_offset.y, highest)
        return min(max(row - anchor.below, 0), highest)

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
        if row >= self._stack.total:
            return strip
        return strip.apply_offsets(-_GUTTER, self._stack.at(row).place)

    def _paint(self, ys: Sequence[int]) -> list[Strip]:
        palette = self._shown_palette
        top, width, height = self.scroll_offset.y, self._width, self._height
        selection = self.text_selection
        strips = []
        for y in ys:
            if self._more_below and y == height - 1 and top + height < self._stack.total:
                strips.append(self._hint(width))
            elif top + y >= self._stack.total:
                strips.append(palette.strip(Line(()), self._gutter(), width, width))
            else:
                strips.append(self._strip(self._stack.at(top + y), selection))
        return strips

    def _strip(self, found: Found, selection: Selection | None) -> Strip:
        view, row = found.view, found.row
        span = None if selection is None else selected_span(selection, found.place)
        chosen = found.number == self._selected and found.within < view.height - 1
        cursor = row.last and view.entry.open
        key = (row.line, row.change != "", row.changed, cursor, chosen, span, self.has_focus)
        strip = self._strips.get(key)
        if strip is None:
            gutter = self._gutter(chosen=chosen, change=row.change != "")
            strip = self._shown_palette.strip(
                row.line,
                gutter,
                self._columns,
                self._width,
                selected=span,
                selection=self._selection_style if span else None,
                changed=row.changed,
                cursor=cursor,
            )
            self._strips[key] = strip
        return strip

    def _gutter(self, *, chosen: bool = False, change: bool = False) -> tuple[Run, ...]:
        """What stands before a line: a bar at the selected entry, a thin one while the widget has
        the focus, and a mark where settings were changed."""
        bar = Run("▏" if self.has_focus else " ", ink.CURSOR)
        return (
            Run("▎", ink.SELECTED) if chosen else bar,
            Run("┊" if change else " ", ink.GUTTER),
            Run(" ", ink.PLAIN),
        )

    @property
    def _shown_palette(self) -> Palette:
        if self._palette is None:
            self._palette = Palette(self)
        return self._palette

    @property
    def _selection_style(self) -> Style:
        style = self.screen.get_component_rich_style("screen--selection")
        # A transparent colour is for text that keeps its own; as a Rich style it would hide it.
        keeps = self.screen.get_component_styles("screen--selection").color.a == 0
        return Style(bgcolor=style.bgcolor) if keeps else style

    def _hint(self, width: int) -> Strip:
        text = _BELOW if width > len(_BELOW) + _GUTTER else _BELOW[:width]
        runs = (Run(text, ink.CODE_BLOCK | ink.LANGUAGE),)
        return self._shown_palette.strip(Line(runs), self._gutter(), width, width)

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
        thumb = height * height // max(self._stack.total, 1)
        if self._following and self._thumb is not None and abs(self._thumb - thumb) < 2:
            return
        self._thumb = thumb if self._following else None
        bar = self.vertical_scrollbar
        bar.window_virtual_size = self._stack.total
        bar.position = max(self._stack.total - height, 0) if self._following else self.scroll_y

    def on_resize(self) -> None:
        """Lay out again at another width, at the place where the reader is."""
        anchor = self._anchor()
        self._width, self._height = self.size
        width = self.scrollable_content_region.width - _GUTTER - 1
        self._columns = max(min(width, _WIDEST), 8)
        for view in self._stack.views:
            view.resize(self._columns)
        self._painted.clear()
        self._strips.clear()
        self._restack(0)
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
        if not self._stack.views:
            raise SkipAction
        index = len(self._stack.views) - 1 if self._selected is None else self._selected + step
        self._select(min(max(index, 0), len(self._stack.views) - 1))
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
        view, top = self._stack.views[self._selected], self._stack.top(self._selected)
        first, last = self.scroll_offset.y, self.scroll_offset.y + self._height
        bottom = top + view.height - 1
        if top < first:
            wanted = top
        elif bottom > last and top > first:
            wanted = min(top, bottom - self._height)
        else:
            return
        self._following = False
        self._settle(Anchor(view, 0, top - wanted))
        self._following = self.scroll_offset.y >= self.max_scroll_y

    def action_sibling(self, offset: int) -> None:
        """Ask for another version of the selected entry, or of the last that has others."""
        index = self._selected
        if index is None:
            badged = [i for i, view in enumerate(self._stack.views) if view.entry.badge]
            index = badged[-1] if badged else None
        if index is None or not self._stack.views[index].entry.badge:
            raise SkipAction
        self.post_message(self.SiblingWanted(self._stack.views[index].entry.key, offset))

    # Copying

    def action_copy(self) -> None:
        """Copy the source of the selected entry, or of the last."""
        if not self._stack.views:
            raise SkipAction
        view = self._stack.views[-1 if self._selected is None else self._selected]
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
        views = self._stack.views if self._selected is None else [self._stack.views[self._selected]]
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
        anchor = self._anchor()
        text = self._stack.text(selection)
        self._settle(anchor)
        return text, "\n"

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
        if row >= self._stack.total:
            self._select(None)
            return
        found = self._stack.at(row)
        entry, column = found.view.entry, event.x - _GUTTER
        start, end = found.view.badge_span()
        url = found.row.line.url(column)
        if found.within == 0 and start <= column < end:
            offset = -1 if column < (start + end) // 2 else 1
            self.post_message(self.SiblingWanted(entry.key, offset))
        elif url and urlsplit(url).scheme in _SCHEMES:
            self.post_message(self.LinkClicked(url))
        else:
            self._select(found.number)

    def _select_text(self, event: events.Click) -> None:
        row = self.scroll_offset.y + event.y
        if row < self._stack.total:
            whole = event.chain > 2
            first, last = self._stack.block_places(self._stack.at(row), whole=whole)
            self.screen.selections = {self: Selection(Offset(0, first), Offset(0, last))}

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Say which setting changed, or where a link leads, where the mouse points at one."""
        row = self.scroll_offset.y + event.y
        tip: str | None = None
        if 0 <= row < self._stack.total:
            shown = self._stack.at(row).row
            line, column = shown.line, event.x - _GUTTER
            on_change = any(line.column(character) == column for character in shown.changed)
            if shown.change and (column < 0 or on_change):
                tip = shown.change
            else:
                tip = line.url(column) or None
        if tip != self._tip:
            self._tip = tip
            self.tooltip = None if tip is None else Text(tip)
