"""Themes: TOML files, shipped or the user's own, as Textual themes.

The invariant: a bad file never raises. It gives a sentence that names the file, the key and what
is allowed, and what is good in it is still used where that makes a theme.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

import chatterm
from chatterm.chat.clean import clean_line, shown
from chatterm.errors import SettingsError
from chatterm.files import read_toml

DEFAULT = "chatterm-dark"

COLORS = (
    *("primary", "secondary", "accent", "foreground", "background", "surface", "panel", "boost"),
    *("success", "warning", "error"),
)
OWN_VARIABLES = {
    "gutter-mark": "accent",
    "speaker-user": "secondary",
    "speaker-model": "primary",
}
"""Variables beside Textual's own, and the colour that each is while a theme does not say."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_PERCENT = re.compile(r" +[0-9]{1,3}%$")
_STYLES = {"none", "not", "bold", "italic", "underline", "reverse", "strike", "dim", "b", "i", "u"}
_KEYS = ("name", "dark", "colors", "variables")


def shipped_directory() -> Path:
    """Where the themes that come with chatterm lie: beside the package in a source checkout."""
    package = Path(chatterm.__file__).parent
    installed = package / "themes"
    return installed if installed.is_dir() else package.parent / "themes"


def load_themes(user_directory: Path | None = None) -> tuple[list[Theme], list[str]]:
    """The shipped themes and those of `user_directory`, and what is wrong with any of them."""
    themes: dict[str, Theme] = {}
    problems: list[str] = []
    for directory in (shipped_directory(), user_directory):
        for path in _theme_files(directory, problems):
            theme = load_theme(path, problems)
            if theme is not None and theme.name in themes:
                problems.append(f"{path}: name: there is a theme {theme.name} already.")
            elif theme is not None:
                themes[theme.name] = theme
    return list(themes.values()), problems


def own_variables(theme: Theme) -> dict[str, str]:
    """OWN_VARIABLES as `theme` has them, for `App.get_theme_variable_defaults`."""
    generated = theme.to_color_system().generate()
    return {
        name: theme.variables.get(name, generated[color]) for name, color in OWN_VARIABLES.items()
    }


def load_theme(path: Path, problems: list[str]) -> Theme | None:
    """The theme in one file, or None; what is wrong with it is added to `problems`."""
    found: list[str] = []
    theme = _theme(_read(path, found), found)
    problems += [f"{path}: {problem}" for problem in found]
    return theme


def _theme_files(directory: Path | None, problems: list[str]) -> list[Path]:
    try:
        if directory is None or not directory.is_dir():
            return []
        return sorted(path for path in directory.iterdir() if path.suffix == ".toml")
    except OSError as error:
        problems.append(f"{directory}: cannot be read ({error.strerror}).")
        return []


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return read_toml(path)
    except FileNotFoundError:
        problems.append("cannot be read: there is no such file.")
    except SettingsError as error:
        problems.append(str(error))
    return {}


def _theme(table: dict[str, Any], problems: list[str]) -> Theme | None:
    if not table:
        if not problems:
            problems.append("is empty; a theme needs name and [colors] primary.")
        return None
    problems += [_unknown(key, _KEYS) for key in table if key not in _KEYS]
    name, dark = table.get("name"), table.get("dark", True)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append("name: must be given, in lower case letters, digits, - and _.")
        return None
    if not isinstance(dark, bool):
        problems.append("dark: must be true or false.")
        dark = True
    colors: dict[str, Any] = dict(_good_colors(table.get("colors", {}), problems))
    if "primary" not in colors:
        problems.append("[colors] primary: must be given, as a colour such as #7aa6d4.")
        return None
    theme = Theme(name=name, dark=dark, **colors)
    theme.variables = dict(_good_variables(theme, table.get("variables", {}), problems))
    theme.variables = {**own_variables(theme), **theme.variables}
    return theme


def _good_colors(table: object, problems: list[str]) -> Iterator[tuple[str, str]]:
    for key, value in _items("[colors]", table, problems):
        if key not in COLORS:
            problems.append(_unknown(f"[colors] {key}", COLORS))
        elif not _is_color(value):
            problems.append(f"[colors] {key}: {shown(value)} is not a colour such as #7aa6d4.")
        else:
            yield key, str(value)


def _good_variables(theme: Theme, table: object, problems: list[str]) -> Iterator[tuple[str, str]]:
    known = theme.to_color_system().generate().keys() | OWN_VARIABLES
    for key, value in _items("[variables]", table, problems):
        label = f"[variables] {clean_line(key, 60)}"
        if key not in known:
            problems.append(
                f"{label}: there is no such variable. Known are {', '.join(OWN_VARIABLES)}"
                " and Textual's own."
            )
        elif key.endswith("-style") and not _is_style(value):
            problems.append(f"{label}: {shown(value)} is not a style such as bold or none.")
        elif not key.endswith("-style") and not _is_color(value, percent=True):
            problems.append(f"{label}: {shown(value)} is not a colour such as #7aa6d4 or red 50%.")
        else:
            yield key, str(value)


def _items(name: str, table: object, problems: list[str]) -> Iterator[tuple[str, object]]:
    if isinstance(table, dict):
        yield from table.items()
    else:
        problems.append(f"{name}: must be a table of keys and colours.")


def _is_color(value: object, *, percent: bool = False) -> bool:
    if not isinstance(value, str):
        return False
    try:
        Color.parse(_PERCENT.sub("", value) if percent else value)
    except ColorParseError:
        return False
    return True


def _is_style(value: object) -> bool:
    return isinstance(value, str) and bool(value.split()) and set(value.split()) <= _STYLES


def _unknown(key: str, allowed: tuple[str, ...]) -> str:
    return f"{clean_line(key, 60)}: there is no such key. Known are {', '.join(allowed)}."
