"""Choose a model, or learn what one is and how to get it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chatterm import builtin
from chatterm.chat.clean import clean_line
from chatterm.ui.screens.dialog import Choice

ABOUT = (
    "A model is a GGUF file, the format of llama.cpp: all of a language model in one file, "
    "run on this machine. A good first one has 1 to 8 billion parameters, quantised as Q4_K_M "
    "(1 to 5 GB). Look for “GGUF” at huggingface.co, download the file, and give its path here "
    "or put it into the first of these directories:"
)


class ModelsScreen(Choice[Path | None]):
    """Choose a model; the result is its path. Files are looked for in the background."""

    def __init__(self, places: Sequence[Path], find: Callable[[], list[Path]]) -> None:
        """`places` are told to the user; `find` looks there and may take a while."""
        super().__init__()
        self._places = places
        self._find = find
        self._found: list[Path] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static("Models", classes="box-title", markup=False)
            yield Input(placeholder="Path of a GGUF file…", compact=True)
            yield OptionList(id="choices", markup=False)
            with VerticalScroll(id="about"):
                yield Static(self._about(), markup=False)
            yield Static("⏎ load   ↑↓ choose   esc close", classes="box-keys", markup=False)

    def on_mount(self) -> None:
        self.choices.add_option(Option(Content("Looking for models…"), disabled=True))
        self._look()

    def _about(self) -> str:
        return "\n".join([ABOUT, *(f"  {clean_line(str(place), 120)}" for place in self._places)])

    @work(thread=True)
    def _look(self) -> None:
        found = [
            (path, clean_line(path.name, 60), f"{_size(path)}  {clean_line(str(path.parent), 80)}")
            for path in self._find()
        ]
        if builtin.MODEL.exists():
            found.append((builtin.MODEL, builtin.NAME, f"{_size(builtin.MODEL)}  {builtin.ABOUT}"))
        self.app.call_from_thread(self._show, found)

    def _show(self, found: list[tuple[Path, str, str]]) -> None:
        choices = self.choices
        choices.clear_options()
        self._found = [path for path, _, _ in found]
        for index, (_, name, about) in enumerate(found):
            line = Content.assemble(f"{name}  ", (about, "$foreground-muted"))
            choices.add_option(Option(line, id=str(index)))
        if not found:
            choices.add_option(Option(Content("No GGUF file was found."), disabled=True))

    @on(Input.Submitted)
    def _given(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            self.choices.action_select()
        else:
            self.dismiss(Path(event.value.strip().strip("'\"")).expanduser().absolute())

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option_id:
            self.dismiss(self._found[int(event.option_id)])


def _size(path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        return "?"
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
