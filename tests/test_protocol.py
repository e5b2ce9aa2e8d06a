"""engine.protocol: frames out and in."""

import io
import os
from pathlib import Path

import msgspec
import pytest

from chatterm.chat.message import Role
from chatterm.chat.sampling import Sampling
from chatterm.engine import protocol
from chatterm.engine.protocol import Failed, Generate, Load, PromptMessage, Tokens


def test_a_command_and_an_event_come_out_as_they_went_in() -> None:
    command = Generate(
        run=3,
        messages=(PromptMessage(role=Role.USER, text="Hé\x00\u202e", tokens=b"\x01\xff"),),
        sampling=Sampling(stop=("a",)),
    )
    event = Tokens(
        run=3, text="x", records=b"\x00", pieces={5: b"\xff"}, context_tokens=2, tokens_per_s=1.5
    )
    pipe = io.BytesIO()
    protocol.write(pipe, command)
    protocol.write(pipe, event)
    pipe.seek(0)
    assert protocol.read_command(pipe) == command
    assert protocol.read_event(pipe) == event
    assert protocol.read_event(pipe) is None


def test_any_name_of_a_file_comes_out_as_it_went_in() -> None:
    pipe = io.BytesIO()
    command = Load(run=1, path=Path(os.fsdecode(b"lat\xe9n.gguf")))
    protocol.write(pipe, command)
    pipe.seek(0)
    assert protocol.read_command(pipe) == command


def test_half_a_frame_is_the_end() -> None:
    pipe = io.BytesIO()
    protocol.write(pipe, Failed(run=1, kind="ModelError", title="t", advice="a"))
    assert protocol.read_event(io.BytesIO(pipe.getvalue()[:-1])) is None


@pytest.mark.parametrize(
    "frame",
    [
        (5).to_bytes(4, "little") + b"\xc1junk",
        (protocol.MAX_FRAME + 1).to_bytes(4, "little"),
        (1).to_bytes(4, "little") + b"\x80",
    ],
)
def test_what_is_no_event_is_an_error_of_one_kind(frame: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        protocol.read_event(io.BytesIO(frame))
