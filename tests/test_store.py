"""store: real SQLite files."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from chatterm.chat.message import Change, Ending, Figures, Message, Role
from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import RECORD, Trace
from chatterm.errors import StoreError
from chatterm.recorder import Recorder
from chatterm.store import MIGRATIONS, Store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "chatterm.db"


def user(text: str) -> Message:
    return Message(id=0, parent=None, role=Role.USER, text=text, created=1.5)


def reply() -> Message:
    changes = (Change(Sampling(temperature=0.1, stop=("\n",)), 0, 0),)
    return Message(
        id=0,
        parent=None,
        role=Role.ASSISTANT,
        text="",
        created=2.5,
        model="tiny",
        changes=changes,
    )


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Within it, another program keeps the database locked."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def records(*tokens: int) -> bytes:
    return b"".join(RECORD.pack(token, 0.5, 0, 0, 0, 0, *[0] * 30) for token in tokens)


def test_what_is_stored_is_there_in_another_program(file: Path) -> None:
    store = Store(file)
    conversation, (question, answer) = store.create(
        "A title", Sampling(top_k=7), user("Hello"), reply()
    )
    done = Message(
        id=answer.id,
        parent=question.id,
        role=Role.ASSISTANT,
        text="Hi",
        created=2.5,
        ending=Ending.STOPPED,
        model="tiny",
        changes=answer.changes,
        figures=Figures(prompt_tokens=3, stop_s=0.004),
    )
    store.update(done, records(5, 6), {5: b"H", 6: b"i"})

    other = Store(file)
    title, sampling, tree = other.load(conversation)
    assert (title, sampling) == ("A title", Sampling(top_k=7))
    assert tree.path() == (question, done)
    assert other.trace(answer.id) == Trace(records(5, 6), {5: b"H", 6: b"i"})
    assert [found.messages for found in other.conversations()] == [2]


def test_a_trace_grows_in_pieces(file: Path) -> None:
    store = Store(file)
    _, (_, answer) = store.create("", Sampling(), user("Hello"), reply())
    store.update(answer, records(1), {1: b"a"})
    store.update(answer, records(2, 1), {2: b"b"})
    assert list(store.trace(answer.id).ids()) == [1, 2, 1]
    assert store.trace(answer.id).pieces == {1: b"a", 2: b"b"}


def test_the_active_branch_is_remembered(file: Path) -> None:
    store = Store(file)
    conversation, (first,) = store.create("", Sampling(), user("one"))
    store.add(conversation, user("two"))
    _, _, tree = store.load(conversation)
    store.activate(conversation, tree.selected(first.id).path())
    assert [message.text for message in store.load(conversation)[2].path()] == ["one"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_others_cannot_read_the_conversations(file: Path) -> None:
    store = Store(file)
    store.create("", Sampling())
    for made in file.parent.iterdir():
        assert stat.S_IMODE(made.stat().st_mode) == 0o600, made


def test_two_programs_write_side_by_side(file: Path) -> None:
    one, two = Store(file), Store(file)
    for index in range(20):
        (one if index % 2 else two).create(str(index), Sampling())
    assert len(one.conversations()) == len(two.conversations()) == 20


def test_a_newer_database_is_refused_and_left_alone(file: Path) -> None:
    Store(file).close()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(StoreError, match="newer chatterm"):
        Store(file)
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (999,)


def test_migrations_are_counted(file: Path) -> None:
    Store(file).close()
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_a_file_that_is_no_database_is_named_and_left_alone(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match=r"chatterm\.db is damaged"):
        Store(file)
    assert file.read_bytes() == b"not a database, " * 100


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="CHATTERM_DATA_DIR"):
        Store(tmp_path / "file" / "chatterm.db")


def test_an_unknown_conversation_is_said(file: Path) -> None:
    with pytest.raises(StoreError, match="no conversation 12"):
        Store(file).load(12)


def test_small_values_are_remembered(file: Path) -> None:
    store = Store(file)
    assert store.recall("model") is None
    store.remember("model", "a.gguf")
    store.remember("model", "b.gguf")
    assert Store(file).recall("model") == "b.gguf"


def test_a_value_may_be_the_name_of_a_file_that_is_no_text(file: Path) -> None:
    store = Store(file)
    name = os.fsdecode(b"lat\xe9n.gguf")
    store.remember("model", name)
    assert Store(file).recall("model") == name


def test_values_of_earlier_versions_are_recalled(file: Path) -> None:
    store = Store(file)
    with sqlite3.connect(file) as db:
        db.execute("INSERT INTO remembered VALUES ('model', 'é.gguf')")
    assert store.recall("model") == "é.gguf"


def test_words_that_were_not_sent_are_kept_once_and_never_overwritten(file: Path) -> None:
    one, two = Store(file), Store(file)
    assert one.take_unsent() == ""
    one.keep_unsent("One")
    two.keep_unsent("Two")
    assert one.take_unsent() == "One\n\nTwo"
    assert two.take_unsent() == ""


def test_messages_are_stored_all_or_none(file: Path) -> None:
    store = Store(file)
    conversation, _ = store.create("", Sampling(), user("Hello"))
    broken = msgspec.structs.replace(user("Never"), text=None)  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.add(conversation, user("Again"), broken)
    with pytest.raises(StoreError):
        store.create("Another", Sampling(), user("Again"), broken)
    assert [message.text for message in store.load(conversation)[2].path()] == ["Hello"]
    assert len(store.conversations()) == 1


def test_a_database_that_another_program_keeps_locked_is_said(file: Path) -> None:
    store = Store(file)
    store.patience = 0.05
    with locked(file), pytest.raises(StoreError, match="locked by another program"):
        store.create("", Sampling())
    store.create("", Sampling())


def test_deleting_a_conversation_deletes_its_messages_and_traces(file: Path) -> None:
    store = Store(file)
    conversation, (_, answer) = store.create("", Sampling(), user("Hello"), reply())
    store.update(answer, records(1), {1: b"a"})
    store.delete(conversation)
    with sqlite3.connect(file) as db:
        for table in ("conversations", "messages", "active", "traces"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608


def test_a_recorder_keeps_what_could_not_be_stored_and_tries_again(file: Path) -> None:
    store = Store(file)
    _, (_, answer) = store.create("", Sampling(), user("Hello"), reply())
    problems: list[StoreError] = []
    recorder = Recorder(store, problems.append)
    with sqlite3.connect(file) as db:
        db.execute("ALTER TABLE traces RENAME TO elsewhere")
    recorder.add(answer, records(1), {1: b"a"})
    with pytest.raises(StoreError):
        recorder.flush()
    with sqlite3.connect(file) as db:
        db.execute("ALTER TABLE elsewhere RENAME TO traces")
    recorder.add(answer, records(2), {2: b"b"})
    recorder.close()
    assert store.trace(answer.id) == Trace(records(1, 2), {1: b"a", 2: b"b"})


def test_of_values_that_are_recorded_the_newest_is_stored(file: Path) -> None:
    store = Store(file)
    problems: list[StoreError] = []
    recorder = Recorder(store, problems.append)
    store.patience = 0.05
    with locked(file):
        recorder.later("model", lambda store: store.remember("model", "a.gguf"))
        with pytest.raises(StoreError):
            recorder.flush()
        recorder.later("model", lambda store: store.remember("model", "b.gguf"))
    recorder.close()
    assert store.recall("model") == "b.gguf"
