"""Topics."""

import pytest

import broker
from broker import Topic


def test_text():
    topic = Topic("/a/b")
    assert (topic.string(), str(topic), repr(topic)) == ("/a/b", "/a/b", "/a/b")
    assert Topic(b"/a").string() == "/a"


@pytest.mark.parametrize("left, right, joined", [
    ("/a", "/b", "/a/b"),
    ("/a/", "/b/c", "/a//b/c"),
    ("/b/c", "/a/", "/b/c/a"),
    ("a", "b", "a/b"),
    ("a", "b/", "a/b"),
    ("", "b", "b"),
    ("a", "", "a"),
    ("/a/", "", "/a"),
    ("/a//", "//b", "/a////b"),
    ("/", "/", "/"),
])
def test_joining(left, right, joined):
    assert str(Topic(left) / Topic(right)) == joined
    topic = Topic(left)
    topic /= Topic(right)
    assert str(topic) == joined


def test_joining_leaves_the_parts_alone():
    left, right = Topic("/a"), Topic("/b")
    left / right
    assert (str(left), str(right)) == ("/a", "/b")


def test_topics_are_equal_by_value():
    assert Topic("/a") == Topic("/a")
    assert Topic("/a") != Topic("/b")
    assert hash(Topic("/a")) == hash(Topic(b"/a"))
    assert len({Topic("/a"), Topic("/a")}) == 1


@pytest.mark.parametrize("arguments", [(), (None,), (5,)])
def test_topics_are_made_of_text(arguments):
    with pytest.raises(TypeError):
        Topic(*arguments)


def test_topics_are_no_values():
    with pytest.raises(TypeError, match="unsupported data type"):
        broker.Data(Topic("/a"))
