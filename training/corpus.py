"""Stories from the public sources: read, cleaned, true-cased, and cut into those to learn from and
those held out.

Invariant: a story is whole and stands once; a story held out is never learned from, in no casing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

SHORTEST, LONGEST = 60, 330  # words
_HELD_OUT = 80
_END = re.compile(r"[.!?][\"']?$")
# A story's first words, at the beginning of a line; "one day" also begins second paragraphs.
_OPENING = re.compile(r"\n\s*(?=(?:once upon a time|once there|there once|once,? (?:a|an)) )", re.I)
# UTF-8 that was once read as Windows-1252.
_MOJIBAKE = (
    ("â€œ", '"'),
    ("â€™", "'"),
    ("â€˜", "'"),
    ("â€¦", "..."),
    ("â€“", "-"),
    ("â€”", "-"),
    ("â€", '"'),
)
_WORD = re.compile(r"[A-Za-z]+")
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "\xa0": " "})
# Words that begin sentences in print but are no names.
_CALENDAR = {
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    *("january", "february", "march", "april", "june", "july", "august"),
    *("september", "october", "november", "december", "christmas", "halloween"),
}
_NO_NAMES = set(
    "a an the her him it so not very too in on at for by to all my your his and he she they".split()
)
_NAMED = re.compile(r"\b(?:named|called|name is|name was) ([a-z]+)")
_NOT_FOR_CHILDREN = re.compile(
    r"\b(?:kill|killed|blood|gun|died|dead|suicide|sex|drunk|beer|murder|hell|damn)\w*", re.I
)


def stories(data: Path) -> tuple[list[str], list[str]]:
    """The stories under `data` to learn from, and those held out."""
    cased = _run_on_stories(data / "tinystories" / "tiny_stories_cased_944k.txt")
    for name in ("tinystories_a", "tinystories_cased_again", "tinystories_b"):
        cased += _marked_stories(data / "more-stories" / f"{name}.txt")
    books = []
    for name in ("african-storybook", "pratham-books"):
        books += _marked_stories(data / "more-stories" / f"{name}.txt")
    names = _names(cased)
    lower = _run_on_stories(data / "tinystories" / "tinystories_lower_4.2M.txt")
    known: set[str] = set()
    kept: list[str] = []
    for text in cased + books + [true_cased(text, names) for text in lower]:
        story = _clean(text)
        key = " ".join(_WORD.findall(story.lower())[:25])
        if key not in known and _is_whole(story):
            known.add(key)
            kept.append(story)
    step = len(kept) // _HELD_OUT
    held_out = kept[::step][:_HELD_OUT]
    chosen = set(held_out)
    return [story for story in kept if story not in chosen], held_out


def dialogues(data: Path) -> list[str]:
    """Talks between people, as plain text, a turn a line: to learn English from, not manners."""
    found: list[str] = []
    for name, most in (("persona-chat", 2000), ("self-dialogue", 6000)):
        lines = (data / name / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
        for line in lines[:: max(1, len(lines) // most)]:
            turns = [turn.translate(_STRAIGHT).strip() for turn in json.loads(line)["turns"]]
            text = "\n".join(f"- {turn}" for turn in turns)
            if text.isascii() and not _NOT_FOR_CHILDREN.search(text):
                found.append(text)
    return found


def true_cased(text: str, names: set[str]) -> str:
    """A lower-case text with capitals at the beginning of sentences, in "I" and in names."""
    names = names | set(_NAMED.findall(text)) - _NO_NAMES
    text = _WORD.sub(lambda word: word[0].capitalize() if word[0] in names else word[0], text)
    text = re.sub(r"\bi\b", "I", text)
    return re.sub(
        r"(^|[.!?][\"']?\s+[\"']?|\n\s*[\"']?|[,:] \")([a-z])",
        lambda at: at[1] + at[2].upper(),
        text,
    )


def _names(texts: list[str]) -> set[str]:
    """Words that stand with a capital within sentences, and hardly ever without one."""
    inside, small = Counter[str](), Counter[str]()
    for text in texts:
        inside.update(word.lower() for word in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", text))
        small.update(re.findall(r"\b[a-z]+\b", text))
    return {
        word
        for word, count in inside.items()
        if count >= 2 and count > 4 * small[word] and len(word) > 2
    } | _CALENDAR - {"march"}


def _run_on_stories(file: Path) -> list[str]:
    """Stories of a file that has them one after the other, told apart by how they begin.

    In those with blank lines between paragraphs, a line end without one is between two stories.
    """
    text = file.read_text(encoding="utf-8", errors="replace")
    for broken, right in _MOJIBAKE:
        text = text.replace(broken, right)
    found: list[str] = []
    for chunk in _OPENING.split(text):
        parts = re.split(r"(?<!\n)[ ]*\n(?!\s*\n)", chunk) if "\n\n" in chunk else [chunk]
        if all(len(part.split()) >= SHORTEST for part in parts):
            found += parts
        else:
            found.append(chunk)
    return found


def _marked_stories(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").split("<|endoftext|>")


def _clean(text: str) -> str:
    text = text.translate(_STRAIGHT).replace("\r", "")
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.split("\n")]
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()


def _is_whole(story: str) -> bool:
    words = len(story.split())
    if not SHORTEST <= words <= LONGEST or not story.isascii() or not _END.search(story):
        return False
    if not story[0].isupper() and story[0] != '"':
        return False
    return not _NOT_FOR_CHILDREN.search(story) and story.count('"') % 2 == 0
