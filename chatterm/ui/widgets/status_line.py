"""The status line: what the model is doing and what it costs, in one line of any width.

`layout` makes the line from a `Status`; the widget draws again only when that text has changed,
so that figures that arrive many times a second cost next to nothing.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from chatterm.chat.clean import clean_line

_SEPARATOR = " · "
_BAR_CELLS = 10
# What goes first when the line is too narrow.
_LEAST_IMPORTANT_FIRST = (
    *("model", "kept", "first", "bar", "hint", "device", "stopped", "tokens", "kind", "rate"),
    "context",
)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the status line shows. What is empty, zero or None is left out.

    device is "7 threads" or a GPU's name. Of n_ctx tokens of context, context_tokens are in use,
    and cached_tokens of these needed no evaluation in the last turn. tokens and tokens_per_s are
    of the last reply. Times in seconds: ttft_s to the first token, stop_s from the key to the stop.
    phase says what is going on; kind, what is unusual of the model; hint, at the right, what the
    user could do.
    """

    model: str = ""
    device: str = ""
    context_tokens: int = 0
    n_ctx: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    tokens_per_s: float = 0.0
    ttft_s: float = 0.0
    stop_s: float | None = None
    phase: str = ""
    kind: str = ""
    hint: str = ""


class Part(msgspec.Struct, frozen=True):
    """A piece of the line. `style` is the name of a component class, without its prefix."""

    text: str
    style: str = "text"


def duration(seconds: float) -> str:
    """A time in the unit that reads best: `<1 ms`, `4 ms`, `210 ms`, `1.2 s`, `75 s`."""
    if seconds < 0.001:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 59.95 else f"{seconds:.0f} s"


def count(tokens: int) -> str:
    """A number of tokens in short, in units of 1,024: `97`, `1.2k`, `8k`."""
    if tokens < 1000:
        return str(tokens)
    thousands = tokens / 1024
    return f"{thousands:.0f}k" if thousands >= 100 or tokens % 1024 == 0 else f"{thousands:.1f}k"


def bar(part: float, cells: int = _BAR_CELLS) -> str:
    """A bar of `cells` cells, filled up to `part` (0…1); any part at all fills one."""
    filled = min(max(round(part * cells), 1 if part > 0 else 0), cells)
    return "▓" * filled + "░" * (cells - filled)


def _context(status: Status, hidden: frozenset[str]) -> list[Part]:
    if not status.n_ctx or "context" in hidden:
        return []
    part = status.context_tokens / status.n_ctx
    parts = [Part("context ")]
    if "bar" not in hidden:
        parts.append(Part(bar(part) + " ", "warning" if part >= 0.9 else "bar"))
    style = "warning" if part >= 0.9 else "text"
    parts.append(Part(f"{count(status.context_tokens)}/{count(status.n_ctx)}", style))
    if status.cached_tokens and "kept" not in hidden:
        parts.append(Part(f" ({count(status.cached_tokens)} kept)"))
    return parts


def _figures(status: Status) -> list[tuple[str, str]]:
    """The plain parts in their order, each with the name that it is hidden by."""
    parts = []
    if status.tokens_per_s:
        parts.append(("rate", f"{status.tokens_per_s:.1f} tok/s"))
    if status.tokens:
        parts.append(("tokens", f"{status.tokens:,} token{'s' if status.tokens != 1 else ''}"))
    if status.ttft_s:
        parts.append(("first", f"first after {duration(status.ttft_s)}"))
    if status.stop_s is not None:
        parts.append(("stopped", f"stopped in {duration(status.stop_s)}"))
    parts.append(("model", clean_line(status.model, 60)))
    parts.append(("device", clean_line(status.device, 40)))
    return parts


def _parts(status: Status, hidden: frozenset[str]) -> list[Part]:
    groups: list[list[Part]] = []
    if status.phase:
        groups.append([Part(clean_line(status.phase, 60), "phase")])
    if status.kind and "kind" not in hidden:
        groups.append([Part(clean_line(status.kind, 60), "warning")])
    groups += [[Part(text)] for name, text in _figures(status) if text and name not in hidden]
    if context := _context(status, hidden):
        groups.append(context)
    parts: list[Part] = []
    for group in groups:
        parts += [Part(_SEPARATOR, "separator"), *group] if parts else group
    return parts


def _width(parts: list[Part]) -> int:
    return sum(cell_len(part.text) for part in parts)


def layout(status: Status, width: int) -> tuple[Part, ...]:
    """The parts of the line that fit `width` cells, the least important left out first."""
    for dropped in range(len(_LEAST_IMPORTANT_FIRST) + 1):
        hidden = frozenset(_LEAST_IMPORTANT_FIRST[:dropped])
        hint = "" if "hint" in hidden else clean_line(status.hint, 80)
        parts = _parts(status, hidden)
        gap = width - _width(parts) - cell_len(hint)
        if gap >= (3 if hint else 0):
            return (*parts, Part(" " * gap), Part(hint, "hint")) if hint else tuple(parts)
    return tuple(parts)


class StatusLine(Widget):
    """One line that says what the model is doing."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "status-line--text",
        "status-line--separator",
        "status-line--phase",
        "status-line--bar",
        "status-line--warning",
        "status-line--hint",
    }
    """
    | Class | Description |
    | :- | :- |
    | `status-line--text` | Figures. |
    | `status-line--separator` | Between the parts. |
    | `status-line--phase` | What is going on. |
    | `status-line--bar` | The bar of the context in use. |
    | `status-line--warning` | A context that is nearly full; an unusual model. |
    | `status-line--hint` | What the user could do. |
    """

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    StatusLine {
        height: 1;
        width: 1fr;
        padding: 0 1;

        & .status-line--text { color: $foreground-muted; }
        & .status-line--separator { color: $foreground 30%; }
        & .status-line--phase { color: $accent; }
        & .status-line--bar { color: $primary; }
        & .status-line--warning { color: $warning; }
        & .status-line--hint { color: $foreground-muted; }
    }
    """

    def __init__(self, status: Status | None = None, *, id: str | None = None) -> None:  # noqa: A002
        """A line that shows `status`."""
        super().__init__(id=id)
        self._status = status or Status()
        self._shown: tuple[Part, ...] = ()

    def show(self, status: Status) -> None:
        """Show `status`."""
        if status != self._status:
            self._status = status
            self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        parts = layout(self._status, self.content_size.width)
        if parts != self._shown:
            self._shown = parts
            self.refresh()

    def render(self) -> Content:
        return Content.assemble(
            *(
                (part.text, self.get_visual_style(f"status-line--{part.style}"))
                for part in self._shown
            )
        )
