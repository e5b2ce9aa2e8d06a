"""Every error that a user of chatterm can meet.

    ChattermError
    ├── SettingsError     a settings file, theme, flag or environment variable is wrong
    ├── StoreError        the conversations cannot be read or written
    ├── ModelError        a model file cannot be loaded or used
    ├── PromptError       a prompt cannot be made or does not fit
    ├── EngineError       the engine process died, hangs or could not be started
    └── OutputError       standard output cannot be written

Each has a title, one sentence that says what is wrong, and an advice, one sentence that says
what to do; together they are what the user reads.
"""

from __future__ import annotations


class ChattermError(Exception):
    """Something that the user should read, as two sentences without a traceback."""

    def __init__(self, title: str, advice: str = "") -> None:
        super().__init__(title, advice)
        self.title = title
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.title} {self.advice}".strip()


class SettingsError(ChattermError):
    """A settings file, theme, flag or environment variable is wrong."""


class StoreError(ChattermError):
    """The conversations cannot be read or written."""


class ModelError(ChattermError):
    """A model file cannot be loaded or used."""


class PromptError(ChattermError):
    """A prompt cannot be made or does not fit."""


class EngineError(ChattermError):
    """The engine process died, hangs or could not be started."""


class OutputError(ChattermError):
    """Standard output cannot be written; a BrokenPipeError as its cause when nobody reads it."""
