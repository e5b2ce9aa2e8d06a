"""Fenced code -> lines of runs, highlighted as it is written.

Code is highlighted in stretches of some lines, each by itself, whose ends depend only on the text
before them: once a stretch has ended its lines never change, and a growing fence costs what its
last stretch costs. A stretch does not end within a string or comment, unless it is very long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Token, _TokenType
from pygments.util import ClassNotFound

from chatterm.ui.markdown import ink
from chatterm.ui.markdown.wrap import Run, verbatim

_SHORT, _LONG, _LONGEST, _STEP = 4, 16, 96, 8
_MAX_LINE = 2_000  # longer lines are data, not code to read
_INKS: Final[dict[object, int]] = {
    Token.Comment: ink.COMMENT,
    Token.Comment.Preproc: ink.KEYWORD,
    Token.Generic.Deleted: ink.DELETED,
    Token.Generic.Emph: ink.EMPHASIS,
    Token.Generic.Heading: ink.NAME,
    Token.Generic.Inserted: ink.INSERTED,
    Token.Generic.Prompt: ink.COMMENT,
    Token.Generic.Strong: ink.STRONG,
    Token.Generic.Subheading: ink.NAME,
    Token.Keyword: ink.KEYWORD,
    Token.Keyword.Constant: ink.NUMBER,
    Token.Keyword.Type: ink.TYPE,
    Token.Literal.Number: ink.NUMBER,
    Token.Literal.String: ink.STRING,
    Token.Name.Attribute: ink.NAME,
    Token.Name.Builtin: ink.TYPE,
    Token.Name.Class: ink.NAME,
    Token.Name.Decorator: ink.TYPE,
    Token.Name.Exception: ink.TYPE,
    Token.Name.Function: ink.NAME,
    Token.Name.Tag: ink.KEYWORD,
    Token.Operator.Word: ink.KEYWORD,
}
_UNBROKEN: Final = ink.STRING | ink.COMMENT


@lru_cache(maxsize=256)
def _ink(token: _TokenType) -> int:
    kind: _TokenType | None = token
    while kind is not None:
        if kind in _INKS:
            return _INKS[kind]
        kind = kind.parent
    return ink.PLAIN


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language)
    except ClassNotFound:
        return None


def language(info: str) -> str:
    """The language that a fence names, as it is written there."""
    words = info.replace("{", " ").replace("}", " ").replace(",", " ").split()
    return words[0].lstrip(".")[:24] if words else ""


class Highlighter:
    """The runs of each line of a growing piece of code."""

    def __init__(self, info: str) -> None:
        name = language(info)
        self._lexer = _lexer(name.lower()) if name and len(name) == len(name.encode()) else None
        self._runs: list[list[Run]] = []  # of the lines before the last
        self.settled = 0  # lines of stretches that have ended; they are not looked at again
        self._base = 0  # where the first line after them stands in the content
        self._tried = 0  # where an end of the stretch was refused, in lines
        self._ending = ink.PLAIN  # what the last line but one ends in

    def update(self, lines: list[str], *, closed: bool) -> tuple[int, list[list[Run]]]:
        """Runs of the lines from a first changed one on. `lines` are those of last time, of
        which the last may have grown, and more."""
        first, known = self.settled, len(self._runs)
        last = len(lines) if closed else len(lines) - 1
        while self._settle(lines, last):
            known = self.settled
        if closed or self._ending & _UNBROKEN or known == self.settled:
            known = self.settled
        else:
            # A line highlighted by itself is good enough until its stretch ends.
            first = known
        if len(self._runs) != last or closed:
            self._runs[known:] = self._lex(lines, known, last)
        else:
            first = last
        changed = self._runs[first:]
        if not closed and lines:
            changed.append(self._unfinished(lines))
        return first, changed

    def _unfinished(self, lines: list[str]) -> list[Run]:
        ending, number = self._ending, len(lines) - 1
        if ending & _UNBROKEN:
            return verbatim(lines[-1], self._offset(lines, number), ending)
        (runs,) = self._lex(lines, number, number + 1)
        self._ending = ending
        return runs

    def _settle(self, lines: list[str], last: int) -> bool:
        """End the stretch, if it is clear by now where it ends."""
        end = max(self.settled + _SHORT, self._tried)
        while end < last:
            length = end - self.settled
            if length >= _LONG or lines[end][:1].strip():
                runs = self._lex(lines, self.settled, end)
                if length >= _LONGEST or not self._ending & _UNBROKEN:
                    self._runs[self.settled :] = runs
                    self._base = self._offset(lines, end)
                    self.settled, self._tried = end, 0
                    return True
                end += _STEP - 1
            end += 1
            self._tried = end
        return False

    def _offset(self, lines: list[str], number: int) -> int:
        """Where an unsettled line stands in the content."""
        return self._base + sum([len(line) + 1 for line in lines[self.settled : number]])

    def _lex(self, lines: list[str], first: int, last: int) -> list[list[Run]]:
        """The runs of the lines from `first` up to `last`, as a piece of code by themselves."""
        base, lines = self._offset(lines, first), lines[first:last]
        self._ending = ink.PLAIN
        if self._lexer is None or any(len(line) > _MAX_LINE for line in lines):
            runs: list[list[Run]] = []
            for line in lines:
                runs.append(verbatim(line, base, ink.PLAIN))
                base += len(line) + 1
            return runs
        found: list[list[Run]] = [[]]
        for at, token, text in self._lexer.get_tokens_unprocessed("\n".join([*lines, ""])):
            start = base + at
            self._ending = bits = _ink(token)
            for part in text.split("\n") if "\n" in text else (text,):
                if start > base + at:
                    found.append([])
                if part:
                    found[-1] += verbatim(part, start, bits)
                start += len(part) + 1
        return found[: len(lines)] + [[] for _ in range(len(lines) - len(found))]
