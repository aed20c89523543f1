"""Names, signatures, enums and properties: what the original has, we have."""

import inspect
import subprocess
import sys

import pytest

import broker
import recordings
from deadline import DEADLINE_S

MODULES = recordings.load("python-api.json")["modules"]
# Containers and result holders of the original's binding layer that users never get hold of, and names that
# leaked into the module.
INTERNAL = {
    "VectorPairTopicData", "VectorStatusSubscriberValueType", "MapBackendOptions", "ItemsView", "KeysView",
    "ValuesView", "OptionalTimespan", "OptionalSubscriberBaseValueType", "VectorPeerInfo", "VectorTopic",
    "ExpectedData", "ExpectedStore", "_EC_eq", "_make_topic", "_make_topics", "_our_EC_eq", "_to_error_or_status", "_to_result", "ValueType", "_parent", "_to_expiry",
}


def resolve(path):
    found = broker
    for name in path.split(".")[1:]:
        found = getattr(found, name)
    return found


def entries(*kinds):
    return [pytest.param(module, name, entry, id="%s.%s" % (module, name))
            for module, names in MODULES.items() for name, entry in names.items()
            if entry["kind"] in kinds and name not in INTERNAL]


@pytest.mark.parametrize("module, name, entry", entries("alias"))
def test_names_at_the_top_are_those_of_the_native_module(module, name, entry):
    assert getattr(resolve(module), name) is resolve(entry["of"])


@pytest.mark.parametrize("module, name, entry", entries("class"))
def test_classes_have_their_members(module, name, entry):
    check_class(getattr(resolve(module), name), entry)


def check_class(cls, entry):
    assert inspect.isclass(cls)
    missing = [member for member in entry["members"] if member not in INTERNAL and not hasattr(cls, member)]
    assert missing == []
    assert (cls.__hash__ is not None) is entry["hashable"]
    assert cls.__module__ == entry["module"]
    assert cls.__qualname__ == entry["qualname"]
    for member, description in entry["members"].items():
        if description["kind"] in ("nested-class", "nested-enum") and member not in INTERNAL:
            nested = description.get("class") or description.get("enum")
            if nested and nested.get("values"):
                check_enum(getattr(cls, member), nested)
            elif nested:
                check_class(getattr(cls, member), nested)


@pytest.mark.parametrize("module, name, entry", entries("enum"))
def test_enums_have_their_members(module, name, entry):
    check_enum(getattr(resolve(module), name), entry)


def check_enum(enum, entry):
    for name, value in entry["values"].items():
        member = getattr(enum, name)
        assert type(member) is enum
        assert (int(member), member.value, hash(member)) == (value, value, value)
        assert enum(value) == member
        assert not hasattr(member, "__lt__") or member.__lt__(member) is NotImplemented
        assert enum.__members__[name] == member
    member = next(iter(entry["values"]))
    assert repr(getattr(enum, member)) == entry["repr_example"]
    assert str(getattr(enum, member)) == entry["str_example"]


@pytest.mark.parametrize("module, name, entry", entries("constant", "function"))
def test_constants_and_functions_exist(module, name, entry):
    found = getattr(resolve(module), name)
    if entry["kind"] == "function":
        assert callable(found)
    elif "repr" in entry:
        assert repr(found) == entry["repr"]


def properties(entry):
    return {name: member["type"].rpartition(".")[2]
            for name, member in entry["members"].items() if member["kind"] == "property"}


# An object of each class with properties; the argument is what peers() tells of a peer.
EXAMPLES = {
    "BrokerOptions": lambda peer: broker.BrokerOptions(),
    "Configuration": lambda peer: broker.Configuration(),
    "Count": lambda peer: broker.Count(1),
    "EndpointInfo": lambda peer: peer.peer,
    "Enum": lambda peer: broker.Enum("x"),
    "NetworkInfo": lambda peer: peer.peer.network.get(),
    "PeerInfo": lambda peer: peer,
}


def test_every_class_with_properties_has_an_example():
    assert {param.values[1] for param in entries("class") if properties(param.values[2])} == set(EXAMPLES)


@pytest.mark.parametrize("module, name, entry", [param for param in entries("class") if properties(param.values[2])])
def test_properties_have_their_types(pair, module, name, entry):
    [peer] = pair[0].peers()
    example = EXAMPLES[name](peer)
    assert type(example) is getattr(resolve(module), name)
    assert {member: type(getattr(example, member)).__name__ for member in properties(entry)} == properties(entry)


@pytest.mark.parametrize("function, parameters", [
    ("Endpoint.peer", ["addr", "port", "retry"]),
    ("Endpoint.peer_nosync", ["addr", "port", "retry"]),
    ("Endpoint.await_peer", ["node", "timeout"]),
    ("Endpoint.publish", ["topic", "data"]),
    ("Endpoint.make_subscriber", ["topics", "qsize", "subscriber_class"]),
    ("Endpoint.make_safe_subscriber", ["topics", "qsize"]),
    ("Endpoint.make_status_subscriber", ["receive_statuses"]),
    ("Endpoint.make_publisher", ["topic"]),
    ("Endpoint.forward", ["topics"]),
    ("Subscriber.add_topic", ["topic", "block"]),
    ("Subscriber.remove_topic", ["topic", "block"]),
    ("Publisher.publish", ["data"]),
    ("Endpoint.attach_master", ["name", "type", "opts"]),
    ("Endpoint.attach_clone", ["name"]),
    ("Store.append", ["key", "s", "expiry"]),
    ("Store.await_idle", ["timeout"]),
    ("Store.clear", []),
    ("Store.decrement", ["key", "amount", "expiry"]),
    ("Store.erase", ["data"]),
    ("Store.exists", ["key"]),
    ("Store.get", ["key"]),
    ("Store.get_index_from_value", ["key", "index"]),
    ("Store.increment", ["key", "amount", "expiry"]),
    ("Store.insert_into", ["key", "index", "value", "expiry"]),
    ("Store.keys", []),
    ("Store.pop", ["key", "expiry"]),
    ("Store.push", ["key", "value", "expiry"]),
    ("Store.put", ["key", "value", "expiry"]),
    ("Store.put_unique", ["key", "value", "expiry"]),
    ("Store.remove_from", ["key", "index", "expiry"]),
])
def test_parameters_keep_their_names(function, parameters):
    """Additions go behind what is there."""
    signature = inspect.signature(resolve("broker." + function))
    names = [name for name in signature.parameters if name not in ("self", "$self")]
    assert names[:len(parameters)] == parameters


def test_network_classes_are_not_for_making():
    for cls in (broker.EndpointInfo, broker.NetworkInfo, broker.PeerInfo):
        with pytest.raises(TypeError):
            cls()


def test_version():
    assert (broker.Version.MAJOR, broker.Version.MINOR, broker.Version.PATCH) == (2, 8, 0)
    assert broker.Version.PROTOCOL == 2
    assert broker.Version.string() == "2.8.0"
    assert broker.Version.compatible(2) is True
    assert broker.Version.compatible(1) is False
    assert inspect.ismodule(broker.Version)


def test_infinite():
    assert broker._broker.Infinite() == broker.Timespan(2**63 - 1)


def test_exceptions_are_what_programs_catch_today():
    closed, configuration = broker.ClosedError, broker.ConfigurationError
    for cls, parents in ((closed, (RuntimeError, AttributeError)), (configuration, (ValueError,)),
                         (broker.StoreError, (RuntimeError,)), (broker.ListenError, (OSError,))):
        assert issubclass(cls, broker.BrokerError)
        assert all(issubclass(cls, parent) for parent in parents)
    with broker.Endpoint() as endpoint:
        messages = endpoint.make_subscriber("/t")
    with pytest.raises(closed) as info:
        messages.get()
    assert info.value.code == 28
    messages.reset()


def test_left_over_message_class():
    with pytest.raises(AssertionError):
        broker.Message().to_broker()


def test_the_zeek_module_comes_along():
    script = "import broker; broker.zeek.Event; broker._broker.zeek.Message"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=DEADLINE_S)


def test_the_package_says_where_it_is():
    assert broker.__file__.replace("\\", "/").endswith("broker/__init__.py")


def test_everything_public_has_a_docstring():
    missing = [name for name in sorted(getattr(broker, "__all__", dir(broker)))
               if inspect.isclass(getattr(broker, name)) and not getattr(broker, name).__doc__]
    assert missing == []
