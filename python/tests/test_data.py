"""Values: what Python objects become, what comes back, how values look as text, and the wrapper classes."""

import collections
import datetime
import enum
import gc
import ipaddress
import math
import pickle
import subprocess
import sys
import time
import types
import weakref

import pytest

import broker
from deadline import DEADLINE_S

UTC = datetime.timezone.utc
Type = broker.Data.Type
V4, V6 = ipaddress.IPv4Address, ipaddress.IPv6Address
NET4, NET6 = ipaddress.IPv4Network, ipaddress.IPv6Network
Frozen = broker.ImmutableData.HashableReadOnlyDict


class Color(enum.IntEnum):
    RED = 3


class Text(str):
    pass


class Raw(bytes):
    pass


Pair = collections.namedtuple("Pair", "left right")


def back(value):
    return broker.Data.to_py(broker.Data(value))


def nanoseconds(value):
    """The exact number in a timestamp or timespan value."""
    text = str(broker.Data(value))
    assert text.endswith("ns")
    return int(text[:-2])


# --- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("value, type_, text", [
    (None, Type.Nil, "nil"),
    (True, Type.Boolean, "T"),
    (False, Type.Boolean, "F"),
    (0, Type.Integer, "0"),
    (-2**63, Type.Integer, "-9223372036854775808"),
    (2**63 - 1, Type.Integer, "9223372036854775807"),
    (broker.Count(0), Type.Count, "0"),
    (broker.Count(2**64 - 1), Type.Count, "18446744073709551615"),
    (4.2, Type.Real, "4.200000"),
    (-0.5, Type.Real, "-0.500000"),
    (1e18, Type.Real, "1000000000000000000.000000"),
    (math.inf, Type.Real, "inf"),
    (-math.inf, Type.Real, "-inf"),
    ("", Type.String, ""),
    ("foo", Type.String, "foo"),
    ("\ttab\nnul\0caf\u00e9\U0001f600", Type.String, "\ttab\nnul\0caf\u00e9\U0001f600"),
    (V4("1.2.3.4"), Type.Address, "1.2.3.4"),
    (V6("::1"), Type.Address, "::1"),
    (V6("2001:db8:0:0:1:0:0:1"), Type.Address, "2001:db8::1:0:0:1"),
    (V6("::102:304"), Type.Address, None),
    (NET4("10.0.0.0/8"), Type.Subnet, "10.0.0.0/8"),
    (NET4("0.0.0.0/0"), Type.Subnet, "0.0.0.0/0"),
    (NET4("1.2.3.4/32"), Type.Subnet, "1.2.3.4/32"),
    (NET6("2001:db8::/33"), Type.Subnet, "2001:db8::/33"),
    (NET6("::/0"), Type.Subnet, "::/0"),
    (broker.Port(53, broker.Port.UDP), Type.Port, "53/udp"),
    (broker.Port(65535, broker.Port.TCP), Type.Port, "65535/tcp"),
    (broker.Port(8, broker.Port.ICMP), Type.Port, "8/icmp"),
    (broker.Port(0, broker.Port.Unknown), Type.Port, "0/?"),
    (datetime.timedelta(0), Type.Timespan, "0ns"),
    (datetime.timedelta(microseconds=-1), Type.Timespan, "-1000ns"),
    (datetime.timedelta(days=36500, microseconds=1), Type.Timespan, "3153600000000001000ns"),
    (datetime.datetime(1970, 1, 1, tzinfo=UTC), Type.Timestamp, "0ns"),
    (datetime.datetime(2023, 5, 3, 9, 27, 57, 999999, tzinfo=UTC), Type.Timestamp, "1683106077999999000ns"),
    (datetime.datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC), Type.Timestamp, "-999999000ns"),
    (broker.Enum("Notice::Type"), Type.EnumValue, "Notice::Type"),
    (set(), Type.Set, "{}"),
    ({3, 1, 2}, Type.Set, "{1, 2, 3}"),
    ({}, Type.Table, "{}"),
    ({"b": 2, "a": 1}, Type.Table, "{a -> 1, b -> 2}"),
    ((), Type.Vector, "()"),
    ((1, "a", 2.5, None, True), Type.Vector, "(1, a, 2.500000, nil, T)"),
    ((1, (2, (3, {4: {5}}))), Type.Vector, "(1, (2, (3, {4 -> {5}})))"),
], ids=repr)
def test_values_come_back_as_they_were(value, type_, text):
    data = broker.Data(value)
    assert data.get_type() == type_
    if text is not None:
        assert str(data) == text
    result = broker.Data.to_py(data)
    assert type(result) is type(value)
    assert result == value
    assert broker.Data.from_py(value) == data


@pytest.mark.parametrize("value, expected", [
    (b"bytes", "bytes"),
    (b"caf\xc3\xa9", "caf\u00e9"),
    (b"\xff\xfe", b"\xff\xfe"),
    (Text("sub"), "sub"),
    (Raw(b"sub"), "sub"),
    (Color.RED, 3),
    ([1, [2]], (1, (2,))),
    (Pair(1, "x"), (1, "x")),
    (frozenset([1]), {1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.OrderedDict(z=1, a=2), {"a": 2, "z": 1}),
    (Frozen({"a": 1}), {"a": 1}),
    (V6("::ffff:1.2.3.4"), V4("1.2.3.4")),
    (ipaddress.IPv4Interface("10.1.2.3/8"), V4("10.1.2.3")),
    (ipaddress.IPv6Interface("fe80::1/64"), V6("fe80::1")),
    (broker.Data(5), 5),
    ([broker.Data("x"), broker.Data([broker.Data(1)])], ("x", (1,))),
    ({"a": 1, b"a": 2}, {"a": 2}),
], ids=repr)
def test_values_that_come_back_as_something_else(value, expected):
    result = back(value)
    assert type(result) is type(expected)
    assert result == expected


ATOMIC = (1, -1, 0.5, "x", b"\xff", None, True, broker.Count(7), broker.Port(80, broker.Port.TCP),
          broker.Enum("a"), ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("fe80::1"),
          datetime.timedelta(1), datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))


@pytest.mark.parametrize("value, is_tracked", [
    ((ATOMIC,), False),
    ((ATOMIC, (ATOMIC, ())), False),
    ((ATOMIC, {1}), True),
    (({"a": 1}, ATOMIC), True),
    ((ATOMIC, (ipaddress.ip_network("10.0.0.0/8"),)), True),
])
def test_the_collector_looks_only_at_what_may_hold_a_cycle(value, is_tracked):
    back = broker.Data.to_py(broker.Data(value))
    assert back == value
    assert gc.is_tracked(back) is is_tracked
    assert not any(map(gc.is_tracked, back[back.index(ATOMIC)]))
    # They are freed all the same, and hold what others refer to.
    kept = back[0]
    del back
    gc.collect()
    assert kept == value[0]


def test_objects_of_the_program_stay_with_the_collector():
    # Made by the program itself, also of classes of its own, which may have attributes.
    class Named(broker.Port):
        pass

    port = Named(80, broker.Port.TCP)
    port.itself = port
    died = weakref.ref(port)
    assert gc.is_tracked(port)
    del port
    gc.collect()
    assert died() is None


def test_a_scope_of_an_address_is_dropped():
    assert back(V6("fe80::1%eth0")) == V6("fe80::1")


def test_nan_and_negative_zero():
    assert math.isnan(back(math.nan))
    assert str(broker.Data(math.nan)) == "nan"
    assert math.copysign(1.0, back(-0.0)) == -1.0


def test_table_keys_come_in_the_order_of_broker():
    value = back({"b": 1, "a": 2, 7: 3, broker.Count(9): 4, None: 5})
    assert list(value) == [None, broker.Count(9), 7, "a", "b"]


def test_types_keep_their_distance():
    kinds = [None, True, broker.Count(1), 1, 1.0, "1", V4("0.0.0.1"), NET4("0.0.0.1"),
             broker.Port(1, broker.Port.TCP), broker.Timestamp(0.0), broker.Timespan(1), broker.Enum("1"),
             frozenset(), {}, ()]
    data = list(map(broker.Data, kinds))
    assert [int(value.get_type()) for value in data] == list(range(15))
    assert sorted(reversed(data)) == data
    assert len(set(data)) == 15


@pytest.mark.parametrize("value", [
    object(), 3 + 4j, range(3), (x for x in ()), bytearray(b"x"), memoryview(b"x"), {}.keys(), {}.values(),
    collections.deque(), collections.ChainMap(), datetime.date(2020, 1, 1), datetime.time(1), print, ...,
    broker.SC.PeerAdded, broker.Topic("/a"), [object()], {"a": object()}, {object(): 1}, (1, (2, {3: [len]})),
], ids=lambda value: type(value).__name__)
def test_other_types_are_refused_by_name(value):
    with pytest.raises(TypeError, match="unsupported data type: <"):
        broker.Data(value)


def test_the_refusal_names_the_inner_type():
    with pytest.raises(TypeError) as info:
        broker.Data([1, {"a": bytearray()}])
    assert str(info.value) == "unsupported data type: <class 'bytearray'>"


@pytest.mark.parametrize("value", ["\udc7f", "a\ud800b", ["\udbff"], {"\udd00": 1}], ids=ascii)
def test_surrogates_that_stand_for_no_byte_are_refused(value):
    with pytest.raises((TypeError, UnicodeEncodeError)):
        broker.Data(value)


@pytest.mark.parametrize("octets", [b"\xff", b"a\x80b", b"\xed\xa0\x80", b"\xed\xb2\x80", b"\xf4\x90\x80\x80", b"\xc3"],
                         ids=repr)
def test_surrogate_escapes_stand_for_bytes(octets):
    text = octets.decode("utf-8", "surrogateescape")
    for value, received in ((text, octets), ([text], (octets,)), ({text: text}, {octets: octets}), ({text}, {octets})):
        assert broker.Data.to_py(broker.Data(value)) == received
    assert broker.Enum(text) == broker.Enum(octets)
    assert broker.Enum(octets).name == text
    repr(broker.Enum(octets)).encode()


def test_a_value_that_contains_itself_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises((RecursionError, ValueError)):
        broker.Data(endless)


def test_nesting_beyond_the_limit_is_refused():
    deep = 1
    for _ in range(300):
        deep = [deep]
    with pytest.raises((RecursionError, ValueError)):
        broker.Data(deep)
    # What every peer can read is fine.
    deep = 1
    for _ in range(200):
        deep = (deep,)
    assert back(deep) == deep


# --- numbers and times are exact or refused ------------------------------------------------------


@pytest.mark.parametrize("value", [2**63, -2**63 - 1, 2**64, 10**30])
def test_integers_that_do_not_fit_are_refused(value):
    with pytest.raises(OverflowError):
        broker.Data(value)
    with pytest.raises(OverflowError):
        broker.Data([{"a": value}])


@pytest.mark.parametrize("value", [5e-324, -5e-324, 2.2250738585072009e-308, 2.2250738585072014e-308])
def test_small_reals_are_exact(value):
    assert back(value) == value


@pytest.mark.parametrize("value", [
    datetime.timedelta(days=106752), datetime.timedelta.max, datetime.timedelta.min,
], ids=str)
def test_timespans_that_do_not_fit_are_refused(value):
    with pytest.raises(OverflowError):
        broker.Data(value)


@pytest.mark.parametrize("value", [
    datetime.datetime(1600, 1, 1, tzinfo=UTC), datetime.datetime(2300, 1, 1, tzinfo=UTC),
    datetime.datetime.max.replace(tzinfo=UTC), datetime.datetime.min.replace(tzinfo=UTC),
    datetime.datetime.max, datetime.datetime.min, datetime.datetime(1600, 1, 1), datetime.datetime(2300, 1, 1),
    datetime.datetime.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-9))),
    datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=9))),
], ids=str)
def test_timestamps_that_do_not_fit_are_refused(value):
    with pytest.raises(OverflowError):
        broker.Data(value)


def test_the_ends_of_time_fit():
    for value in (datetime.datetime(1677, 9, 21, 0, 12, 43, 145225, tzinfo=UTC),
                  datetime.datetime(2262, 4, 11, 23, 47, 16, 854775, tzinfo=UTC)):
        assert back(value) == value
    for value in (datetime.timedelta(days=106751), datetime.timedelta(days=-106751)):
        assert back(value) == value


@pytest.mark.parametrize("end", [-2**63, 2**63 - 1])
def test_what_comes_from_the_ends_of_time_can_be_sent_on(end):
    for value in (broker.Timespan(end), broker.Timestamp.from_ns(end)):
        rounded = back(value)
        assert nanoseconds(rounded) == end
        assert back(rounded) == rounded
        microsecond = datetime.timedelta(microseconds=1)
        with pytest.raises(OverflowError):
            broker.Data(rounded + microsecond if end > 0 else rounded - microsecond)


def test_every_microsecond_survives():
    for microsecond in (1, 123456, 499999, 500001, 999998, 999999):
        moment = datetime.datetime(2024, 2, 29, 23, 59, 59, microsecond, tzinfo=UTC)
        assert back(moment) == moment
        assert nanoseconds(moment) % 10**9 == microsecond * 1000


def test_timestamps_come_back_in_utc():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    moment = datetime.datetime(2023, 5, 3, 9, 27, 57, tzinfo=zone)
    result = back(moment)
    assert result == moment
    assert result.tzinfo is broker.utc
    assert broker.utc is datetime.timezone.utc


def test_naive_datetimes_are_local_time():
    moment = datetime.datetime(2023, 5, 3, 9, 27, 57, 5)
    assert back(moment) == moment.astimezone(UTC)


@pytest.fixture
def new_york(monkeypatch):
    # By its rules, since not every machine has a file for it.
    monkeypatch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("day", [(2023, 3, 12, 2, 30), (2023, 11, 5, 1, 30), (2023, 7, 1, 12, 0)], ids=str)
def test_gaps_and_folds_of_the_local_time(new_york, day, fold):
    moment = datetime.datetime(*day, 0, 999999, fold=fold)
    assert nanoseconds(moment) == int(moment.replace(microsecond=0).timestamp()) * 10**9 + 999999000


def test_local_times_before_1970(new_york):
    assert nanoseconds(datetime.datetime(1969, 12, 31, 18, 59, 59, 1)) == -999_999_000


def test_a_zone_without_an_offset_is_refused():
    class Unknown(datetime.tzinfo):
        def utcoffset(self, moment):
            return None

    moment = datetime.datetime(2023, 5, 3, tzinfo=Unknown())
    with pytest.raises(TypeError):
        moment.timestamp()
    with pytest.raises(TypeError):
        broker.Data(moment)


def test_times_are_rounded_to_microseconds_for_python():
    for ns, microseconds in ((999, 1), (1500, 2), (1, 0), (-1500, -2), (1_000_000_499, 1_000_000)):
        assert back(broker.Timespan(ns)) == datetime.timedelta(microseconds=microseconds)
    moment = broker.Timestamp(broker.Timespan(1683106077123456789))
    assert back(moment) == datetime.datetime(2023, 5, 3, 9, 27, 57, 123457, tzinfo=UTC)
    assert nanoseconds(moment) == 1683106077123456789


def test_now_is_now():
    before = datetime.datetime.now(UTC) - datetime.timedelta(milliseconds=1)
    moment = back(broker.now())
    assert before <= moment <= datetime.datetime.now(UTC) + datetime.timedelta(milliseconds=1)


# --- Data ----------------------------------------------------------------------------------------


def test_data_without_a_value_is_nil():
    assert broker.Data() == broker.Data(None)
    assert broker.Data(x=5).as_integer() == 5


def test_data_compares_with_data_only():
    assert broker.Data(1) == broker.Data(1)
    assert not broker.Data(1) == 1
    assert broker.Data(1) != broker.Data(True)
    assert broker.Data(1) != broker.Data(broker.Count(1))
    assert hash(broker.Data([1, "a"])) == hash(broker.Data((1, "a")))
    with pytest.raises(TypeError):
        broker.Data(1) < 2


@pytest.mark.parametrize("value, accessor, expected", [
    (True, "as_boolean", True),
    (broker.Count(3), "as_count", 3),
    (-3, "as_integer", -3),
    (1.5, "as_real", 1.5),
    ("caf\u00e9", "as_string", b"caf\xc3\xa9"),
    (datetime.timedelta(seconds=1.5), "as_timespan", 1.5),
    (broker.Timestamp(1.5), "as_timestamp", 1.5),
])
def test_accessors(value, accessor, expected):
    result = getattr(broker.Data(value), accessor)()
    assert type(result) is type(expected)
    assert result == expected


@pytest.mark.parametrize("value, accessor, text", [
    (V4("1.2.3.4"), "as_address", "1.2.3.4"),
    (NET4("10.0.0.0/8"), "as_subnet", "10.0.0.0/8"),
    (broker.Port(80, broker.Port.TCP), "as_port", "80/tcp"),
    (broker.Enum("x"), "as_enum_value", "x"),
    ([1, 2], "as_vector", "Vector[1, 2]"),
    ({2, 1}, "as_set", "Set{1, 2}"),
    ({1: 2}, "as_table", "Table{1: 2}"),
])
def test_accessors_of_wrappers(value, accessor, text):
    assert str(getattr(broker.Data(value), accessor)()) == text


def test_accessors_of_other_types_are_refused():
    accessors = [name for name in dir(broker.Data) if name.startswith("as_") and name != "as_none"]
    for accessor in accessors:
        with pytest.raises(RuntimeError, match="bad variant access"):
            getattr(broker.Data(None), accessor)()
    assert len(accessors) == 14


def test_text_of_bytes_that_are_no_text_is_refused():
    with pytest.raises(UnicodeDecodeError):
        str(broker.Data(b"\xff\xfe"))


# --- unhashable and immutable values -------------------------------------------------------------


@pytest.mark.parametrize("value, kind", [
    (frozenset([frozenset([1])]), "set"),
    ({frozenset([1]): 2}, "set"),
    ({(1, frozenset([2])): 3}, "set"),
    ({Frozen({"a": 1}): "d"}, "dict"),
    (frozenset([Frozen({"a": 1})]), "dict"),
], ids=repr)
def test_unhashable_elements_are_refused_and_immutable_ones_are_not(value, kind):
    with pytest.raises(TypeError) as info:
        back(value)
    assert "unhashable type: '%s'" % kind in str(info.value)
    result = broker.ImmutableData.to_py(broker.Data(value))
    assert result == value
    hash(result)


def test_immutable_values_all_the_way_down():
    value = broker.ImmutableData.to_py(broker.Data({"t": {"u": {1, 2}}, "v": [{3}, {4: 5}]}))
    assert type(value) is Frozen
    assert type(value["t"]) is Frozen
    assert type(value["t"]["u"]) is frozenset
    assert type(value["v"]) is tuple
    assert [type(element) for element in value["v"]] == [frozenset, Frozen]
    assert value == {"t": {"u": {1, 2}}, "v": ({3}, {4: 5})}


def test_immutable_data_is_data():
    assert issubclass(broker.ImmutableData, broker.Data)
    assert broker.ImmutableData({1: 2}) == broker.Data({1: 2})


@pytest.mark.parametrize("change", [
    lambda d: d.__setitem__("b", 1), lambda d: d.__delitem__("a"), lambda d: d.pop("a"), lambda d: d.popitem(),
    lambda d: d.clear(), lambda d: d.update(a=2), lambda d: d.setdefault("c", 1), lambda d: d.__ior__({"q": 9}),
])
def test_read_only_dicts(change):
    fixed = Frozen({"a": 1})
    with pytest.raises(TypeError, match="cannot modify this dict"):
        change(fixed)
    assert fixed == {"a": 1}
    assert hash(fixed) == hash(Frozen({"a": 1}))


def test_copies_of_read_only_dicts_can_be_changed():
    assert type(Frozen({"a": 1}).copy()) is dict
    assert type(Frozen({"a": 1}) | {"b": 2}) is dict


def test_read_only_dicts_can_be_pickled():
    fixed = Frozen({"a": 1})
    result = pickle.loads(pickle.dumps(fixed))
    assert result == fixed
    assert type(result) is Frozen


# --- wrapper classes -----------------------------------------------------------------------------


def test_count():
    five = broker.Count(5)
    assert (repr(five), str(five), five.value, "%s" % five, "{}".format(five)) == ("Count(5)", "5", 5, "5", "5")
    assert five == broker.Count(5) and five != broker.Count(6) and broker.Count(4) < five <= five
    assert not five == 5 and five != 5
    assert len({five, 5}) == 2
    assert bool(broker.Count(0))
    five.value = 2**64 - 1
    assert five == broker.Count(2**64 - 1)
    assert hash(five) == hash(2**64 - 1) == 7
    assert broker.Count(True) == broker.Count(1)
    with pytest.raises(TypeError):
        five < 6


@pytest.mark.parametrize("argument", [1.0, "1", None, broker.Count(1)], ids=repr)
def test_counts_are_made_of_integers(argument):
    with pytest.raises(TypeError):
        broker.Count(argument)
    with pytest.raises(TypeError):
        broker.Count(1).value = argument


class Index:
    def __init__(self, number):
        self.number = number

    def __index__(self):
        return self.number


def test_counts_take_what_python_takes_for_an_integer():
    five = broker.Count(Index(5))
    assert five == broker.Count(5)
    five.value = Index(6)
    assert five == broker.Count(6)
    with pytest.raises(OverflowError):
        broker.Count(Index(-1))


def test_a_count_that_is_much_too_large_says_only_that():
    program = "import broker\ntry: broker.Count(10**5000)\nexcept OverflowError as error: print(error)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S)
    assert (run.stdout, run.stderr, run.returncode) == ("a count goes from 0 to 2**64 - 1\n", "", 0)


@pytest.mark.parametrize("argument", [-1, 2**64, 10**30])
def test_counts_have_64_bits(argument):
    with pytest.raises(OverflowError):
        broker.Count(argument)
    with pytest.raises((OverflowError, TypeError)):
        broker.Count(1).value = argument


def test_port():
    port = broker.Port(80, broker.Port.TCP)
    assert (repr(port), str(port), port.number(), port.get_type()) == ("80/tcp", "80/tcp", 80, broker.Port.TCP)
    assert port == broker.Port(80, broker.Port.Protocol.TCP)
    assert hash(port) == hash(broker.Port(80, broker.Port.TCP))
    assert port != broker.Port(80, broker.Port.UDP)
    assert port != "80/tcp"
    assert broker.Port(79, broker.Port.UDP) < port < broker.Port(80, broker.Port.UDP)
    assert str(broker.Port()) == "0/?"


@pytest.mark.parametrize("arguments", [
    (80,), (80, 1), (80, "tcp"), ("80/tcp",), (65536, broker.Port.TCP), (-1, broker.Port.TCP),
], ids=repr)
def test_ports_that_are_none(arguments):
    with pytest.raises(TypeError):
        broker.Port(*arguments)


def test_enum_value():
    name = broker.Enum("Log::Conn")
    assert (name.name, str(name), repr(name)) == ("Log::Conn", "Log::Conn", "Log::Conn")
    assert name == broker.Enum("Log::Conn") and hash(name) == hash(broker.Enum("Log::Conn"))
    assert name != "Log::Conn"
    assert broker.Enum("a") < broker.Enum("b")
    assert broker.Enum(b"a") == broker.Enum("a")
    name.name = "x"
    assert name == broker.Enum("x")
    assert broker.Enum(b"\xff").name == "\udcff"


def test_address():
    v4 = broker.Address(b"\x01\x02\x03\x04", 4)
    assert (str(v4), repr(v4), v4.is_v4(), v4.is_v6()) == ("1.2.3.4", "1.2.3.4", True, False)
    assert v4.bytes() == bytes(10) + b"\xff\xff\x01\x02\x03\x04"
    v6 = broker.Address(V6("2001:db8::1").packed, 6)
    assert (str(v6), v6.is_v4(), v6.is_v6()) == ("2001:db8::1", False, True)
    assert str(broker.Address()) == "::"
    assert v4 == broker.Address(b"\x01\x02\x03\x04", 4) and hash(v4) == hash(broker.Address(v4.bytes(), 6))
    assert v4 < v6
    assert v4.mask(104) is True
    assert str(v4) == "1.0.0.0"
    assert v4.mask(129) is False


@pytest.mark.parametrize("packed, family", [
    (b"", 4), (b"\1\2\3", 4), (bytes(16), 4), (bytes(4), 6), (bytes(15), 6), (bytes(17), 6), (bytes(4), 5),
])
def test_addresses_of_the_wrong_size_are_refused(packed, family):
    with pytest.raises(ValueError):
        broker.Address(packed, family)


def test_subnet():
    ten = broker.Subnet(broker.Address(b"\x0a\x01\x02\x03", 4), 8)
    assert (str(ten), str(ten.network()), ten.length()) == ("10.0.0.0/8", "10.0.0.0", 8)
    assert ten.contains(broker.Address(b"\x0a\xff\xff\xff", 4))
    assert ten.contains(addr=broker.Address(b"\x0a\0\0\0", 4))
    assert not ten.contains(broker.Address(b"\x0b\0\0\0", 4))
    assert str(broker.Subnet()) == "::/0"
    assert ten == broker.Subnet(broker.Address(b"\x0a\0\0\0", 4), 8)
    assert back(ten) == NET4("10.0.0.0/8")


@pytest.mark.parametrize("address, length", [
    (broker.Address(bytes(4), 4), 33), (broker.Address(bytes(4), 4), 255), (broker.Address(bytes(16), 6), 129),
])
def test_subnets_that_are_too_long_are_refused(address, length):
    with pytest.raises(ValueError):
        broker.Subnet(address, length)


@pytest.mark.parametrize("length", [256, -1])
def test_lengths_that_are_no_octet_are_refused(length):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        broker.Subnet(broker.Address(bytes(4), 4), length)


def test_mapped_networks_are_the_networks_they_map():
    assert back(NET6("::ffff:10.0.0.0/104")) == NET4("10.0.0.0/8")


def test_timespan():
    five = broker.Timespan(5)
    assert (repr(five), str(five), five.count(), hash(five)) == ("5ns", "5ns", 5, 5)
    assert broker.Timespan() == broker.Timespan(0)
    assert broker.Timespan(1.5).count() == 1_500_000_000
    assert broker.Timespan(1).count() == 1
    assert broker.Timespan(1.9e-9).count() == 1
    assert broker.Timespan(-1.9e-9).count() == -1
    assert bool(broker.Timespan(0))
    assert five == broker.Timespan(5) and five < broker.Timespan(6) and five != 5


@pytest.mark.parametrize("result, expected", [
    (lambda: broker.Timespan(5) + broker.Timespan(3), broker.Timespan(8)),
    (lambda: broker.Timespan(5) - broker.Timespan(7), broker.Timespan(-2)),
    (lambda: broker.Timespan(5) * 2, broker.Timespan(10)),
    (lambda: 2 * broker.Timespan(5), broker.Timespan(10)),
    (lambda: broker.Timespan(7) / broker.Timespan(2), 3),
    (lambda: broker.Timespan(-7) / broker.Timespan(2), -3),
    (lambda: broker.Timespan(7) / 2, broker.Timespan(3)),
    (lambda: broker.Timespan(-7) / 2, broker.Timespan(-3)),
    (lambda: broker.Timespan(7) % broker.Timespan(2), broker.Timespan(1)),
    (lambda: broker.Timespan(-7) % 2, broker.Timespan(-1)),
])
def test_arithmetic_of_timespans_truncates_towards_zero(result, expected):
    assert result() == expected
    assert type(result()) is type(expected)


@pytest.mark.parametrize("broken", [
    lambda: broker.Timespan(1) / 0, lambda: broker.Timespan(1) / broker.Timespan(0),
    lambda: broker.Timespan(1) % 0, lambda: broker.Timespan(1) % broker.Timespan(0),
])
def test_division_by_zero_is_an_exception(broken):
    with pytest.raises(ZeroDivisionError):
        broken()


@pytest.mark.parametrize("argument", [2**63, -2**63 - 1, 1e20, -1e20, math.inf, math.nan])
def test_timespans_beyond_64_bits_are_refused(argument):
    with pytest.raises((OverflowError, ValueError)):
        broker.Timespan(argument)


@pytest.mark.parametrize("overflow", [
    lambda: broker.Timespan(2**63 - 1) + broker.Timespan(1), lambda: broker.Timespan(-2**63) - broker.Timespan(1),
    lambda: broker.Timespan(2**62) * 2, lambda: broker.Timespan(-2**63) / -1,
])
def test_arithmetic_beyond_64_bits_is_refused(overflow):
    with pytest.raises(OverflowError):
        overflow()


def test_timestamp():
    assert broker.Timestamp() == broker.Timestamp(0.0)
    assert broker.Timestamp(1.5).time_since_epoch() == broker.Timespan(1.5)
    assert broker.Timestamp(2) == broker.Timestamp(2.0)
    assert broker.Timestamp(broker.Timespan(7)).time_since_epoch().count() == 7
    assert (str(broker.Timestamp(1.5)), repr(broker.Timestamp(1.5))) == ("1500000000", "1500000000")
    assert str(broker.Data(broker.Timestamp(1.5))) == "1500000000ns"
    assert broker.Timestamp(1) < broker.Timestamp(2)
    assert len({broker.Timestamp(1), broker.Timestamp(1.0)}) == 1
    with pytest.raises(TypeError):
        broker.Timestamp(datetime.datetime(2020, 1, 1))


def test_vector_is_a_list_of_data():
    one, two = broker.Data(1), broker.Data(2)
    vector = broker.Vector([one])
    vector.append(two)
    vector.insert(0, broker.Data("x"))
    assert (repr(vector), len(vector), bool(vector)) == ("Vector[x, 1, 2]", 3, True)
    assert vector[1] == one and vector[-1] == two and list(vector[1:]) == [one, two]
    vector[0] = two
    del vector[1]
    assert list(vector) == [two, two]
    vector.extend([one])
    assert vector.pop() == one
    assert vector == broker.Vector([two, two])
    with pytest.raises(IndexError):
        vector[5]
    with pytest.raises(TypeError):
        hash(vector)
    with pytest.raises(TypeError):
        vector.append(5)
    with pytest.raises((RuntimeError, TypeError)):
        broker.Vector([1])
    assert back(vector) == (2, 2)


def test_set_is_a_set_of_data():
    one, two = broker.Data(1), broker.Data(2)
    numbers = broker.Set([two, one, one])
    assert (repr(numbers), len(numbers), bool(numbers), bool(broker.Set())) == ("Set{1, 2}", 2, True, False)
    numbers.add(broker.Data(3))
    numbers.remove(one)
    numbers.remove(broker.Data("missing"))
    assert str(numbers) == "Set{2, 3}"
    assert list(numbers) == [two, broker.Data(3)]
    assert two in numbers and one not in numbers
    assert numbers == broker.Set([broker.Data(3), two])
    numbers.clear()
    assert len(numbers) == 0
    with pytest.raises(TypeError):
        numbers.add(4)
    with pytest.raises(TypeError):
        hash(numbers)


def test_table_is_a_dict_of_data():
    table = broker.Table()
    table[broker.Data("b")] = broker.Data(2)
    table[broker.Data("a")] = broker.Data(1)
    assert (repr(table), len(table)) == ("Table{a: 1, b: 2}", 2)
    assert table[broker.Data("a")] == broker.Data(1)
    assert broker.Data("a") in table and broker.Data("c") not in table
    assert list(table) == [broker.Data("a"), broker.Data("b")]
    assert [(str(key), str(value)) for key, value in table.items()] == [("a", "1"), ("b", "2")]
    assert [str(key) for key in table.keys()] == ["a", "b"]
    assert [str(value) for value in table.values()] == ["1", "2"]
    assert len(table.items()) == len(table.keys()) == len(table.values()) == 2
    del table[broker.Data("a")]
    assert len(table) == 1
    with pytest.raises(KeyError):
        table[broker.Data("zz")]


def test_containers_of_data_are_seen_through_accessors():
    data = broker.Data({1: {"x"}, "k": [True]})
    assert data.as_table()[broker.Data(1)] == broker.Data({"x"})
    assert all(type(value) is broker.Data or isinstance(value, broker._broker.Data)
               for pair in data.as_table().items() for value in pair)
    assert broker.Data(data.as_table()) == data
    assert broker.Data(broker.Data([1, 2]).as_vector()) == broker.Data([1, 2])
    assert broker.Data(broker.Data({1, 2}).as_set()) == broker.Data({1, 2})
    assert back(broker._broker.Data(broker.Data(5))) == 5


# --- sub-classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cls, arguments", [
    (broker.Address, (b"\x01\x02\x03\x04", 4)), (broker.Count, (5,)), (broker.Enum, ("a",)),
    (broker.Port, (80, broker.Port.TCP)), (broker.Set, ([broker.Data(1)],)), (broker.Table, ()),
    (broker.Subnet, (broker.Address(b"\x01\x02\x03\x04", 4), 8)), (broker.Timespan, (5,)),
    (broker.Timestamp, (5,)), (broker.Topic, ("/t",)), (broker.Vector, ([broker.Data(1)],)),
    (broker.Status, ()), (broker.Error, ()), (broker.Data, (5,)),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_sub_class_has_a_constructor_of_its_own(cls, arguments):
    class Sub(cls):
        def __init__(self, *, given, other=None):
            super().__init__(*given)
            self.other = other

    sub = Sub(given=arguments, other=7)
    assert sub.other == 7
    assert repr(sub) == repr(cls(*arguments)) or cls is broker.Data
    with pytest.raises(TypeError):
        cls(*arguments, no_such_argument=1)
