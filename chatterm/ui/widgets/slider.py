"""A slider for one number of the sampling settings: keys, mouse, and typing."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content

from chatterm.chat.sampling import Field
from chatterm.ui.widgets.field_row import FieldRow
from chatterm.ui.widgets.scale import place_of, value_at


class Slider(FieldRow):
    """A `FieldRow` with a track below it, on which a thumb can be dragged.

    The wheel moves the thumb over the track alone: over the label it scrolls the list that the
    slider is in.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "to_place(0)", "Lowest", show=False, id="slider.lowest"),
        Binding("end", "to_place(1)", "Highest", show=False, id="slider.highest"),
    ]
    """
    | Key(s) | Description |
    | :- | :- |
    | home, end | The ends of the track. |
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "slider--track",
        "slider--filled",
        "slider--thumb",
    }
    """
    | Class | Description |
    | :- | :- |
    | `slider--track` | The track, and the tick at the default. |
    | `slider--filled` | The part of the track up to the thumb. |
    | `slider--thumb` | The thumb. |
    """

    DEFAULT_CSS = """
    Slider {
        height: 2;
        pointer: pointer;

        & .slider--track { color: $foreground 40%; }
        & .slider--filled { color: $primary 70%; }
        & .slider--thumb { color: $primary; }
        &:hover .slider--thumb { color: $foreground; }
        &:focus .slider--filled { color: $accent 70%; }
        &:focus .slider--thumb { color: $accent; }
    }
    """

    def __init__(
        self,
        field: Field,
        value: float | None = None,
        *,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        """A slider for `field`, at `value` or at the field's default."""
        super().__init__(field, value, id=id, classes=classes)
        self._dragging = False

    def render(self) -> Content:
        width = self.content_size.width
        return Content("\n").join((self.render_head(width), self.render_track(width)))

    def render_track(self, width: int) -> Content:
        """The track with its filled part, the tick at the default, and the thumb."""
        column = self._column_of(self.value, width)
        tick = self._column_of(self.default, width)
        # A field that goes to both sides of zero is filled from there.
        origin = self._column_of(0, width) if self.field.lowest < 0 and not self.field.stops else 0
        start, end = sorted((origin, column))
        styles = {
            kind: self.get_visual_style(f"slider--{kind}") for kind in ("track", "filled", "thumb")
        }
        cells = (_cell(at, column, tick, filled=start <= at < end) for at in range(width))
        runs = groupby(cells, key=itemgetter(1))
        return Content.assemble(*(("".join(c for c, _ in run), styles[kind]) for kind, run in runs))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1 and self._is_on_track(event):
            self._dragging = True
            self.capture_mouse()
            self._drag_to(event)
        event.stop()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragging:
            self._drag_to(event)
            event.stop()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._dragging:
            self.release_mouse()
            event.stop()

    def on_mouse_release(self, _event: events.MouseRelease) -> None:
        self._dragging = False

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, -1)

    def action_to_place(self, place: float) -> None:
        """Move the thumb to a fraction of the track."""
        self.change(value_at(self.field, place))

    def _wheel(self, event: events.MouseEvent, steps: int) -> None:
        if self._is_on_track(event) and not (event.ctrl or event.shift):
            self.action_step(steps)
            event.stop()
            event.prevent_default()

    def _is_on_track(self, event: events.MouseEvent) -> bool:
        return event.screen_y == self.content_region.y + 1

    def _drag_to(self, event: events.MouseEvent) -> None:
        column = event.screen_x - self.content_region.x
        self.change(value_at(self.field, column / max(self.content_region.width - 1, 1)))

    def _column_of(self, value: float, width: int) -> int:
        return round(place_of(self.field, value) * max(width - 1, 0))


def _cell(at: int, thumb: int, tick: int, *, filled: bool) -> tuple[str, str]:
    """The character at one column of the track, and what it belongs to."""
    if at == thumb:
        return "●", "thumb"
    if filled:
        return "┷" if at == tick else "━", "filled"
    return "┴" if at == tick else "─", "track"
