"""ui.commands: lines that begin with a slash."""

import pytest

from chatterm.errors import SettingsError
from chatterm.ui.commands import COMMANDS, completions, parse, parse_setting
from chatterm.ui.screens.chat import ChatScreen


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("/help", "help", ""),
        ("/?", "help", ""),
        ("/regen", "retry", ""),
        ("/bye", "exit", ""),
        ("/system  Be terse. ", "system", "Be terse."),
        ("/temp 1.2", "set", "temp 1.2"),
        ("/top-p 0.5", "set", "top-p 0.5"),
    ],
)
def test_a_command_and_its_argument(line: str, name: str, argument: str) -> None:
    parsed = parse(line)
    assert parsed
    assert (parsed[0].names[0], parsed[1]) == (name, argument)


@pytest.mark.parametrize("line", ["hello", "/usr/bin is a path", "/one\ntwo", "a /help"])
def test_other_text_is_no_command(line: str) -> None:
    assert parse(line) is None


def test_an_unknown_command_is_said() -> None:
    with pytest.raises(SettingsError, match="/nonsense"):
        parse("/nonsense 3")


@pytest.mark.parametrize("line", ["/set", "/title "])
def test_a_command_without_what_it_needs_is_said(line: str) -> None:
    with pytest.raises(SettingsError, match="needs something after it"):
        parse(line)


def test_what_is_completed_is_a_command() -> None:
    for name, _ in completions():
        assert parse(f"{name} temperature 1")


def test_every_command_is_done_by_the_chat_screen() -> None:
    for command in COMMANDS:
        assert callable(getattr(ChatScreen, command.method))


def test_a_setting_is_named_as_users_name_it() -> None:
    assert parse_setting("temp 1.2") == ("temperature", 1.2)
    assert parse_setting("top-p=0.5") == ("top_p", 0.5)
    assert parse_setting("n 64") == ("max_tokens", 64.0)


@pytest.mark.parametrize(("text", "words"), [("heat 3", "temperature"), ("temp hot", "/set temp")])
def test_a_setting_that_cannot_be_says_what_can(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_setting(text)
