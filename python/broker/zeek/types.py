"""Events and records as dataclasses: by position on the wire, by name in Python.

The annotation of a field decides what is sent and what is accepted: there is no conversion between
numbers, because Zeek knows none. What does not fit raises `MismatchError`, which says where.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import functools
import inspect
import ipaddress
import threading
import types
import typing
from typing import Any, Callable, Iterable, NamedTuple, Tuple, TypeVar

from .. import _broker

_T = TypeVar("_T")

# A converter takes a value and where it stands, for errors.
_Converter = Callable[[Any, str], Any]

_EVENT_NAME = "__zeek_event__"


class MismatchError(TypeError, ValueError):
    """An event or record that does not fit the types of the program.

    `event` is the event's name, `argument` the place (such as `host` or `conn.id[2]`), `expected`
    and `found` are names of Zeek's types.
    """

    def __init__(self, event: str, argument: str, expected: str, found: str) -> None:
        place = "argument `%s`" % argument if argument else "arguments"
        super().__init__("event `%s`: %s: expected %s, found %s" % (printable(event), place, expected, found))
        self.event, self.argument, self.expected, self.found = event, argument, expected, found

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.event, self.argument, self.expected, self.found)


def printable(text: str) -> str:
    """The text without surrogates, which most files and terminals refuse."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Misfit(Exception):
    """A mismatch before it is known which event it is in."""

    def __init__(self, place: str, expected: str, found: Any) -> None:
        super().__init__(place, expected)
        self.place, self.expected = place, expected
        self.found = found if isinstance(found, str) else zeek_type(found[0])


# What is expected of values whose conversion would exceed Python's limit of recursion: records that
# contain themselves are as deep as the sender makes them, or endless where an object holds itself.
_SHALLOW = "records inside one another as deep as the recursion limit of Python allows"


def _mismatch(event: str, failure: _Misfit | RecursionError) -> MismatchError:
    if isinstance(failure, _Misfit):
        return MismatchError(event, failure.place, failure.expected, failure.found)
    return MismatchError(event, "", _SHALLOW, "deeper ones")


def zeek_type(value: object) -> str:
    """The name of the Zeek type that a value has."""
    for kinds, name in _NAMES:
        if isinstance(value, kinds):
            return name
    return type(value).__name__


_NAMES: Tuple[Tuple[Any, str], ...] = (
    (type(None), "nothing"), (bool, "bool"), (_broker.Count, "count"), (_broker.Enum, "enum"),
    (int, "int"), (float, "double"), (str, "string"),
    (bytes, "bytes"), (datetime.datetime, "time"),
    (datetime.timedelta, "interval"), (_broker.Port, "port"),
    ((ipaddress.IPv4Address, ipaddress.IPv6Address), "addr"),
    ((ipaddress.IPv4Network, ipaddress.IPv6Network), "subnet"),
    ((set, frozenset), "set"), (dict, "table"), ((tuple, list), "vector or record"),
)

# What is taken as it is, by annotation: the accepted classes and what Zeek calls them.
_PLAIN: dict[Any, Tuple[Any, str]] = {
    bool: (bool, "bool"),
    int: (int, "int"),
    _broker.Count: (_broker.Count, "count"),
    float: (float, "double"),
    str: (str, "string"),
    datetime.datetime: (datetime.datetime, "time"),
    datetime.timedelta: (datetime.timedelta, "interval"),
    _broker.Port: (_broker.Port, "port"),
    _broker.Enum: (_broker.Enum, "enum"),
    ipaddress.IPv4Address: (ipaddress.IPv4Address, "addr (IPv4)"),
    ipaddress.IPv6Address: (ipaddress.IPv6Address, "addr (IPv6)"),
    ipaddress.IPv4Network: (ipaddress.IPv4Network, "subnet (IPv4)"),
    ipaddress.IPv6Network: (ipaddress.IPv6Network, "subnet (IPv6)"),
}


def _plain(annotation: Any) -> _Converter:
    accepted, name = _PLAIN[annotation]

    def convert(value: Any, place: str) -> Any:
        # A bool is an int for Python and another type for Zeek.
        if isinstance(value, accepted) and (accepted is not int or not isinstance(value, bool)):
            return value
        raise _Misfit(place, name, (value,))

    return convert


def _count_out(value: Any, place: str) -> Any:
    if isinstance(value, _broker.Count):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return _broker.Count(value)
    raise _Misfit(place, "count", (value,))


def _float_out(value: Any, place: str) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise _Misfit(place, "double", (value,))


def _bytes(value: Any, place: str) -> Any:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        # Strings arrive as str, with surrogate escapes for bytes that are not UTF-8.
        return value.encode("utf-8", "surrogateescape")
    raise _Misfit(place, "string", (value,))


def _anything(value: Any, place: str) -> Any:
    return value


def _member_name(member: enum.Enum) -> str:
    return member.value if isinstance(member.value, str) else member.name


def _members_in(cls: type[enum.Enum]) -> _Converter:
    members = {_member_name(member): member for member in cls}

    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, _broker.Enum):
            raise _Misfit(place, "enum", (value,))
        expected = "enum with one of the names of %s" % cls.__name__
        name = value.name
        if name not in members:
            raise _Misfit(place, expected, "`%s`" % printable(name))
        return members[name]

    return convert


def _members_out(cls: type[enum.Enum]) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        if isinstance(value, cls):
            return _broker.Enum(_member_name(value))
        raise _Misfit(place, "enum %s" % cls.__name__, (value,))

    return convert


def _optional(inner: _Converter) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        return None if value is None else inner(value, place)

    return convert


class _Tried(threading.local):
    """What unions made of which containers, while a conversion goes on in this thread.

    Each choice of a union converts what is inside again. Where unions are in unions, as in records
    that contain themselves, that would double with each level, and the sender decides how many
    levels there are.
    """

    def __init__(self) -> None:
        # By union and id of the value, which is kept here because ids are used again.
        self.results: dict[Any, Tuple[Any, Any, _Misfit | None]] | None = None


_tried = _Tried()

# What can hold other values; decoding makes each an object of its own, unless it is empty.
_CONTAINERS = (tuple, list, set, frozenset, dict)


def _first_that_fits(union: Any, choices: list[_Converter]) -> _Converter:
    def attempt(value: Any, place: str) -> Any:
        misfits = []
        for choice in choices:
            try:
                return choice(value, place)
            except _Misfit as misfit:
                misfits.append(misfit)
        # The choice that came furthest says most; its place has the longest name, or nearly so.
        deepest = max(misfits, key=lambda misfit: len(misfit.place))
        if deepest.place != place:
            raise deepest
        # In their order, each once.
        expected = dict.fromkeys(misfit.expected for misfit in misfits)
        raise _Misfit(place, " or ".join(expected), (value,))

    def remember(results: dict[Any, Tuple[Any, Any, _Misfit | None]], value: Any, place: str) -> Any:
        key = union, id(value)
        if key not in results:
            try:
                results[key] = value, attempt(value, place), None
            except _Misfit as misfit:
                results[key] = value, None, misfit
        _, made, failure = results[key]
        if failure is not None:
            raise failure.with_traceback(None)
        return made

    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, _CONTAINERS) or not value:
            return attempt(value, place)
        if _tried.results is not None:
            return remember(_tried.results, value, place)
        _tried.results = {}
        try:
            return remember(_tried.results, value, place)
        finally:
            _tried.results = None

    return convert


def _sequence(inner: _Converter, make: Callable[[Any], Any]) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, (tuple, list)):
            raise _Misfit(place, "vector", (value,))
        return make([inner(item, "%s[%d]" % (place, index)) for index, item in enumerate(value)])

    return convert


def _iterable(inner: _Converter) -> _Converter:
    """What is given where an annotation asks for something to iterate over: anything that can be,
    but strings and tables, which Zeek has types of their own for."""
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, collections.abc.Iterable) or isinstance(
                value, (str, bytes, collections.abc.Mapping)):
            raise _Misfit(place, "vector", (value,))
        return [inner(item, "%s[%d]" % (place, index)) for index, item in enumerate(value)]

    return convert


def _fixed(inner: list[_Converter]) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, (tuple, list)):
            raise _Misfit(place, "vector", (value,))
        if len(value) != len(inner):
            raise _Misfit(place, "%d elements" % len(inner), "%d" % len(value))
        return tuple(convert(item, "%s[%d]" % (place, index))
                     for index, (convert, item) in enumerate(zip(inner, value)))

    return convert


def _set(inner: _Converter, make: Callable[[Any], Any]) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, (set, frozenset)):
            raise _Misfit(place, "set", (value,))
        return make(inner(item, "%s{}" % place) for item in value)

    return convert


def _table(key: _Converter, mapped: _Converter) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            raise _Misfit(place, "table", (value,))
        return {key(k, "%s{}" % place): mapped(v, "%s[%s]" % (place, _shown(k)))
                for k, v in value.items()}

    return convert


# Characters of a table's key in the name of a place: enough to find it.
_KEY_SHOWN_MAX = 80


def _shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= _KEY_SHOWN_MAX else text[:_KEY_SHOWN_MAX] + "..."


def _inside(place: str, name: str) -> str:
    return "%s.%s" % (place, name) if place else name


class _Record:
    """A class with fields, and how to convert each."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.is_dict = _is_typed_dict(cls)
        fields = list(_fields(cls))
        self.readers = [(field.name, _reader(field.annotation)) for field in fields]
        self.writers = [(field.name, _writer(field.annotation)) for field in fields]
        # What the class calls the fields when it makes an instance.
        self.parameters = [field.parameter for field in fields]
        # A key that may be missing is missing when its field is unset.
        self.absent = {field.name for field in fields if field.may_be_absent}

    def read(self, values: Any, place: str) -> Any:
        """Makes an instance of the values, of which there are enough."""
        fields = {parameter: convert(value, _inside(place, name))
                  for parameter, (name, convert), value in zip(self.parameters, self.readers, values)
                  if value is not None or name not in self.absent}
        return self.cls(**fields)

    def write(self, value: Any, place: str) -> list[Any]:
        """The values of the fields, in their order."""
        if not self.is_dict:
            return [convert(getattr(value, name), _inside(place, name)) for name, convert in self.writers]
        return [None if name in self.absent and value.get(name) is None
                else convert(value.get(name), _inside(place, name)) for name, convert in self.writers]


def _record_in(cls: Any) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        record = _record(cls)
        if not isinstance(value, (tuple, list)):
            raise _Misfit(place, "record %s" % cls.__name__, (value,))
        # As in Zeek, surplus elements are ignored.
        if len(value) < len(record.readers):
            raise _Misfit(place, "record %s of %d fields" % (cls.__name__, len(record.readers)),
                          "%d" % len(value))
        return record.read(value, place)

    return convert


def _record_out(cls: Any) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        record = _record(cls)
        if isinstance(value, dict) if record.is_dict else isinstance(value, cls):
            return tuple(record.write(value, place))
        raise _Misfit(place, "record %s" % cls.__name__, (value,))

    return convert


def _is_typed_dict(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, dict) and hasattr(cls, "__total__")


def _is_record(cls: Any) -> bool:
    return isinstance(cls, type) and (
        dataclasses.is_dataclass(cls) or _is_typed_dict(cls) or hasattr(cls, "__attrs_attrs__")
        or _pydantic_fields(cls) is not None or issubclass(cls, tuple) and hasattr(cls, "_fields"))


def _pydantic_fields(cls: Any) -> Any:
    """The fields of a model of pydantic, of version 2 or else 1, without importing it."""
    if hasattr(cls, "__pydantic_fields__") or hasattr(cls, "model_validate"):
        return getattr(cls, "model_fields", None)
    return getattr(cls, "__fields__", None) if hasattr(cls, "parse_obj") else None


class _Field(NamedTuple):
    name: str
    annotation: Any
    # What the class calls it when it makes an instance.
    parameter: str
    # The key of a TypedDict that need not be there.
    may_be_absent: bool = False


def _fields(cls: Any) -> Iterable[_Field]:
    if not _is_record(cls):
        raise TypeError("expected a dataclass, TypedDict or NamedTuple (or a class of attrs, or a model of"
                        " pydantic), found %r" % (cls,))
    if _is_typed_dict(cls):
        # In Python 3.9 and 3.10 the qualifiers are still there, in `typing_extensions` only.
        qualified = _hints(cls, include_extras=True)
        optional: frozenset[str] = getattr(cls, "__optional_keys__", frozenset())
        for name, annotation in _hints(cls).items():
            marks = set(_qualifiers(qualified[name]))
            absent = "NotRequired" in marks or name in optional and "Required" not in marks
            yield _Field(name, annotation, name, absent)
        return
    hints = _hints(cls)
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.init:
                yield _Field(field.name, hints[field.name], field.name)
    elif hasattr(cls, "__attrs_attrs__"):
        for field in cls.__attrs_attrs__:
            if field.init:
                # Old releases have no alias and take away the underscores themselves.
                parameter = getattr(field, "alias", None) or field.name.lstrip("_")
                yield _Field(field.name, hints.get(field.name, field.type or Any), parameter)
    elif _pydantic_fields(cls) is not None:
        for name, field in _pydantic_fields(cls).items():
            alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
            yield _Field(name, hints[name], alias if isinstance(alias, str) else name)
    else:
        for name in cls._fields:
            yield _Field(name, hints.get(name, Any), name)


_QUALIFIERS = ("Required", "NotRequired", "ReadOnly")


def _qualifier(annotation: Any) -> str | None:
    """The name of `Required` and its like, from whichever module."""
    origin = typing.get_origin(annotation)
    name = getattr(origin, "_name", None)
    is_typing = getattr(origin, "__module__", None) in ("typing", "typing_extensions")
    return name if is_typing and name in _QUALIFIERS else None


def _qualifiers(annotation: Any) -> Iterable[str]:
    while True:
        name = _qualifier(annotation)
        if name is not None:
            yield name
        elif typing.get_origin(annotation) is not typing.Annotated:
            return
        annotation = typing.get_args(annotation)[0]


def _hints(thing: Any, include_extras: bool = False) -> dict[str, Any]:
    try:
        return typing.get_type_hints(thing, include_extras=include_extras)
    except NameError as error:
        raise TypeError("cannot resolve the annotations of %r: %s" % (thing, error)) from error


def prepare(cls: Any) -> None:
    """Looks at a class of an event where it is going to be used, so that annotations that cannot
    work are found there. Those that name what is not there yet are looked at later."""
    try:
        _record(cls)
    except TypeError as error:
        if not isinstance(error.__cause__, NameError):
            raise


# As many classes as a program may use as records before they are looked at again.
_record: Callable[[Any], _Record] = functools.lru_cache(maxsize=1024)(_Record)


_UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))
_ADDRESS_PAIRS = {
    frozenset((ipaddress.IPv4Address, ipaddress.IPv6Address)): "addr",
    frozenset((ipaddress.IPv4Network, ipaddress.IPv6Network)): "subnet",
}


def _either(accepted: Tuple[Any, ...], name: str) -> _Converter:
    def convert(value: Any, place: str) -> Any:
        if isinstance(value, accepted):
            return value
        raise _Misfit(place, name, (value,))

    return convert


def _nothing(value: Any, place: str) -> Any:
    if value is not None:
        raise _Misfit(place, "nothing", (value,))
    return None


def _literal(values: Tuple[Any, ...], again: Callable[[Any], _Converter]) -> _Converter:
    """One of some values, each converted as its own type: True is no 1."""
    choices = [(again(type(value)), value) for value in values]
    name = "one of %s" % ", ".join(map(repr, values))

    def convert(value: Any, place: str) -> Any:
        for choice, literal in choices:
            try:
                made = choice(value, place)
            except _Misfit:
                continue
            # Enums are sent under another name than the member's.
            if made == literal or value is literal:
                return made
        raise _Misfit(place, name, "`%s`" % _shown(value))

    return convert


_SEQUENCES = (collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection,
              collections.abc.Iterable, collections.abc.Reversible)
_SETS = {set: set, frozenset: frozenset, collections.abc.Set: frozenset, collections.abc.MutableSet: set}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _is_literal(origin: Any) -> bool:
    """Whether it is the `Literal` of `typing_extensions`, which in Python 3.9 is one of its own."""
    return getattr(origin, "_name", None) == "Literal"


def _compile(annotation: Any, special: Callable[[Any], _Converter | None],
             again: Callable[[Any], _Converter],
             sequence: Callable[[_Converter], _Converter]) -> _Converter:
    """The converter of an annotation; `special` knows those that differ by direction, and
    `sequence` what has the interface of a sequence or less."""
    if annotation is Any or annotation is inspect.Parameter.empty or annotation is object:
        return _anything
    if annotation is bytes:
        return _bytes
    found = special(annotation)
    if found is not None:
        return found
    if annotation in _PLAIN:
        return _plain(annotation)
    if annotation is None or annotation is type(None):
        return _nothing
    if hasattr(annotation, "__supertype__"):
        # NewType: another name for the type.
        return again(annotation.__supertype__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        return _union(arguments, again)
    if origin is typing.Literal or _is_literal(origin):
        return _literal(arguments, again)
    if origin is typing.Annotated or _qualifier(annotation) is not None:
        return again(arguments[0])
    if annotation in (list, tuple) or annotation in _SEQUENCES or annotation in _SETS or annotation in _MAPPINGS:
        origin, arguments = annotation, ()
    if origin is list:
        return _sequence(again(arguments[0]) if arguments else _anything, list)
    if origin in _SEQUENCES:
        return sequence(again(arguments[0]) if arguments else _anything)
    if origin is tuple:
        if not arguments or arguments[-1] is Ellipsis:
            return _sequence(again(arguments[0]) if arguments else _anything, tuple)
        return _fixed([again(argument) for argument in arguments])
    if origin in _SETS:
        _check_hashable(annotation, arguments[:1])
        return _set(again(arguments[0]) if arguments else _anything, _SETS[origin])
    if origin in _MAPPINGS:
        _check_hashable(annotation, arguments[:1])
        inner = [again(argument) for argument in arguments] or [_anything, _anything]
        return _table(*inner)
    raise TypeError("no Zeek type is known for the annotation %r" % (annotation,))


def _check_hashable(annotation: Any, members: Iterable[Any]) -> None:
    for member in members:
        if _is_unhashable(member):
            raise TypeError("%r can never fit: %r is not hashable; use a tuple, a frozenset, a"
                            " NamedTuple or a frozen dataclass" % (annotation, member))


def _is_unhashable(annotation: Any) -> bool:
    """Whether no value of the annotation can be in a set, except for None."""
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in _UNIONS:
        present = [argument for argument in arguments if argument is not type(None)]
        return all(map(_is_unhashable, present))
    if origin is tuple:
        return any(_is_unhashable(argument) for argument in arguments if argument is not Ellipsis)
    if hasattr(annotation, "__supertype__"):
        return _is_unhashable(annotation.__supertype__)
    if origin is typing.Annotated or _qualifier(annotation) is not None:
        return _is_unhashable(arguments[0])
    if origin is collections.abc.Set:
        # It becomes a frozenset.
        return False
    if origin in _SEQUENCES or origin in _MAPPINGS or origin in _SETS and origin is not frozenset:
        # They become list, dict and set.
        return True
    if origin is typing.Literal or _is_literal(origin):
        return False
    return isinstance(origin, type) and getattr(origin, "__hash__", None) is None


def _union(arguments: Tuple[Any, ...], again: Callable[[Any], _Converter]) -> _Converter:
    present = [argument for argument in arguments if argument is not type(None)]
    name = _ADDRESS_PAIRS.get(frozenset(present))
    if name is not None:
        inner = _either(tuple(present), name)
    elif len(present) == 1:
        inner = again(present[0])
    else:
        inner = _first_that_fits((again, arguments), [again(argument) for argument in present])
    return inner if len(present) == len(arguments) else _optional(inner)


def _read_special(annotation: Any) -> _Converter | None:
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _members_in(annotation)
    return _record_in(annotation) if _is_record(annotation) else None


def _write_special(annotation: Any) -> _Converter | None:
    if annotation is _broker.Count:
        return _count_out
    if annotation is float:
        return _float_out
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _members_out(annotation)
    return _record_out(annotation) if _is_record(annotation) else None


def _reader(annotation: Any) -> _Converter:
    return _compile(annotation, _read_special, _reader, lambda inner: _sequence(inner, list))


def _writer(annotation: Any) -> _Converter:
    return _compile(annotation, _write_special, _writer, _iterable)


def event(name: str | type | None = None) -> Any:
    """Makes a class stand for an event: its fields are the arguments.

        @broker.zeek.event("ping")
        @dataclasses.dataclass
        class Ping:
            text: str
            n: broker.Count

    Without a name the event is called like the class.
    """
    if isinstance(name, type):
        return event(name.__name__)(name)

    def mark(cls: type[_T]) -> type[_T]:
        if not _is_record(cls):
            raise TypeError("expected a dataclass, TypedDict or NamedTuple, found %r" % (cls,))
        if _is_typed_dict(cls):
            raise TypeError("a TypedDict has no instances that know it: use it as a type only")
        setattr(cls, _EVENT_NAME, cls.__name__ if name is None else name)
        return cls

    return mark


def event_name(cls: Any) -> str | None:
    """The event that a class stands for."""
    return typing.cast("str | None", getattr(cls, _EVENT_NAME, None))


def pack(arguments: Any, name: str | None = None, metadata: Any = None) -> Any:
    """Makes an `Event` of an object whose fields are the arguments.

    The name is that of `event`, unless one is given. Raises MismatchError for a field that holds
    something else than its annotation says.
    """
    from . import Event

    cls = type(arguments)
    name = event_name(cls) if name is None else name
    if name is None:
        raise TypeError("%s stands for no event: decorate it with broker.zeek.event, or give a name"
                        % cls.__name__)
    try:
        values = _record(cls).write(arguments, "")
    except (_Misfit, RecursionError) as failure:
        raise _mismatch(name, failure) from None
    return Event(name, *values, metadata=metadata)


def unpack(received: Any, cls: type[_T]) -> _T:
    """Makes an instance of a class of a received event: an `Event`, or the value of a message.

    Raises ValueError when it is no event, or not the one that the class stands for, MismatchError
    when an argument does not fit.
    """
    from . import Event

    received = Event(received)
    name = received.name()
    wanted = event_name(cls)
    if wanted is not None and name != wanted:
        raise ValueError("expected event `%s`, found `%s`" % (wanted, printable(name)))
    values = received._typed_args()
    record = _record(cls)
    if len(values) != len(record.readers):
        raise MismatchError(name, "", "%d" % len(record.readers), "%d" % len(values))
    try:
        return typing.cast(_T, record.read(values, ""))
    except (_Misfit, RecursionError) as failure:
        raise _mismatch(name, failure) from None


def as_value(value: Any) -> Any:
    """What an object with fields is sent as, wherever a value is taken: the event that its class
    stands for, or a record. None if its class is neither."""
    cls = type(value)
    if event_name(cls) is not None:
        return pack(value)
    if not _is_record(cls):
        return None
    try:
        return tuple(_record(cls).write(value, ""))
    except _Misfit as misfit:
        raise TypeError("record `%s`: field `%s`: expected %s, found %s" % (
            cls.__name__, misfit.place, misfit.expected, misfit.found)) from None
    except RecursionError:
        raise TypeError("record `%s`: expected %s, found deeper ones" % (cls.__name__, _SHALLOW)) from None


class Parameters:
    """The parameters of a handler: arguments of the event by position, extras by name."""

    EXTRAS = ("event", "topic")

    def __init__(self, function: Callable[..., Any]) -> None:
        signature, hints = inspect.signature(function), _hints(function)
        self.readers: list[Tuple[str, _Converter]] = []
        self.rest: _Converter | None = None
        self.required = 0
        self.extras: list[str] = []
        for parameter in signature.parameters.values():
            annotation = hints.get(parameter.name, Any)
            if _is_record(annotation):
                prepare(annotation)
            convert = functools.partial(_reader, annotation)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = convert()
            elif parameter.kind is parameter.KEYWORD_ONLY:
                self._extra(function, parameter)
            elif parameter.kind is not parameter.VAR_KEYWORD:
                self.readers.append((parameter.name, convert()))
                self.required += parameter.default is parameter.empty

    def _extra(self, function: Callable[..., Any], parameter: inspect.Parameter) -> None:
        if parameter.name in self.EXTRAS:
            self.extras.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise TypeError("%r: keyword-only parameters can be %s, found `%s`"
                            % (function, " and ".join(self.EXTRAS), parameter.name))

    def read(self, name: str, values: list[Any]) -> list[Any]:
        """The arguments of the call for those of the event."""
        most = len(self.readers)
        if len(values) < self.required or (len(values) > most and self.rest is None):
            expected = "%d" % most if most == self.required else "%d to %d" % (self.required, most)
            if self.rest is not None:
                expected = "at least %d" % self.required
            raise MismatchError(name, "", expected, "%d" % len(values))
        try:
            arguments = [convert(value, place)
                         for (place, convert), value in zip(self.readers, values)]
            if self.rest is not None:
                arguments += [self.rest(value, "[%d]" % index)
                              for index, value in enumerate(values[most:], most)]
            return arguments
        except (_Misfit, RecursionError) as failure:
            raise _mismatch(name, failure) from None


