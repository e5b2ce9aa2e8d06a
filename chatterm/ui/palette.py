"""Inked lines -> strips in the colours of the theme."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.css.styles import RenderStyles
from textual.strip import Strip
from textual.widget import Widget

from chatterm.ui.markdown import ink
from chatterm.ui.markdown.wrap import Line, Run, cells

PREFIX = "transcript--"
CLASSES = frozenset(PREFIX + name for name in ink.NAMES)
CSS = """
    Transcript > .transcript--quote { color: $foreground 75%; }
    Transcript > .transcript--code-block { background: $surface; }
    Transcript > .transcript--strong { text-style: bold; }
    Transcript > .transcript--emphasis { text-style: italic; }
    Transcript > .transcript--strike { text-style: strike; }
    Transcript > .transcript--link { color: $primary; text-style: underline; }
    Transcript > .transcript--url { color: $foreground-muted; }
    Transcript > .transcript--heading { color: $primary; text-style: bold; }
    Transcript > .transcript--subheading { text-style: bold; }
    Transcript > .transcript--table-head { text-style: bold; }
    Transcript > .transcript--code { color: $secondary; background: $surface; }
    Transcript > .transcript--marker { color: $foreground-muted; }
    Transcript > .transcript--rule { color: $foreground 25%; }
    Transcript > .transcript--language { color: $foreground-muted; }
    Transcript > .transcript--keyword { color: $primary; }
    Transcript > .transcript--name { color: $accent; }
    Transcript > .transcript--type { color: $secondary; }
    Transcript > .transcript--string { color: $success; }
    Transcript > .transcript--number { color: $warning; }
    Transcript > .transcript--comment { color: $foreground-muted; text-style: italic; }
    Transcript > .transcript--inserted { color: $success; }
    Transcript > .transcript--deleted { color: $error; }
    Transcript > .transcript--user { color: $speaker-user; text-style: bold; }
    Transcript > .transcript--assistant { color: $speaker-model; text-style: bold; }
    Transcript > .transcript--badge { color: $accent; }
    Transcript > .transcript--note { color: $foreground-muted; }
    Transcript > .transcript--notice { color: $foreground-muted; text-style: italic; }
    Transcript > .transcript--cursor { color: $accent; }
    Transcript > .transcript--gutter { color: $gutter-mark; }
    Transcript > .transcript--change { color: $gutter-mark; text-style: underline; }
    Transcript > .transcript--selected { color: $primary; }
"""


class Palette:
    """How each ink looks: the component classes of a widget, one on top of the other."""

    def __init__(self, widget: Widget) -> None:
        _, _, background, foreground = widget.colors
        self.background = background
        self._parts = [
            _style(widget.get_component_styles(PREFIX + name), background) for name in ink.NAMES
        ]
        self._base = Style.from_color((background + foreground).rich_color, background.rich_color)
        self._styles: dict[int, Style] = {}

    def style(self, bits: int) -> Style:
        """The look of an ink."""
        style = self._styles.get(bits)
        if style is None:
            style = self._base
            for index, part in enumerate(self._parts):
                if bits >> index & 1:
                    style += part
            self._styles[bits] = style
        return style

    def strip(
        self,
        line: Line,
        gutter: tuple[Run, ...],
        width: int,
        full: int,
        *,
        selected: tuple[int, int] | None = None,
        selection: Style | None = None,
        changed: tuple[int, ...] = (),
        cursor: bool = False,
    ) -> Strip:
        """A line of `width` cells behind its gutter, in `full` cells.

        `selected` characters look like `selection`; at `changed` ones settings changed.
        """
        style = self.style
        runs: list[Run] = [*line.runs]
        if cursor:
            runs.append(Run("▌", ink.CURSOR | line.fill))
        segments = [Segment(run.text, style(run.ink)) for run in runs]
        if changed:
            segments = _restyle(segments, [(c, c + 1) for c in changed], style(ink.CHANGE))
        if selected is not None and selection is not None:
            segments = _restyle(segments, [selected], selection)
        used = cells(runs)
        if line.fill and used < width:
            segments.append(Segment(" " * (width - used), style(line.fill)))
            used = width
        before = cells(gutter)
        if before + used < full:
            segments.append(Segment(" " * (full - before - used), self._base))
        return Strip(
            [*(Segment(run.text, style(run.ink)) for run in gutter), *segments],
            max(full, before + used),
        )


def _style(styles: RenderStyles, background: Color) -> Style:
    """What a component class says, and nothing else; colours are mixed with the background."""
    color = back = None
    if styles.has_rule("background"):
        background += styles.background
        back = background.rich_color
    if styles.has_rule("color"):
        fore = background.get_contrast_text(styles.color.a) if styles.auto_color else styles.color
        color = (background + fore).rich_color
    return Style.from_color(color, back) + styles.text_style


def _restyle(segments: list[Segment], spans: list[tuple[int, int]], style: Style) -> list[Segment]:
    """`segments` with the characters of `spans` in another style."""
    for start, end in spans:
        result: list[Segment] = []
        at = 0
        for text, old, _ in segments:
            a, b = max(start - at, 0), max(min(end - at, len(text)), 0)
            at += len(text)
            if a >= b:
                result.append(Segment(text, old))
                continue
            for part, look in (
                (text[:a], old),
                (text[a:b], old + style if old else style),
                (text[b:], old),
            ):
                if part:
                    result.append(Segment(part, look))
        segments = result
    return segments
