"""Keys and commands, all on one screen that scrolls."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chatterm.ui.commands import COMMANDS
from chatterm.ui.keymap import Place
from chatterm.ui.screens.dialog import Dialog

ABOUT = (
    "A model writes one token at a time and cannot take one back: a bad early one steers the rest. "
    "So watch it, move a slider while it writes, stop it as soon as it goes wrong (esc), and "
    "rephrase (esc again). Nothing is lost: each way of going on is a branch, and ‹1/2› says where "
    "there are several; ← and → in an empty prompt go from one to the other."
)
KEYS = "Keys can be changed in the settings file under [keys], by the names at the right."
_LEFT = 24  # cells of the left column, with what is between the columns


class HelpText(Static):
    """Help in two columns. `places` say which keys there are."""

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__(markup=False)
        self._places = places

    def on_resize(self) -> None:
        self.update(Content("\n").join(self._lines(self.content_size.width)))

    def _lines(self, width: int) -> Iterator[Content]:
        yield from map(Content, textwrap.wrap(f"{ABOUT} {KEYS}", width))
        for place in self._places:
            yield Content("")
            yield Content.styled(place.name, "bold")
            for binding in place.bindings:
                keys = "  ".join(binding.key.split(","))
                yield from _row(keys, binding.description, binding.id or "", width)
            yield from map(Content, textwrap.wrap(place.hint, width, initial_indent="  "))
        yield Content("")
        yield Content.styled("Commands", "bold")
        for command in COMMANDS:
            names = "  ".join(f"/{name}" for name in command.names)
            yield from _row(f"{names} {command.argument}".rstrip(), command.help, "", width)


class HelpScreen(Dialog[None]):
    """Help, for the keys at these places."""

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__()
        self._places = places

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall"):
            yield Static("Help", classes="box-title", markup=False)
            with VerticalScroll():
                yield HelpText(self._places)
            yield Static("↑↓ scroll   esc close", classes="box-keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def _row(left: str, right: str, name: str, width: int) -> Iterator[Content]:
    """`left`, and beside it, or below where it is too long, `right`; `name` at the right end."""
    room = max(width - _LEFT, 16)
    lines = textwrap.wrap(right, room) or [""]
    if len(lines[-1]) + 2 + len(name) > room:
        lines.append("")
    if len(left) + 4 > _LEFT:
        yield Content.styled(f"  {left}", "$accent")
        left = ""
    for number, line in enumerate(lines):
        last = number == len(lines) - 1
        gap = " " * max(room - len(line) - len(name), 0)
        yield Content.assemble(
            (f"  {'' if number else left}".ljust(_LEFT), "$accent"),
            line,
            (f"{gap}{name}" if last and name else "", "$foreground-muted"),
        )
