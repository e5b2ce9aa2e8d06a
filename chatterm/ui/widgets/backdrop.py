"""Containers that cost nothing to draw.

Whenever a part of the screen changes, Textual asks each widget whose clip it touches for all of
its lines, blank or not. A container behind the transcript would so style dozens of blank lines
for each token that is shown; these keep them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Horizontal, Vertical
from textual.geometry import Region
from textual.strip import Strip

if TYPE_CHECKING:
    from textual.widget import Widget
else:
    # Not a widget itself, or Textual would take styles and bindings from it alone.
    Widget = object


class Backdrop(Widget):
    """Mixed into a widget that draws nothing of its own but its background."""

    _kept: tuple[Region, list[Strip]] | None = None

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines of `crop`, kept from the last time."""
        if self._kept is None or self._kept[0] != crop:
            self._kept = crop, super().render_lines(crop)
        return self._kept[1]

    def notify_style_update(self) -> None:
        """The background may be another."""
        self._kept = None
        super().notify_style_update()


class Rows(Backdrop, Vertical):
    """Children below each other."""


class Columns(Backdrop, Horizontal):
    """Children beside each other."""
