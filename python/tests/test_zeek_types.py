"""Events and records as classes."""

import dataclasses
import datetime
import enum
import ipaddress
import pickle
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple, TypedDict, Union

import pytest

import broker
from broker import Count, Enum, Port
from broker.zeek import Event, MismatchError, event, pack, unpack

NOW = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)
SPAN = datetime.timedelta(seconds=1.5)
V4, V6 = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")
NET = ipaddress.ip_network("10.0.0.0/8")


class Color(enum.Enum):
    RED = enum.auto()
    GREEN = "Demo::GREEN"


@dataclasses.dataclass
class Inner:
    a: Count
    b: Optional[str] = None


class Pair(NamedTuple):
    left: int
    right: float


class Place(TypedDict):
    host: Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
    port: Port


@event("Demo::everything")
@dataclasses.dataclass
class Everything:
    flag: bool
    i: int
    c: Count
    d: float
    t: datetime.datetime
    iv: datetime.timedelta
    s: str
    raw: bytes
    color: Color
    name: Enum
    port: Port
    address: Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
    v6: ipaddress.IPv6Address
    subnet: Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
    inner: Inner
    pair: Pair
    place: Place
    several: List[Inner]
    counts: Sequence[Count]
    fixed: Tuple[str, Count]
    many: Tuple[int, ...]
    tags: Set[str]
    pairs: FrozenSet[Tuple[ipaddress.IPv4Address, Port]]
    table: Dict[str, Count]
    missing: Optional[Count]
    anything: Any
    either: Union[str, Count]


def everything(**changes):
    return dataclasses.replace(Everything(
        flag=True, i=-1, c=Count(2), d=0.5, t=NOW, iv=SPAN, s="text", raw=b"\xff", color=Color.GREEN,
        name=Enum("X::Y"), port=Port(80, Port.TCP), address=V4, v6=V6, subnet=NET, inner=Inner(Count(1), "b"),
        pair=Pair(1, 2.0), place={"host": V6, "port": Port(1, Port.UDP)}, several=[Inner(Count(1)), Inner(Count(2))],
        counts=[Count(1)], fixed=("a", Count(1)), many=(1, 2, 3), tags={"x"},
        pairs=frozenset([(V4, Port(1, Port.UDP))]), table={"k": Count(1)}, missing=None, anything=(1, "a"),
        either=Count(3)), **changes)


def test_everything_goes_through_an_event():
    packed = pack(everything())
    assert (packed.name(), packed.valid(), len(packed.args())) == ("Demo::everything", True, 27)
    assert unpack(packed, Everything) == everything()
    # As it comes from a subscriber.
    assert unpack(broker.Data.to_py(packed.as_data()), Everything) == everything()


def test_records_are_vectors_by_position():
    packed = pack(Inner(Count(1)), "x", metadata={200: "v"})
    assert str(packed.as_data()) == "(1, 1, (x, (1, nil), ((200, v))))"
    assert unpack(packed, Inner) == Inner(Count(1), None)
    assert unpack(Event("x", Count(1), "b"), Inner) == Inner(Count(1), "b")


def test_what_is_sent_follows_the_annotation():
    @event
    @dataclasses.dataclass
    class Numbers:
        c: Count
        d: float
        color: Color

    packed = pack(Numbers(c=5, d=2, color=Color.RED))
    assert packed.name() == "Numbers"
    assert packed.args() == [Count(5), 2.0, Enum("RED")]
    for values, expected, found in [
        ((-1, 1.0, Color.RED), "count", "int"), ((True, 1.0, Color.RED), "count", "bool"),
        ((1, "x", Color.RED), "double", "string"), ((1, 1.0, "RED"), "enum Color", "string"),
    ]:
        with pytest.raises(MismatchError) as info:
            pack(Numbers(*values))
        assert (info.value.expected, info.value.found) == (expected, found)


@pytest.mark.parametrize("field, value, argument, expected, found", [
    ("flag", 1, "flag", "bool", "int"),
    ("i", Count(1), "i", "int", "count"),
    ("i", True, "i", "int", "bool"),
    ("c", 1, "c", "count", "int"),
    ("d", 1, "d", "double", "int"),
    ("t", SPAN, "t", "time", "interval"),
    ("iv", 1.5, "iv", "interval", "double"),
    ("s", Enum("x"), "s", "string", "enum"),
    ("raw", 1, "raw", "string", "int"),
    ("color", "RED", "color", "enum", "string"),
    ("color", Enum("BLUE"), "color", "enum with one of the names of Color", "`BLUE`"),
    ("name", "x", "name", "enum", "string"),
    ("port", 80, "port", "port", "int"),
    ("address", "::1", "address", "addr", "string"),
    ("v6", V4, "v6", "addr (IPv6)", "addr"),
    ("subnet", V4, "subnet", "subnet", "addr"),
    ("inner", (1, None), "inner.a", "count", "int"),
    ("inner", (Count(1), 5), "inner.b", "string", "int"),
    ("inner", (Count(1),), "inner", "record Inner of 2 fields", "1"),
    ("inner", 5, "inner", "record Inner", "int"),
    ("place", (V4, 5), "place.port", "port", "int"),
    ("several", ((Count(1), None), (1, None)), "several[1].a", "count", "int"),
    ("counts", {Count(1)}, "counts", "vector", "set"),
    ("fixed", ("a",), "fixed", "2 elements", "1"),
    ("many", (1, "a"), "many[1]", "int", "string"),
    ("tags", ("a",), "tags", "set", "vector or record"),
    ("tags", {1}, "tags{}", "string", "int"),
    ("table", {"k": 1}, "table['k']", "count", "int"),
    ("table", 5, "table", "table", "int"),
    ("missing", 5, "missing", "count", "int"),
    ("either", 5, "either", "string or count", "int"),
    ("pair", (1, None), "pair.right", "double", "nothing"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_mismatch_is_named(field, value, argument, expected, found):
    names = [known.name for known in dataclasses.fields(Everything)]
    arguments = list(pack(everything()).args())
    arguments[names.index(field)] = value
    with pytest.raises(MismatchError) as info:
        unpack(Event("Demo::everything", *arguments), Everything)
    assert (info.value.argument, info.value.expected, info.value.found) == (argument, expected, found)
    assert str(info.value) == "event `Demo::everything`: argument `%s`: expected %s, found %s" % (
        argument, expected, found)
    assert isinstance(info.value, TypeError) and isinstance(info.value, ValueError)
    assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)


# Not UTF-8, in ways that decoders disagree about: encoded surrogates, one alone and a pair (CESU-8),
# more than Unicode has, overlong, cut off.
HOSTILE = [b"/cmd.exe?\xff", b"\x80", b"\xed\xa0\x80", b"\xed\xb2\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80",
           b"\xc0\xaf", b"h\xc3"]


@dataclasses.dataclass
class Strings:
    text: str
    raw: bytes
    anything: Any
    optional: Optional[str]
    either: Union[Count, str]
    many: List[str]
    fixed: Tuple[str, bytes]
    tags: Set[str]
    table: Dict[str, List[bytes]]
    inner: Inner
    place: "Named"
    pair: "Both"
    bare: dict


class Named(TypedDict):
    name: str


class Both(NamedTuple):
    text: str
    raw: bytes


@pytest.mark.parametrize("octets", HOSTILE, ids=repr)
def test_strings_are_str_whatever_their_bytes_are(octets):
    text = octets.decode("utf-8", "surrogateescape")
    sent = Event("x", octets, octets, octets, octets, octets, (octets,), (octets, octets), {octets}, {octets: (octets,)},
                 (Count(1), octets), (octets,), (octets, octets), {octets: {octets}})
    received = unpack(broker.Data.to_py(sent.as_data()), Strings)
    assert received == Strings(text, octets, text, text, text, [text], (text, octets), {text}, {text: [octets]},
                               Inner(Count(1), text), {"name": text}, Both(text, octets), {text: {text}})
    assert str(ascii(pack(received, "x").args())) == str(ascii(sent.args()))
    assert pack(received, "x").__getstate__() == sent.__getstate__()
    # As it was: the conversion of the original.
    assert sent.args()[0] == octets


def test_names_of_events_and_enums_are_str_whatever_their_bytes_are():
    named = Event(b"x\xff", broker.Enum(b"E\xff"))
    assert (named.name(), Event(named.name(), 1).name()) == ("x\udcff", "x\udcff")

    @dataclasses.dataclass
    class Named:
        name: Enum

    assert unpack(named, Named).name.name == "E\udcff"
    with pytest.raises(MismatchError) as info:
        unpack(Event(b"x\xff", 1), Named)
    # Files and terminals refuse surrogates.
    assert str(info.value) == "event `x\\udcff`: argument `name`: expected enum, found int"
    assert info.value.event == "x\udcff"


def test_the_number_of_arguments():
    for arguments in ((), (Count(1),), (Count(1), None, 3)):
        with pytest.raises(MismatchError) as info:
            unpack(Event("x", *arguments), Inner)
        assert str(info.value) == "event `x`: arguments: expected 2, found %d" % len(arguments)


def test_surplus_elements_of_records_are_ignored():
    @dataclasses.dataclass
    class Outer:
        inner: Inner

    assert unpack(Event("x", (Count(1), "b", "more")), Outer) == Outer(Inner(Count(1), "b"))


def test_other_events_are_refused():
    with pytest.raises(ValueError, match="^expected event `Demo::everything`, found `x`$"):
        unpack(Event("x"), Everything)
    with pytest.raises(ValueError, match="invalid Event data/type"):
        unpack((1, 2), Everything)


def test_classes_that_stand_for_no_event():
    with pytest.raises(TypeError, match="Inner stands for no event"):
        pack(Inner(Count(1)))
    with pytest.raises(TypeError, match="dataclass, TypedDict or NamedTuple"):
        event("x")(int)
    with pytest.raises(TypeError, match="dataclass, TypedDict or NamedTuple"):
        pack(5, "x")
    with pytest.raises(TypeError, match="TypedDict"):
        event("x")(Place)

    @dataclasses.dataclass
    class Odd:
        value: complex

    with pytest.raises(TypeError, match="no Zeek type is known for the annotation <class 'complex'>"):
        unpack(Event("x", 1), Odd)

    @dataclasses.dataclass
    class Unknown:
        value: "Nowhere"  # noqa: F821

    with pytest.raises(TypeError, match="cannot resolve the annotations"):
        unpack(Event("x", 1), Unknown)


def test_a_named_tuple_can_be_an_event():
    named = event("pair")(Pair)
    try:
        assert unpack(pack(named(1, 2.0)), named) == (1, 2.0)
        assert pack(named(1, 2.0)).name() == "pair"
    finally:
        del named.__zeek_event__


@dataclasses.dataclass
class Tree:
    value: int
    children: "List[Tree]"


def test_records_can_be_recursive():
    tree = Tree(1, [Tree(2, []), Tree(3, [Tree(4, [])])])
    assert unpack(pack(tree, "tree"), Tree) == tree


@dataclasses.dataclass
class Chain:
    rest: "Optional[Chain]"


@dataclasses.dataclass
class Loose:
    rest: Any


def chained(length, make=lambda rest: (rest,)):
    rest = None
    for _ in range(length):
        rest = make(rest)
    return rest


def test_records_are_as_deep_as_they_are_sent():
    event = Event("x", chained(100))
    assert unpack(event, Chain) == Chain(chained(100, Chain))
    assert pack(Chain(chained(100, Chain)), "x").args() == event.args()


def test_records_that_are_deeper_than_python_can_go_do_not_fit():
    with pytest.raises(MismatchError, match="recursion limit"):
        unpack(Event("x", chained(250)), Chain)


def test_objects_that_hold_themselves_cannot_be_sent(endpoint):
    endless = Chain(None)
    endless.rest = endless
    with pytest.raises(MismatchError, match="recursion limit"):
        pack(endless, "x")
    with pytest.raises(TypeError, match="record `Chain`: expected .* recursion limit"):
        endpoint.publish("/t", endless)
    # Here each level is a conversion of its own.
    loose = Loose(None)
    loose.rest = loose
    with pytest.raises(ValueError, match="256"):
        endpoint.publish("/t", loose)


def test_a_typed_dict_takes_arguments():
    assert unpack(Event("x", V4, Port(1, Port.TCP)), Place) == {"host": V4, "port": Port(1, Port.TCP)}


@dataclasses.dataclass
class Lists:
    either: Union[List[int], List[str], Inner]


@pytest.mark.parametrize("value, made", [
    ((1,), [1]), (("a",), ["a"]), ((), []), ((Count(1), None), Inner(Count(1))),
], ids=repr)
def test_a_union_takes_the_first_that_fits(value, made):
    assert unpack(Event("x", value), Lists) == Lists(made)


def test_a_union_that_nothing_fits_says_how_far_it_came():
    @dataclasses.dataclass
    class Deep:
        either: Union[List[int], Tuple[int, List[int]]]

    for cls, value, argument, expected, found in (
            (Lists, 5, "either", "vector or record Inner", "int"),
            (Lists, (1.5,), "either[0]", "int", "double"),
            (Deep, (1, ("a",)), "either[1][0]", "int", "string")):
        with pytest.raises(MismatchError) as info:
            unpack(Event("x", value), cls)
        assert (info.value.argument, info.value.expected, info.value.found) == (argument, expected, found)


@dataclasses.dataclass
class Plus:
    left: "Union[Plus, Minus, int]"
    right: int


@dataclasses.dataclass
class Minus:
    left: "Union[Plus, Minus, int]"
    right: str


def test_unions_in_unions_do_not_multiply():
    value, made = 1, 1
    for _ in range(60):
        value, made = (value, "a"), Minus(made, "a")
    assert unpack(Event("x", value, "a"), Minus) == Minus(made, "a")
    bad = "a"
    for _ in range(60):
        bad = (bad, 1)
    with pytest.raises(MismatchError) as info:
        unpack(Event("x", bad, 1), Plus)
    assert info.value.argument.startswith("left.left.left.")


def test_equal_parts_of_a_union_are_objects_of_their_own():
    @dataclasses.dataclass
    class Two:
        pair: Union[Tuple[List[int], List[int]], int]
        both: Tuple[Union[List[int], int], Union[List[int], int]]

    two = unpack(Event("x", ((), ()), ((), ())), Two)
    assert two.pair[0] is not two.pair[1] and two.both[0] is not two.both[1]


def test_bare_containers_take_anything():
    @dataclasses.dataclass
    class Bare:
        a: list
        b: tuple
        c: set
        d: dict
        e: Optional[Dict[Any, Any]] = None

    value = Bare([1, "a"], (1,), {1}, {1: "a"}, {"a": None})
    assert unpack(pack(value, "bare"), Bare) == value
