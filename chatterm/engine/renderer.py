"""Has chat templates rendered by a process of its own, and starts another when that one ends.

Invariant: `render` returns within the template process's time limit, and that process ends when
this one does, because its standard input closes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from chatterm.chat.clean import clean_line
from chatterm.errors import PromptError

ADVICE = "Choose another model, or send the text without a template: chatterm ask --raw."


class Turn(msgspec.Struct, frozen=True):
    """One message as a template sees it; `tokens` are those it was made of, if it is known."""

    role: str
    text: str
    tokens: tuple[int, ...] = ()


class TemplateFailedError(PromptError):
    """A template gave no text. `refused`: it said itself that it does not take such messages."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(f"The model's chat template failed: {clean_line(reason)}", ADVICE)
        self.reason = clean_line(reason)
        self.refused = refused


def _module_paths() -> list[str]:
    """Where this process found the package, and where it was told to look for others."""
    package = str(Path(__file__).resolve().parents[2])
    told = os.environ.get("PYTHONPATH", "")
    return [package, told] if told else [package]


class TemplateProcess:
    """The process that renders, one request at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it ahead of the first request, which then need not wait for it."""
        if self._process is None:
            self._process = subprocess.Popen(
                # Without -P, a file in the working directory could pass for a module.
                [sys.executable, "-P", "-m", "chatterm.engine.template"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_module_paths())},
            )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer. Raises TemplateFailedError when it ended instead."""
        self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            self._end()
            raise TemplateFailedError("it takes too long or too much memory")
        return msgspec.json.decode(answer, type=dict[str, Any])

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()


class Renderer:
    """One template, with the variables that stay the same."""

    def __init__(
        self, process: TemplateProcess, template: str, variables: Mapping[str, Any]
    ) -> None:
        self.template = template
        self._process = process
        self._variables = variables

    def render(self, turns: Sequence[Turn], **variables: Any) -> str:
        """The template's text for these messages, ready for a reply. Raises TemplateFailedError."""
        answer = self._process.ask(
            {
                "template": self.template,
                "variables": {
                    "messages": [{"role": turn.role, "content": turn.text} for turn in turns],
                    "tools": None,
                    "documents": None,
                    "add_generation_prompt": True,
                    **self._variables,
                    **variables,
                },
            }
        )
        if answer["error"]:
            raise TemplateFailedError(answer["error"], refused=answer["refused"])
        text: str = answer["text"]
        return text
