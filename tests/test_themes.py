"""Themes: the shipped ones can be read by everyone, and a bad file is told, never raised."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.color import Color
from textual.theme import Theme

from chatterm.ui.themes import DEFAULT, OWN_VARIABLES, load_theme, load_themes, own_variables
from chatterm.ui.widgets.prompt import Prompt
from chatterm.ui.widgets.sampling_panel import SamplingPanel
from chatterm.ui.widgets.status_line import StatusLine

SHIPPED = load_themes()[0]
TEXT = ("foreground", "foreground-muted", "primary", "secondary", "accent", "success", "warning",
        "error", *OWN_VARIABLES)  # fmt: skip
GOOD = 'name = "mine"\n[colors]\nprimary = "#7aa6d4"\n'


def luminance(color: Color) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in color.normalized
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(text: Color, background: Color) -> float:
    """The contrast ratio of WCAG 2, 1…21, of text that may be transparent."""
    light, dark = sorted((luminance(background + text), luminance(background)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def variables(theme: Theme) -> dict[str, str]:
    return {**theme.to_color_system().generate(), **theme.variables}


def test_three_themes_are_shipped_without_a_problem():
    themes, problems = load_themes()
    assert sorted(theme.name for theme in themes) == [
        "chatterm-contrast",
        "chatterm-dark",
        "chatterm-light",
    ]
    assert DEFAULT in {theme.name for theme in themes}
    assert problems == []


@pytest.mark.parametrize("theme", SHIPPED, ids=lambda theme: theme.name)
@pytest.mark.parametrize("background", ["background", "surface", "panel"])
def test_text_can_be_read(theme, background):
    least = 7 if theme.name == "chatterm-contrast" else 4.5
    colors = variables(theme)
    ratios = {
        name: contrast(Color.parse(colors[name]), Color.parse(colors[background])) for name in TEXT
    }
    assert {name: ratio for name, ratio in ratios.items() if ratio < least} == {}


class Host(App[None]):
    """Widgets under any theme."""

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return own_variables(self.current_theme)

    def compose(self) -> ComposeResult:
        yield SamplingPanel()
        yield Prompt()
        yield StatusLine()


def show(*themes: Theme) -> None:
    """Draw the widgets under each theme."""

    async def run() -> None:
        host = Host(css_path=None)
        async with host.run_test() as pilot:
            for theme in themes:
                host.register_theme(theme)
                host.theme = theme.name
                await pilot.pause()

    asyncio.run(run())


def test_the_widgets_can_be_drawn_under_each():
    show(*SHIPPED)


def load(tmp_path: Path, text: str | bytes) -> tuple[Theme | None, list[str]]:
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    problems: list[str] = []
    theme = load_theme(path, problems)
    assert all(problem.startswith(f"{path}: ") for problem in problems)
    return theme, [problem.removeprefix(f"{path}: ") for problem in problems]


def test_a_small_theme_is_enough(tmp_path):
    theme, problems = load(tmp_path, GOOD)
    assert problems == []
    assert theme is not None
    assert theme.variables["speaker-model"] == Color.parse("#7aa6d4").hex
    show(theme)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("name = ", "is not TOML"),
        (b"\xff\xfe\x00", "is not a text file in UTF-8"),
        ("x = " + "[" * 5000, "is nested too deeply"),
        ("name = " + "9" * 5000, "thousands of digits"),
        ("#" * 1_100_000, "at most 1 MB"),
        ('name = "mine"\n[colors]\nprimary' + ".a" * 900 + " = 1", "is not a colour"),
        ('[colors]\nprimary = "red"', "name: must be given"),
        ('name = "../x"\n[colors]\nprimary = "red"', "name: must be given"),
        ('name = "mine"', "[colors] primary: must be given"),
        ('name = "mine"\ncolors = 3', "[colors]: must be a table"),
        ('name = "mine"\n[colors]\nprimary = "reddish"', "'reddish' is not a colour"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_makes_no_theme_is_told(tmp_path, text, words):
    theme, problems = load(tmp_path, text)
    assert theme is None
    assert any(words in problem for problem in problems)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('accent = "nope"', "[colors] accent: 'nope' is not a colour"),
        ("accent = 5", "[colors] accent: 5 is not a colour"),
        ('acent = "red"', "[colors] acent: there is no such key. Known are primary, "),
        ('[variables]\nborder = "$x; } Screen {"', "[variables] border: '$x; } Screen {' is not"),
        ('[variables]\nlink-style = "wavy"', "[variables] link-style: 'wavy' is not a style"),
        ('[variables]\nnothing = "red"', "[variables] nothing: there is no such variable"),
        ('[other]\nx = "red"', "other: there is no such key. Known are name, dark"),
    ],
)
def test_what_is_good_in_a_theme_is_used(tmp_path, more, words):
    theme, problems = load(tmp_path, GOOD + more)
    assert theme is not None
    assert len(problems) == 1
    assert words in problems[0]


def test_dark_must_be_true_or_false(tmp_path):
    theme, problems = load(tmp_path, "dark = 1\n" + GOOD)
    assert theme is not None
    assert problems == ["dark: must be true or false."]


def test_the_users_own_come_after_the_shipped_and_cannot_replace_them(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD)
    (tmp_path / "again.toml").write_text(GOOD.replace("mine", "chatterm-dark"))
    (tmp_path / "notes.txt").write_text("not a theme")
    (tmp_path / "folder.toml").mkdir()
    themes, problems = load_themes(tmp_path)
    assert themes[-1].name == "mine"
    assert len(themes) == 4
    assert problems == [
        f"{tmp_path / 'again.toml'}: name: there is a theme chatterm-dark already.",
        f"{tmp_path / 'folder.toml'}: is not a text file of at most 1 MB.",
    ]


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX's")
def test_what_would_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.toml")
    (tmp_path / "b.toml").symlink_to("/dev/zero")
    (tmp_path / "c.toml").symlink_to("nowhere")
    themes, problems = load_themes(tmp_path)
    assert len(themes) == 3
    assert problems == [
        f"{tmp_path / 'a.toml'}: is not a text file of at most 1 MB.",
        f"{tmp_path / 'b.toml'}: is not a text file of at most 1 MB.",
        f"{tmp_path / 'c.toml'}: cannot be read: there is no such file.",
    ]


def test_no_directory_is_no_problem(tmp_path):
    assert load_themes(tmp_path / "none") == load_themes()


@given(st.binary(max_size=200))
def test_no_bytes_raise(tmp_path_factory, data):
    load(tmp_path_factory.mktemp("themes"), data)


@settings(max_examples=30, deadline=None)
@given(st.from_regex(r"(red|#[0-9a-fA-F]{3,8}|rgb\([0-9, .]*\)|hsl\([0-9,% ]*\)|\S+)( +\d+%)?"))
def test_whatever_is_taken_as_a_variable_can_be_drawn(tmp_path_factory, value):
    text = f'{GOOD}[variables]\nborder = """{value}"""'
    theme, _ = load(tmp_path_factory.mktemp("themes"), text)
    if theme is not None and "border" in theme.variables:
        show(theme)
