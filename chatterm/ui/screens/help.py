"""Keys and commands, all on one screen that scrolls."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chatterm.ui.commands import COMMANDS
from chatterm.ui.screens.dialog import Dialog

ABOUT = (
    "A model writes one token at a time and cannot take one back: a bad early one steers the rest. "
    "So watch it, move a slider while it writes, stop it as soon as it goes wrong (esc), and "
    "rephrase (esc again). Nothing is lost: each way of going on is a branch, and ‹1/2› says where "
    "there are several; ← and → in an empty prompt go from one to the other."
)


class HelpScreen(Dialog[None]):
    """Help. `groups` are the bindings of each place, under its name."""

    def __init__(self, groups: Iterable[tuple[str, Iterable[Binding]]]) -> None:
        super().__init__()
        self._groups = [(name, list(bindings)) for name, bindings in groups]

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall"):
            yield Static("Help", classes="box-title", markup=False)
            with VerticalScroll():
                yield Static(self._content(), markup=False)
            yield Static("↑↓ scroll   esc close", classes="box-keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def _content(self) -> Content:
        lines = [Content(ABOUT), Content("")]
        for name, bindings in self._groups:
            lines.append(Content.styled(name, "bold"))
            lines += [
                _row(binding.key.replace(",", "  "), binding.description) for binding in bindings
            ]
            lines.append(Content(""))
        lines.append(Content.styled("Commands", "bold"))
        for command in COMMANDS:
            names = "  ".join(f"/{name}" for name in command.names)
            lines.append(_row(f"{names} {command.argument}".rstrip(), command.help))
        return Content("\n").join(lines)


def _row(left: str, right: str) -> Content:
    return Content.assemble((f"  {left:<30} ", "$accent"), right)
