"""The program in the terminal: wiring only."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from textual import on
from textual.app import App, SuspendNotSupported, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import Theme
from textual.widgets import TextArea

from chatterm.chat.clean import clean, clean_line, normalise_newlines
from chatterm.chat.message import Role
from chatterm.engine.protocol import Rendered
from chatterm.errors import ChattermError
from chatterm.session import Session
from chatterm.state import ModelOptions
from chatterm.store import Conversation
from chatterm.ui.commands import COMMANDS
from chatterm.ui.keymap import Place, checked_keymap
from chatterm.ui.screens.chat import ChatScreen
from chatterm.ui.screens.chats import ChatsScreen
from chatterm.ui.screens.confirm import ConfirmScreen
from chatterm.ui.screens.help import HelpScreen
from chatterm.ui.screens.inspect import InspectScreen
from chatterm.ui.screens.models import ModelsScreen
from chatterm.ui.themes import own_variables
from chatterm.ui.widgets.field_row import FieldRow
from chatterm.ui.widgets.prompt import Prompt
from chatterm.ui.widgets.sampling_panel import SamplingPanel
from chatterm.ui.widgets.seed_row import SeedRow
from chatterm.ui.widgets.slider import Slider
from chatterm.ui.widgets.stop_strings import StopEntry
from chatterm.ui.widgets.transcript import Transcript

_EDITOR = "vi" if os.name == "posix" else "notepad"


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What the app needs of the world, so that it knows neither files nor the environment.

    `load` is the model to load at the start, if there is one; `options_for` tells how another is
    loaded. `history` is what was sent before, oldest first. `problems` are told at the start.
    """

    load: ModelOptions | None
    options_for: Callable[[Path], ModelOptions]
    model_places: Sequence[Path]
    find_models: Callable[[], list[Path]]
    conversations: Callable[[], list[Conversation]]
    themes: Sequence[Theme]
    theme: str
    keys: dict[str, str]
    problems: Sequence[str]
    history: Sequence[str] = ()


class ChattermApp(App[None]):
    """Shows a session."""

    TITLE = "chatterm"
    CSS_PATH = "app.tcss"
    PAUSE_GC_ON_SCROLL = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p", "command_palette", "Commands", id="app.palette", priority=True),
        Binding("ctrl+q", "quit", "Quit", id="app.quit", priority=True),
    ]

    def __init__(self, session: Session, outside: Outside) -> None:
        super().__init__()
        self._session = session
        self._outside = outside
        self._problems = list(outside.problems)
        self._chat = ChatScreen(session, outside.history)
        for theme in outside.themes:
            self.register_theme(theme)
        self._set_theme(outside.theme)
        self._use_keys(outside.keys)

    def on_mount(self) -> None:
        self.push_screen(self._chat)
        self._tell_problems()
        if (load := self._outside.load) is not None:
            self._try(lambda: self._session.load(load))
        elif self._session.state.model is None:
            self._choose_model()
        # What is loaded by now stays: later collections need not look at it again.
        gc.freeze()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The variables that chatterm's widgets use beside Textual's, for any theme."""
        return own_variables(self.current_theme)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:  # noqa: ARG002
        """What the palette offers: the slash commands."""
        for command in COMMANDS:
            does = command.help[0].upper() + command.help[1:]
            # The palette would take a bracket for markup, one that Textual's escape() leaves too.
            name = f"/{command.names[0]} {command.argument}".rstrip().replace("[", r"\[")
            yield SystemCommand(does, name, partial(self._chat.begin, command))

    @on(ChatScreen.Wanted)
    def _wanted(self, event: ChatScreen.Wanted) -> None:
        getattr(self, f"_want_{event.what}")(event.argument)

    def _want_help(self, _argument: str) -> None:
        self.push_screen(HelpScreen([place.with_keys(self._keys) for place in PLACES]))

    def _want_prompt(self, _argument: str) -> None:
        screen = InspectScreen()

        def answered(answer: Rendered | ChattermError) -> None:
            self.call_from_thread(screen.show, answer)

        try:
            self._session.render(answered, self._chat.draft())
        except ChattermError as error:
            self._tell(error)
        else:
            self.push_screen(screen)

    def _want_models(self, argument: str) -> None:
        if argument:
            self._load(Path(argument).expanduser().absolute())
        else:
            self._choose_model()

    def _want_chats(self, _argument: str) -> None:
        def chosen(conversation: int | None) -> None:
            if conversation is not None:
                self._try(lambda: self._session.open(conversation))

        self._try(lambda: self.push_screen(ChatsScreen(self._outside.conversations()), chosen))

    def _want_save(self, argument: str) -> None:
        file = Path(argument or "chat.md").expanduser()
        try:
            with file.open("x", encoding="utf-8") as out:
                out.write(_as_markdown(self._session))
        except OSError as error:
            self.notify(
                f"{file} cannot be written: {error.strerror}.", severity="error", markup=False
            )
        else:
            self.notify(f"Saved as {file.absolute()}.", markup=False)

    def _want_theme(self, argument: str) -> None:
        if argument:
            self._set_theme(argument)
            self._tell_problems()
        else:
            self.search_themes()

    def _want_link(self, url: str) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.open_url(url)

        self.push_screen(ConfirmScreen("Open this in the browser?", url), answered)

    def _want_quit(self, _argument: str) -> None:
        self.exit()

    def _want_editor(self, text: str) -> None:
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or _EDITOR
        try:
            edited = self._edit(text, shlex.split(editor, posix=os.name == "posix"))
        except (OSError, ValueError, SuspendNotSupported) as error:
            why = getattr(error, "strerror", None) or str(error)
            self.notify(
                f"The editor {clean_line(editor)} cannot be used: {clean_line(why)}. "
                "Set $EDITOR to another one.",
                severity="error",
                markup=False,
            )
        else:
            self._chat.query_one(Prompt).set_text(edited)

    def _edit(self, text: str, command: Sequence[str]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "prompt.md")
            file.write_text(text, encoding="utf-8")
            problem = None
            with self.suspend():
                # An error that left this block would leave the app suspended for good.
                try:
                    subprocess.run([*command, str(file)], check=False)
                except OSError as error:
                    problem = error
            self.refresh()
            if problem is not None:
                raise problem
            edited = file.read_text(encoding="utf-8", errors="replace")
        return clean(normalise_newlines(edited)).removesuffix("\n")

    def _choose_model(self) -> None:
        def chosen(path: Path | None) -> None:
            if path is not None:
                self._load(path)

        self.push_screen(
            ModelsScreen(self._outside.model_places, self._outside.find_models), chosen
        )

    def _load(self, path: Path) -> None:
        self._try(lambda: self._session.load(self._outside.options_for(path)))

    def _set_theme(self, name: str) -> None:
        if name in self.available_themes:
            self.theme = name
        else:
            known = ", ".join(sorted(self.available_themes))
            self._problems.append(f"There is no theme {name!r}. Known are {known}.")

    def _use_keys(self, keys: dict[str, str]) -> None:
        known = [binding for place in PLACES for binding in place.bindings]
        self._keys, problems = checked_keymap(keys, known)
        self.set_keymap(self._keys)
        self._problems += problems

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except ChattermError as error:
            self._tell(error)

    def _tell_problems(self) -> None:
        problems, self._problems = self._problems, []
        for problem in problems:
            self.notify(problem, severity="warning", timeout=12, markup=False)

    def _tell(self, error: ChattermError) -> None:
        self.notify(str(error), severity="error", timeout=10, markup=False)


_EVERYWHERE = Place.of("Everywhere", ChatScreen, ChattermApp)
_PROMPT = Place.of("Prompt", Prompt, hint="A / at the beginning offers the commands.")
PLACES = (
    _EVERYWHERE,
    _PROMPT,
    Place.of(
        "Transcript",
        Transcript,
        hint="The mouse selects text to copy with ctrl+c: twice a block, three times a message.",
    ),
    Place.of(
        "Sampling panel",
        *(SamplingPanel, FieldRow, Slider, SeedRow, StopEntry),
        hint="Digits type a value. On a track: click, drag, wheel.",
    ),
    Place.of("Editing in the prompt", TextArea).without(_EVERYWHERE, _PROMPT),
)
"""Where keys mean something, as help names it."""


def _as_markdown(session: Session) -> str:
    names = {Role.USER: "You", Role.SYSTEM: "System"}
    return "\n\n".join(
        f"## {names.get(message.role, message.model)}\n\n{message.text}"
        for message in session.state.tree.path()
    )
