"""A question with yes and no."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from chatterm.chat.clean import clean_line
from chatterm.ui.screens.dialog import Dialog


class ConfirmScreen(Dialog[bool | None]):
    """Asks `question` about `subject`; the result is True when the user says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "dismiss(True)", "Yes", id="confirm.yes"),
        Binding("n", "dismiss(False)", "No", id="confirm.no"),
    ]

    def __init__(self, question: str, subject: str) -> None:
        super().__init__()
        self._question = question
        self._subject = subject

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(self._question, classes="box-title", markup=False)
            yield Static(clean_line(self._subject, 400), markup=False)
            yield Static("y yes   n no", classes="box-keys", markup=False)
