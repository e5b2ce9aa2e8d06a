"""The sampling settings as a list of sliders, and the pace among them.

The invariant: `sampling` is the value that the sliders show; a user's change replaces it by a new
frozen value and posts one `Changed`, or one `PaceChanged`.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from chatterm.chat.pace import PACE
from chatterm.chat.sampling import FIELDS, Sampling, with_value
from chatterm.ui.widgets.backdrop import Backdrop
from chatterm.ui.widgets.field_row import FieldRow
from chatterm.ui.widgets.seed_row import SeedRow
from chatterm.ui.widgets.slider import Slider
from chatterm.ui.widgets.stop_strings import StopEntry, StopStrings

# What is reached for most comes first.
ORDER = (
    *("temperature", "top_p", "top_k", "min_p"),
    *("pace", "max_tokens", "seed"),
    *("repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty"),
    "typical_p",
)


class PanelHeader(Widget):
    """The title, a word for the settings as a whole, and a star when they are changed."""

    DEFAULT_CSS = """
    PanelHeader { width: 1fr; height: 1; padding: 0 1; margin-bottom: 1; }
    """

    word: reactive[str] = reactive("")
    changed: reactive[bool] = reactive(False)

    def render(self) -> Content:
        title, mark = "Sampling", "*" if self.changed else " "
        gap = max(self.content_size.width - len(title) - len(self.word) - 1, 1)
        return Content.assemble((title, "bold"), " " * gap, self.word, mark)


class SamplingPanel(Backdrop, VerticalScroll, can_focus=False):
    """Sliders for all sampling settings, under a word for how they are as a whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "The setting above", show=False, id="panel.up"),
        Binding("down", "move(1)", "The setting below", show=False, id="panel.down"),
        Binding("R", "reset_all", "All back to the defaults", show=False, id="panel.reset-all"),
    ]
    """
    | Key(s) | Description |
    | :- | :- |
    | up, down | To the slider above or below. |
    | R | All settings back to the defaults. |
    """

    DEFAULT_CSS = """
    SamplingPanel {
        width: 34;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        scrollbar-color: $foreground 25%;
        scrollbar-background: $background;

        & Slider, & SeedRow, & StopStrings { margin-bottom: 1; }
    }
    """

    class Changed(Message):
        """Posted once for each change that the user makes."""

        def __init__(self, panel: SamplingPanel, sampling: Sampling) -> None:
            super().__init__()
            self.panel = panel
            self.sampling = sampling

        @property
        def control(self) -> SamplingPanel:
            """Alias for self.panel."""
            return self.panel

    class PaceChanged(Message):
        """Posted once for each change of the pace that the user makes."""

        def __init__(self, pace: float) -> None:
            super().__init__()
            self.pace = pace

    def __init__(
        self,
        sampling: Sampling | None = None,
        *,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        """A panel that shows `sampling`, which is also what `r` goes back to until `show`."""
        super().__init__(id=id, classes=classes)
        self.sampling = sampling or Sampling()
        self.defaults = self.sampling

    def compose(self) -> ComposeResult:
        yield PanelHeader()
        for name in ORDER:
            if name == PACE.name:
                yield Slider(PACE, id="row-pace")
            else:
                kind = SeedRow if name == "seed" else Slider
                yield kind(FIELDS[name], getattr(self.sampling, name), id=f"row-{name}")
        yield StopStrings(self.sampling.stop)

    def show(self, sampling: Sampling, defaults: Sampling | None = None) -> None:
        """Show `sampling`, and from now on reset to `defaults`. Posts no message."""
        defaults = defaults or self.defaults
        if (sampling, defaults) != (self.sampling, self.defaults):
            self.sampling, self.defaults = sampling, defaults
            self._show_rows()

    def show_pace(self, pace: float, default: float) -> None:
        """Show `pace`, and from now on reset to `default`. Posts no message."""
        for row in self.query("#row-pace").results(Slider):
            row.set_value(pace, default)

    def _show_rows(self) -> None:
        for name in FIELDS:
            row = self.query_one(f"#row-{name}", FieldRow)
            row.set_value(getattr(self.sampling, name), getattr(self.defaults, name))
        for stop_strings in self.query(StopStrings):
            stop_strings.set_stop(self.sampling.stop)
        self._show_header()

    def focus_first(self) -> None:
        """Give the first slider the focus."""
        self.screen.set_focus(self.query(FieldRow).first())

    def on_mount(self) -> None:
        self._show_rows()

    def _show_header(self) -> None:
        for header in self.query(PanelHeader):
            header.word = FIELDS["temperature"].effect(self.sampling.temperature)
            header.changed = self.sampling != self.defaults

    def on_field_row_changed(self, event: FieldRow.Changed) -> None:
        event.stop()
        if event.field == PACE.name:
            self.post_message(self.PaceChanged(event.value))
        else:
            self._change(with_value(self.sampling, event.field, event.value))

    def on_stop_strings_changed(self, event: StopStrings.Changed) -> None:
        event.stop()
        self._change(msgspec.structs.replace(self.sampling, stop=event.strings))

    def action_move(self, step: int) -> None:
        """Move the focus to the row above or below, stopping at the ends."""
        rows: list[Widget] = list(self.query(FieldRow))
        rows += self.query(StopEntry)
        focused = self.screen.focused
        at = rows.index(focused) + step if focused in rows else 0
        # At once, for the key that comes next.
        self.screen.set_focus(rows[min(max(at, 0), len(rows) - 1)])

    def action_reset_all(self) -> None:
        """All settings back to the defaults."""
        if self.sampling != self.defaults:
            self.show(self.defaults)
            self.post_message(self.Changed(self, self.sampling))

    def _change(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._show_header()
        self.post_message(self.Changed(self, sampling))
