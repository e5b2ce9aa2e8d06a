"""What the smaller screens have in common: a titled box in the middle that escape closes."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

Result = TypeVar("Result")


class Dialog(ModalScreen[Result], Generic[Result]):
    """A screen over the chat, which stays visible behind it and goes on being written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="dialog.close"),
    ]

    def action_close(self) -> None:
        """Go back without a result."""
        self.dismiss(None)
