"""The seed, as a row: its range is too wide for a track."""

from __future__ import annotations

import secrets
from typing import ClassVar

from textual.binding import Binding, BindingType

from chatterm.ui.widgets.field_row import FieldRow


class SeedRow(FieldRow):
    """A `FieldRow` on which `n` draws a new seed that then stays; `r` leaves it to chance again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "draw", "On the seed: a new one", show=False, id="slider.new-seed"),
    ]

    def action_draw(self) -> None:
        """Use a new seed, short enough to be read out and typed again."""
        self.change(float(secrets.randbelow(1_000_000)))
