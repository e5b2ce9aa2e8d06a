"""Messages to the tokens that the model gets: through its chat template, or as plain text.

Invariants: the text is the template's own rendering; what people typed never becomes a control
token; a reply's tokens are used as they are wherever their text stands unchanged, so that the next
turn finds them in the KV cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chatterm.chat.message import Role
from chatterm.chat.trace import unpack_ids
from chatterm.engine.locate import Rendering, locate, words
from chatterm.engine.model import Model
from chatterm.engine.protocol import PromptMessage, PromptToken, Rendered
from chatterm.engine.renderer import (
    ADVICE,
    Renderer,
    TemplateFailedError,
    TemplateProcess,
    Turn,
)
from chatterm.engine.splice import Span, Splice, tokenize
from chatterm.engine.text import TokenText
from chatterm.engine.vocab import Vocab
from chatterm.errors import PromptError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_PROBE = (Turn("user", "Hello"),)
_TOOL = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "Tells the time.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}


class Prompt(msgspec.Struct, frozen=True):
    """What the model gets. `before`: bytes of the reply that it goes on with."""

    text: str
    tokens: list[int]
    controls: list[bool]
    before: bytes = b""


class Prompter:
    """Makes the prompts of one model."""

    def __init__(self, model: Model, process: TemplateProcess) -> None:
        self._vocab = model.vocab
        self._process = process
        self._problem = ""
        self._needs_tools = False
        self._renderer: Renderer | None = None
        if model.chat_template is not None:
            self._renderer = self._checked(model.chat_template)
        self._guarded = _guarded(model.vocab, self._renderer)

    @property
    def has_template(self) -> bool:
        """False for a base model."""
        return self._renderer is not None

    @property
    def template_problem(self) -> str:
        """Why ChatML is used instead of the model's own template, if it is."""
        return self._problem

    def _checked(self, template: str) -> Renderer:
        renderer = self._make_renderer(template)
        try:
            renderer.render(_PROBE)
        except TemplateFailedError as failure:
            if failure.refused:
                return renderer
            self._needs_tools = self._renders_with_tools(renderer)
            if not self._needs_tools:
                self._problem = f"Its chat template is broken ({failure.reason})."
                return self._make_renderer(CHATML)
        return renderer

    def _renders_with_tools(self, renderer: Renderer) -> bool:
        if not any(word in renderer.template for word in ("tools", "functions")):
            return False
        try:
            renderer.render(_PROBE, tools=[_TOOL], functions="[]", datetime="")
        except TemplateFailedError:
            return False
        return True

    def _make_renderer(self, template: str) -> Renderer:
        vocab = self._vocab
        special = {"bos_token": vocab.bos, "eos_token": vocab.eos}
        texts = {name: vocab.text(token) for name, token in special.items() if token >= 0}
        return Renderer(self._process, template, texts)

    def prompt(self, messages: Sequence[PromptMessage], *, raw: bool) -> Prompt:
        """The prompt for a reply to `messages`, or for more of the last one, if it is a reply.

        Raises PromptError.
        """
        turns = [_turn(message) for message in messages]
        begun = turns.pop() if turns and turns[-1].role == Role.ASSISTANT else None
        if raw or self._renderer is None:
            return self._finish(_plain(turns), turns, begun)
        if self._needs_tools:
            raise PromptError(
                "This model's chat template works only with tools, and chatterm gives it none.",
                ADVICE,
            )
        if not turns:
            raise PromptError("There is no message to reply to.", "Write one first.")
        served, rendering = self._render(self._renderer, turns)
        return self._finish(rendering, served, begun)

    def rendered(self, run: int, messages: Sequence[PromptMessage], *, raw: bool) -> Rendered:
        """The prompt, as the client shows it."""
        prompt = self.prompt(messages, raw=raw)
        return Rendered(
            run=run,
            prompt=prompt.text,
            tokens=tuple(
                PromptToken(token, self._vocab.text(token), control)
                for token, control in zip(prompt.tokens, prompt.controls, strict=True)
            ),
        )

    def _finish(self, rendering: Rendering, turns: Sequence[Turn], begun: Turn | None) -> Prompt:
        """The prompt of rendered turns, and of the reply that was begun after them."""
        text, before = rendering.text, b""
        spans = [place for place in rendering.places if place] if rendering.exact else []
        splices = _splices(self._vocab, text, turns, rendering.places)
        if begun:
            end = len(text) + len(begun.text)
            reply, before = self._begun(begun, joined=bool(text))
            spans.append(Span(len(text), end))
            splices.append(Splice(len(text), end, tuple(reply)))
            text += begun.text
        tokens, controls = tokenize(self._vocab, text, spans, splices, self._guarded)
        if self._vocab.adds_bos and tokens[:1] != [self._vocab.bos]:
            tokens.insert(0, self._vocab.bos)
            controls.insert(0, True)
        return Prompt(text, tokens, controls, before)

    def _begun(self, turn: Turn, *, joined: bool) -> tuple[list[int], bytes]:
        """Tokens and bytes of a reply to go on with, from its exact last token if it is known."""
        count, length = TokenText(self._vocab, turn.tokens).matching(turn.text)
        tokens = list(turn.tokens[:count])
        rest = turn.text[length:]
        before = b"".join(map(self._vocab.piece, tokens)) + rest.encode()
        return tokens + self._vocab.tokenize(rest, joined=joined or count > 0), before

    def _render(
        self, renderer: Renderer, turns: Sequence[Turn]
    ) -> tuple[Sequence[Turn], Rendering]:
        """The turns as the template takes them, and what it makes of them."""
        merged = _alternating(turns)
        failure: TemplateFailedError | None = None
        for form in (turns, merged, _alternating(_without_system(turns))):
            try:
                rendering = locate(renderer, form)
            except TemplateFailedError as error:
                failure = failure or error
                continue
            system_lost = form[0].role == Role.SYSTEM and rendering.places[0] is None
            if not system_lost or len(form) == 1:
                return self._safe(renderer, form, rendering)
        assert failure
        raise failure

    def _safe(
        self, renderer: Renderer, turns: Sequence[Turn], rendering: Rendering
    ) -> tuple[Sequence[Turn], Rendering]:
        """Break control strings in words whose place in the rendering is not certain."""
        controls = [
            token.text
            for token in self._vocab.special
            if token.control or token.id in self._guarded
        ]
        safe = [
            turn
            if rendering.exact and place
            else msgspec.structs.replace(turn, text=_broken(turn.text, controls))
            for turn, place in zip(turns, rendering.places, strict=True)
        ]
        if all(turn.text == other.text for turn, other in zip(turns, safe, strict=True)):
            return turns, rendering
        return safe, locate(renderer, safe)


def _turn(message: PromptMessage) -> Turn:
    return Turn(message.role, message.text, tuple(unpack_ids(message.tokens)))


def _plain(turns: Sequence[Turn]) -> Rendering:
    """The texts one after the other, as a base model gets them.

    A reply went on where the text before it ended; a new turn begins on a line of its own.
    """
    text = ""
    places: list[Span] = []
    for turn in turns:
        if text and not text[-1].isspace() and turn.role != Role.ASSISTANT:
            text += "\n"
        places.append(words(turn.text, len(text)))
        text += turn.text
    return Rendering(text, tuple(places), exact=True)


def _alternating(turns: Sequence[Turn]) -> list[Turn]:
    """Messages of one role in a row as one message."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1] = Turn(turn.role, _joined(merged[-1].text, turn.text))
        else:
            merged.append(turn)
    return merged


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """System text as the beginning of the next user message."""
    kept: list[Turn] = []
    waiting = ""
    for turn in turns:
        if turn.role == Role.SYSTEM:
            waiting = _joined(waiting, turn.text)
        elif turn.role == Role.USER and waiting:
            kept.append(Turn(turn.role, _joined(waiting, turn.text)))
            waiting = ""
        else:
            kept.append(turn)
    return [*kept, Turn(Role.USER, waiting)] if waiting else kept


def _joined(one: str, other: str) -> str:
    return f"{one}\n\n{other}" if one and other else one or other


def _splices(
    vocab: Vocab, text: str, turns: Sequence[Turn], places: Sequence[Span | None]
) -> list[Splice]:
    """For each reply whose tokens are known and whose words stand in `text`: which it is."""
    found: list[Splice] = []
    for turn, place in zip(turns, places, strict=True):
        if not (turn.tokens and place):
            continue
        # The reply may have begun with white space, which is no part of its place.
        start = place.start - words(turn.text).start
        if start < (found[-1].end if found else 0):
            continue
        count, length = TokenText(vocab, turn.tokens).matching(text[start:], turn.text)
        if length:
            found.append(Splice(start, start + length, turn.tokens[:count]))
    return found


def _broken(text: str, controls: Sequence[str]) -> str:
    """`text` in which no control string stands whole: an invisible space parts its first letter."""
    for control in controls:
        if control in text:
            text = text.replace(control, f"{control[0]}\N{ZERO WIDTH SPACE}{control[1:]}")
    return text


def _guarded(vocab: Vocab, renderer: Renderer | None) -> frozenset[int]:
    """Special tokens that are not control tokens, but that the template uses as if they were."""
    template = renderer.template if renderer else ""
    return frozenset(
        token.id
        for token in vocab.special
        if not token.control and len(token.text.strip()) > 1 and token.text in template
    )
