"""The slash commands: their names and what they do, and how a line is taken apart.

What a command does is the chat screen's: each maps to its method `command_NAME`.
"""

from __future__ import annotations

import msgspec

from chatterm.chat.pace import PACE
from chatterm.chat.sampling import FIELDS
from chatterm.errors import SettingsError


class Command(msgspec.Struct, frozen=True):
    """A slash command: its names, the first of which is shown; what follows it, in brackets where
    it can be left out; what it does."""

    names: tuple[str, ...]
    argument: str
    help: str

    @property
    def method(self) -> str:
        """The name of the screen's method."""
        return f"command_{self.names[0]}"

    @property
    def needs_argument(self) -> bool:
        """Whether something must follow it."""
        return self.argument != "" and not self.argument.startswith("[")


COMMANDS = (
    Command(("help", "?"), "", "keys and commands"),
    Command(("new", "clear"), "", "begin a new chat; this one is kept"),
    Command(("chats", "load"), "", "go on with another chat"),
    Command(("retry", "regen"), "", "another reply to the same question, as a new branch"),
    Command(("rephrase", "undo"), "", "reopen the last question, as a new branch"),
    Command(("continue",), "", "go on with a reply that was stopped"),
    Command(("model",), "[FILE]", "load a model, or choose one"),
    Command(("set",), "NAME VALUE", "a setting, such as /set temperature 1.2"),
    Command(("system",), "[TEXT]", "begin a new chat with this system prompt, or with none"),
    Command(("prompt",), "", "what the model sees"),
    Command(("title", "rename"), "TEXT", "name this chat"),
    Command(("save",), "[FILE]", "write this chat to a file, as Markdown"),
    Command(("theme",), "[NAME]", "another theme"),
    Command(("exit", "quit", "bye"), "", "quit"),
)

SETTINGS = {**FIELDS, PACE.name: PACE}
SHORT_SETTINGS = {"temp": "temperature", "n": "max_tokens"}


def parse(line: str) -> tuple[Command, str] | None:
    """The command of a line that begins with a slash, and its argument; None for other text.

    A setting's name is a command too: `/temp 1.2` is `/set temperature 1.2`. Raises
    SettingsError for a command that there is not. A path such as /usr/bin is other text.
    """
    name, _, argument = line[1:].partition(" ")
    if not line.startswith("/") or "/" in name or "\n" in line:
        return None
    for command in COMMANDS:
        if name in command.names:
            return command, _checked(command, argument.strip())
    if setting_name(name):
        return next(c for c in COMMANDS if c.names[0] == "set"), f"{name} {argument}".strip()
    raise SettingsError(f"There is no command /{name}.", "/help lists them.")


def _checked(command: Command, argument: str) -> str:
    if command.needs_argument and not argument:
        raise SettingsError(
            f"/{command.names[0]} needs something after it.",
            f"Write /{command.names[0]} {command.argument}.",
        )
    return argument


def setting_name(name: str) -> str | None:
    """The setting that the user means by `name`, or None."""
    exact = name.lower().replace("-", "_")
    exact = SHORT_SETTINGS.get(exact, exact)
    return exact if exact in SETTINGS else None


def parse_setting(argument: str) -> tuple[str, float]:
    """NAME VALUE as a setting's name and number. Raises SettingsError."""
    name, _, value = argument.replace("=", " ").partition(" ")
    setting = setting_name(name)
    if setting is None:
        known = ", ".join(SETTINGS)
        raise SettingsError(f"There is no setting {name!r}.", f"Known are {known}.")
    try:
        return setting, float(value)
    except ValueError as error:
        raise SettingsError(
            f"{value!r} is not a number.", f"Try /set {name} {SETTINGS[setting].default:g}."
        ) from error


def completions() -> list[tuple[str, str]]:
    """Each command as it is typed, with what it does, for the prompt."""
    return [
        (f"/{command.names[0]}", f"{command.argument}  {command.help}".strip())
        for command in COMMANDS
    ]
