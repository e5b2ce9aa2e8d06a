"""One number of the sampling settings, as a row that can be typed into.

The invariant: `Changed` is posted for a change made by the user, with a value that the field
allows, and never for one made by the program.
"""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from chatterm.chat.sampling import Field
from chatterm.ui.widgets.scale import stepped

_TYPED_LIMIT = 12


class FieldRow(Widget, can_focus=True):
    """A label, what the value does in a word, and the value. `r` resets, digits type a number."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Less", show=False, id="slider.less"),
        Binding("right", "step(1)", "More", show=False, id="slider.more"),
        Binding("shift+left", "step(-1, True)", "Much less", show=False, id="slider.much-less"),
        Binding("shift+right", "step(1, True)", "Much more", show=False, id="slider.much-more"),
        Binding("r", "reset", "Back to the default", show=False, id="slider.reset"),
        Binding("enter", "take_typed", "Take the typed number", show=False, id="slider.take"),
        Binding("escape", "drop_typed", "Drop the typed number", show=False, id="slider.drop"),
        Binding("backspace", "erase_typed", "Erase a typed digit", show=False, id="slider.erase"),
    ]
    """
    | Key(s) | Description |
    | :- | :- |
    | left, right | One step; with shift a large one. |
    | digits, `.`, `-` | Type a value: enter or leaving takes it, escape drops it. |
    | r | Back to the default. |
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "field-row--label",
        "field-row--effect",
        "field-row--value",
        "field-row--changed",
        "field-row--typed",
    }
    """
    | Class | Description |
    | :- | :- |
    | `field-row--label` | The name of the field. |
    | `field-row--effect` | What the value does, in a word. |
    | `field-row--value` | The value while it is the default. |
    | `field-row--changed` | The value while it is not. |
    | `field-row--typed` | A value being typed. |
    """

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    FieldRow {
        height: 1;
        width: 1fr;
        padding: 0 1;

        & .field-row--label { color: $foreground; }
        & .field-row--effect { color: $foreground-muted; }
        & .field-row--value { color: $foreground; }
        & .field-row--changed { color: $accent; text-style: bold; }
        & .field-row--typed { color: $background; background: $accent; }

        &:focus { background: $surface; }
        &:focus .field-row--label { text-style: bold; }
    }
    """

    value: reactive[float] = reactive(0.0, init=False)
    """The value that is shown."""

    typed: reactive[str] = reactive("", init=False)
    """What has been typed of a new value; empty while nobody types."""

    class Changed(Message):
        """Posted when the user has changed the value."""

        def __init__(self, row: FieldRow, value: float) -> None:
            super().__init__()
            self.row = row
            self.field = row.field.name
            self.value = value

        @property
        def control(self) -> FieldRow:
            """Alias for self.row."""
            return self.row

    def __init__(
        self,
        field: Field,
        value: float | None = None,
        *,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        """A row for `field`, showing `value`, or the field's default."""
        super().__init__(id=id, classes=classes)
        self.field = field
        self.default = field.default
        self.set_reactive(FieldRow.value, field.default if value is None else value)

    def set_value(self, value: float, default: float | None = None) -> None:
        """Show `value`, and reset to `default` from now on. Posts no message."""
        if default is not None and default != self.default:
            self.default = default
            self.refresh()
        self.value = value

    @property
    def changed(self) -> bool:
        """Whether the value differs from the default."""
        return self.value != self.default

    def change(self, value: float) -> None:
        """Take `value` from the user."""
        self.typed = ""
        if value != self.value:
            self.value = value
            self.post_message(self.Changed(self, value))

    def render(self) -> Content:
        return self.render_head(self.content_size.width)

    def render_head(self, width: int) -> Content:
        """The row of label, effect and value, `width` cells wide."""
        label = self.field.label
        if self.typed:
            value, style = f"{self.typed}▏", "field-row--typed"
        elif self.changed:
            value, style = f"{self.field.show(self.value)}*", "field-row--changed"
        else:
            value, style = f"{self.field.show(self.value)} ", "field-row--value"
        effect = "" if self.typed else self.field.effect(self.value)
        room = width - cell_len(label) - cell_len(value)
        # Two cells apart, and a cut effect says less than none.
        if cell_len(effect) + 4 > room:
            effect = ""
        gap = max(room - cell_len(effect) - (2 if effect else 0), 1)
        return Content.assemble(
            (label, self.get_visual_style("field-row--label")),
            " " * gap,
            (effect, self.get_visual_style("field-row--effect")),
            "  " if effect else "",
            (value, self.get_visual_style(style)),
        )

    def on_key(self, event: events.Key) -> None:
        if event.character is not None and event.character in "0123456789.-":
            self.typed = (self.typed + event.character)[:_TYPED_LIMIT]
            event.stop()
            event.prevent_default()

    def on_blur(self, _event: events.Blur) -> None:
        self._take_typed()

    def action_step(self, steps: int, large: bool = False) -> None:
        """Move the value by steps."""
        self._take_typed()
        self.change(stepped(self.field, self.value, steps, large=large))

    def action_reset(self) -> None:
        """Back to the default."""
        self.change(self.default)

    def action_take_typed(self) -> None:
        """Use the number that has been typed."""
        self._only_while_typing()
        self._take_typed()

    def action_drop_typed(self) -> None:
        """Forget the number that has been typed."""
        self._only_while_typing()
        self.typed = ""

    def action_erase_typed(self) -> None:
        """Take back the last key."""
        self._only_while_typing()
        self.typed = self.typed[:-1]

    def _only_while_typing(self) -> None:
        if not self.typed:
            raise SkipAction  # the key is somebody else's

    def _take_typed(self) -> None:
        typed, self.typed = self.typed, ""
        try:
            value = float(typed)
        except ValueError:  # nothing typed, or no number, such as a lone "-"
            return
        self.change(self.field.snap(value))
