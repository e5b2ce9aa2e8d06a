"""chat.tree: branches are added, remembered and never lost."""

from hypothesis import given
from hypothesis import strategies as st

from chatterm.chat.message import Message, Role
from chatterm.chat.tree import Tree


def message(id_: int, parent: int | None, text: str = "") -> Message:
    return Message(id=id_, parent=parent, role=Role.USER, text=text, created=0.0)


def path(tree: Tree) -> list[int]:
    return [node.id for node in tree.path()]


def branched() -> Tree:
    """1 ── 2 ── 3, and 1 ── 4 ── 5 made later."""
    tree = Tree()
    for id_, parent in ((1, None), (2, 1), (3, 2), (4, 1), (5, 4)):
        tree = tree.added(message(id_, parent))
    return tree


def test_what_is_added_becomes_the_active_path() -> None:
    assert path(branched()) == [1, 4, 5]


def test_going_back_to_a_branch_finds_it_as_it_was_left() -> None:
    tree = branched().selected(2)
    assert path(tree) == [1, 2, 3]
    assert path(tree.selected(4)) == [1, 4, 5]


def test_siblings_stop_at_the_ends() -> None:
    tree = branched()
    assert tree.siblings(4) == (2, 4)
    assert [tree.sibling(4, offset) for offset in (-5, -1, 0, 1)] == [2, 2, 4, 4]


def test_a_replaced_message_keeps_its_place_and_the_identity_of_the_path() -> None:
    tree = branched()
    newer = tree.replaced(message(5, 4, "more"))
    assert newer.path()[-1].text == "more"
    assert newer.children is tree.children
    assert newer.active is tree.active


def test_a_message_whose_parent_is_lost_is_kept_as_a_root() -> None:
    tree = Tree.of([message(1, None), message(9, 77)], {})
    assert set(tree.messages) == {1, 9}
    assert tree.siblings(9) == (1, 9)


@given(st.lists(st.integers(0, 30), max_size=40))
def test_no_message_is_ever_lost(parents: list[int]) -> None:
    tree = Tree()
    for id_, wanted in enumerate(parents, 1):
        tree = tree.added(message(id_, wanted if 0 < wanted < id_ else None))
        assert tree.active[tree.messages[id_].parent] == id_
    for id_ in tree.messages:
        assert id_ in path(tree.selected(id_))
    reloaded = Tree.of(tree.messages.values(), tree.active)
    assert reloaded == tree
