"""Classes and annotations that people use for records and events."""

import collections
import collections.abc
import dataclasses
import enum
import ipaddress
import json
from typing import (Any, Collection, Dict, FrozenSet, Iterable, List, Literal, Mapping, NamedTuple, NewType, Optional,
                    Sequence, TypedDict)

import attr
import attrs
import pydantic
import pydantic.v1
import pytest
import typing_extensions
from typing_extensions import NotRequired, Required

import broker
from broker import Count, Enum, Port
from broker.zeek import Event, MismatchError, event, pack, unpack
from deadline import take
from scene import connect

UserId = NewType("UserId", Count)
Name = NewType("Name", str)


class Color(enum.Enum):
    RED = "Demo::RED"
    BLUE = "Demo::BLUE"


class Sparse(TypedDict, total=False):
    a: int
    b: Required[str]
    c: Count


class Dense(TypedDict):
    a: NotRequired[int]
    b: Optional[str]


class OfExtensions(typing_extensions.TypedDict, total=False):
    a: typing_extensions.Required[int]
    b: str


@attrs.define
class Attrs:
    host: str
    _secret: Count
    note: Optional[str] = None
    cached: int = attrs.field(init=False, default=0)


@attr.s(auto_attribs=False)
class OldAttrs:
    host = attr.ib(type=str)
    anything = attr.ib()


class Model(pydantic.BaseModel):
    host: str
    number: int = pydantic.Field(alias="n")
    note: Optional[str] = None


class OldModel(pydantic.v1.BaseModel):
    host: str
    number: int = pydantic.v1.Field(..., alias="n")
    hosts: List[ipaddress.IPv4Address] = []


@dataclasses.dataclass
class Inner:
    n: Count
    text: Optional[str] = None


def sent(value, annotation):
    """What a field of this annotation is sent as, and what comes back."""
    cls = dataclasses.make_dataclass("Sent", [("field", annotation)])
    packed = pack(cls(value), "x")
    return packed.args()[0], unpack(packed, cls).field


@pytest.mark.parametrize("value, annotation, wire, back", [
    (5, UserId, Count(5), Count(5)),
    ("x", Name, "x", "x"),
    ({"k": 1}, Dict[Name, UserId], {"k": Count(1)}, {"k": Count(1)}),
    ("a", Literal["a", "b"], "a", "a"),
    (2, Literal[1, 2], 2, 2),
    (None, Literal["a", None], None, None),
    (Color.RED, Literal[Color.RED], Enum("Demo::RED"), Color.RED),
    ({"a"}, FrozenSet[Literal["a"]], {"a"}, frozenset({"a"})),
    (None, None, None, None),
    (None, type(None), None, None),
    ((1, 2), Iterable[int], (1, 2), [1, 2]),
    (range(3), Iterable[int], (0, 1, 2), [0, 1, 2]),
    (collections.deque([1]), Sequence[int], (1,), [1]),
    ([1], collections.abc.Iterable, (1,), [1]),
    ({1}, Collection[int], (1,), [1]),
    ([1], collections.abc.MutableSequence, (1,), [1]),
    ({"k": 1}, Mapping[str, int], {"k": 1}, {"k": 1}),
    ({"k": 1}, collections.abc.MutableMapping, {"k": 1}, {"k": 1}),
    ({1}, collections.abc.Set, {1}, frozenset({1})),
    (Attrs("h", Count(1)), Attrs, ("h", Count(1), None), Attrs("h", Count(1))),
    (OldAttrs("h", (1, "x")), OldAttrs, ("h", (1, "x")), OldAttrs("h", (1, "x"))),
    (Model(host="h", n=5), Model, ("h", 5, None), Model(host="h", n=5)),
    (OldModel(host="h", n=5, hosts=["1.2.3.4"]), OldModel, ("h", 5, (ipaddress.ip_address("1.2.3.4"),)),
     OldModel(host="h", n=5, hosts=["1.2.3.4"])),
    ({"b": "x"}, Sparse, (None, "x", None), {"b": "x"}),
    ({"a": 1, "b": "x", "c": 2}, Sparse, (1, "x", Count(2)), {"a": 1, "b": "x", "c": Count(2)}),
    ({"b": None}, Dense, (None, None), {"b": None}),
    ({"a": 1}, OfExtensions, (1, None), {"a": 1}),
    ([{"b": "x"}], List[Sparse], ((None, "x", None),), [{"b": "x"}]),
], ids=lambda value: "")
def test_annotations(value, annotation, wire, back):
    assert sent(value, annotation) == (wire, back)
    assert type(sent(value, annotation)[1]) is type(back)


@pytest.mark.parametrize("value, annotation, expected, found", [
    ("c", Literal["a", "b"], "one of 'a', 'b'", "`'c'`"),
    (True, Literal[1], "one of 1", "`True`"),
    (1, None, "nothing", "int"),
    ((1, "x"), UserId, "count", "vector or record"),
    ("abc", Iterable[str], "vector", "string"),
    ((None, None, None), Sparse, "string", "nothing"),
    ((1,), Attrs, "record Attrs of 3 fields", "1"),
    ((1, 2, None), Model, "string", "int"),
])
def test_what_does_not_fit_is_named(value, annotation, expected, found):
    cls = dataclasses.make_dataclass("Received", [("field", annotation)])
    with pytest.raises(MismatchError) as info:
        unpack(Event("x", value), cls)
    assert (info.value.expected, info.value.found) == (expected, found)


def test_a_key_that_has_to_be_there_is_missed():
    with pytest.raises(MismatchError, match="argument `field.b`: expected string, found nothing"):
        sent({"a": 1}, Sparse)


@pytest.mark.parametrize("cls", [Attrs, OldAttrs, Model, OldModel])
def test_events_of_all_kinds_of_classes(cls):
    made = {Attrs: Attrs("h", Count(1)), OldAttrs: OldAttrs("h", 5), Model: Model(host="h", n=1),
            OldModel: OldModel(host="h", n=1)}[cls]
    assert unpack(pack(made, "x"), cls) == made


class Pair(NamedTuple):
    a: int
    b: str


@event("Demo::ping")
@dataclasses.dataclass
class Ping:
    n: Count


@pytest.mark.parametrize("value, made", [
    (Inner(5), (Count(5), None)),
    ([Inner(1, "a"), 2], ((Count(1), "a"), 2)),
    ({"k": Inner(1)}, {"k": (Count(1), None)}),
    (Attrs("h", Count(1)), ("h", Count(1), None)),
    (Model(host="h", n=1), ("h", 1, None)),
    (OldModel(host="h", n=1), ("h", 1, ())),
    (Pair(1, "x"), (1, "x")),
])
def test_a_class_with_fields_is_a_record_wherever_a_value_is_taken(scene, value, made):
    a, b = scene.endpoint(), scene.endpoint()
    messages = scene.use(b.make_subscriber("/t"))
    connect(a, b)
    a.publish("/t", value)
    assert take(messages, 1) == [("/t", made)]
    store = a.open_master("store")
    store.put("key", value)
    assert store.get("key") == made
    assert broker.Data.to_py(broker.Data.from_py(value)) == made
    assert Event("x", value).args() == [made]


def test_a_class_that_stands_for_an_event_is_that_event():
    data = broker.Data(Ping(Count(7)))
    assert (Event(data).name(), Event(data).args()) == ("Demo::ping", [Count(7)])


def test_a_field_that_does_not_fit_is_named():
    with pytest.raises(TypeError, match="^record `Inner`: field `n`: expected count, found string$"):
        broker.Data(Inner("x"))
    for other in (Inner, Attrs, Model, object()):
        with pytest.raises(TypeError, match="unsupported data type"):
            broker.Data(other)


def test_an_event_as_json():
    made = Event("ping", Count(1), "x")
    text = broker.Data.to_json(made)
    assert text == broker.Data.to_json(made.as_data())
    assert Event(broker.Data.from_json(text)).args() == [Count(1), "x"]
    assert json.loads(text)["@data-type"] == "vector"


def test_the_old_name_of_the_module():
    import broker.bro
    from broker import bro

    assert broker.bro is bro is broker.zeek
    assert bro.Event("x", 1).args() == [1]


def test_any_field_is_taken():
    cls = dataclasses.make_dataclass("Sent", [("field", Any)])
    assert unpack(pack(cls(Port(1, Port.TCP)), "x"), cls).field == Port(1, Port.TCP)
