"""Build the text to learn from: the tokenizer, the windows in the order they are learned, and those
to measure the loss on.

    python -m training.build [--data DIR] [--out DIR] [--tokens N]

Windows are `length` tokens each and begin with the beginning of a text; one that is cut at the end
of a window begins the next one anew.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from training import corpus, sessions, tokens
from training.model import Shape
from training.sessions import Composer
from training.tokens import Encoded, Encoder

SEED = 20
SHORT, LONG = 512, 1024
LONG_PART = 0.3  # of the tokens, at the end, are in long windows
PLAIN_UNTIL, PLAIN_PART = 0.45, 0.16  # plain dialogue goes from this part of the texts to none
_WORDS_PER_TOKEN = 0.72


def main() -> None:
    """Build."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--out", type=Path, default=Path("build/training"))
    options.add_argument("--tokens", type=int, default=24_000_000)
    options.add_argument("--seed", type=int, default=SEED)
    options.add_argument("--plain", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("--tokenizer", type=Path, help="one to use instead of a new one")
    chosen = options.parse_args()
    out: Path = chosen.out
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    stories, held_out = corpus.stories(chosen.data)
    dialogues = corpus.dialogues(chosen.data)
    print(f"{len(stories)} stories, {len(dialogues)} plain dialogues")

    if chosen.tokenizer:
        tokenizer = tokens.load(chosen.tokenizer)
    else:
        composer = Composer(stories, chosen.seed)
        sample = islice(composer.sessions(int(SHORT * _WORDS_PER_TOKEN)), 25_000)
        texts = [text for turns in sample for _, text in turns] + dialogues[:1000]
        tokenizer = tokens.train(texts, Shape.vocabulary)
    tokenizer.save(str(out / "tokenizer.json"))
    encoder = Encoder(tokenizer)
    print(f"tokenizer of {tokenizer.get_vocab_size()}, after {time.monotonic() - began:.0f} s")

    composer = Composer(stories, chosen.seed + 1)
    for length, count, plain in (
        (SHORT, int(chosen.tokens * (1 - LONG_PART)) // SHORT, chosen.plain),
        (LONG, int(chosen.tokens * LONG_PART) // LONG, False),
    ):
        encoded = _encoded(composer, encoder, dialogues if plain else [], length, count * length)
        ids, weights = _windows(encoded, length, count)
        np.savez(out / f"windows-{length}.npz", ids=ids, weights=weights)
        print(f"{count} windows of {length}, after {time.monotonic() - began:.0f} s")
    held = {
        "stories": [encoder.session(turns) for turns in _story_turns(held_out)],
        "small_talk": [encoder.session(_turns(pair)) for pair in sessions.held_out_small_talk()],
        "questions": [encoder.session(_turns(pair)) for pair in _held_out_questions()],
    }
    rows = {
        name: [(ids.tolist(), weights.tolist()) for ids, weights in encoded]
        for name, encoded in held.items()
    }
    (out / "held-out.json").write_text(json.dumps(rows))


def _encoded(
    composer: Composer, encoder: Encoder, dialogues: list[str], length: int, total: int
) -> Iterator[Encoded]:
    """Texts in the order they are learned, `total` tokens and on, none longer than a window."""
    draw = random.Random(SEED)  # noqa: S311
    made = composer.sessions(int(length * _WORDS_PER_TOKEN))
    done = 0
    while True:
        part = PLAIN_PART * max(0.0, 1 - done / total / PLAIN_UNTIL)
        if dialogues and draw.random() < part:
            ids, weights = encoder.text(draw.choice(dialogues))
        else:
            ids, weights = encoder.session(next(made))
        done += len(ids)
        yield ids[:length], weights[:length]


def _windows(encoded: Iterable[Encoded], length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.zeros((count, length), np.uint16)
    weights = np.zeros((count, length), np.uint8)
    row = at = 0
    for text_ids, text_weights in encoded:
        room = min(length - at, len(text_ids))
        ids[row, at : at + room] = text_ids[:room]
        weights[row, at : at + room] = text_weights[:room]
        at += room
        if at == length:
            row += 1
            if row == count:
                break
            at = len(text_ids) if room < len(text_ids) else 0
            ids[row, :at] = text_ids[:at]
            weights[row, :at] = text_weights[:at]
            if at == length:  # the text fills the window
                row, at = row + 1, 0
                if row == count:
                    break
    return ids, weights


def _turns(pair: tuple[str, str]) -> list[sessions.Turn]:
    return [("user", pair[0]), ("assistant", pair[1])]


def _story_turns(stories: list[str]) -> list[list[sessions.Turn]]:
    return [_turns(("Tell me a story.", story)) for story in stories]


def _held_out_questions() -> list[sessions.Exchange]:
    """Questions in words that are not learned from, with an answer of their topic."""
    topics = sessions.topics()
    questions = sessions.held_out("questions")["question"]
    return [
        (row["ask"], topics[row["topic"]]["answers"][0])
        for row in questions
        if row["topic"] in topics
    ]


if __name__ == "__main__":
    main()
