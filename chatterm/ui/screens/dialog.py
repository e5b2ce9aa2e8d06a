"""What the smaller screens have in common: a titled box in the middle that escape closes, and,
where something is chosen, a line to type in over a list."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList

Result = TypeVar("Result")


class Dialog(ModalScreen[Result], Generic[Result]):
    """A screen over the chat, which stays visible behind it and goes on being written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="dialog.close"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-high")]  # noqa: RUF012 - as Screen has it

    def action_close(self) -> None:
        """Go back without a result."""
        self.dismiss(None)


class Choice(Dialog[Result], Generic[Result]):
    """A dialog with a line to type in and the list `#choices`, in which up and down move from
    the line too."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "The choice above", id="choice.up"),
        Binding("down", "move(1)", "The choice below", id="choice.down"),
    ]

    @property
    def choices(self) -> OptionList:
        """The list."""
        return self.query_one("#choices", OptionList)

    def action_move(self, step: int) -> None:
        """Go to the choice above or below."""
        if step < 0:
            self.choices.action_cursor_up()
        else:
            self.choices.action_cursor_down()
