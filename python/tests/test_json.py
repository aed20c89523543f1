"""JSON as WebSocket clients know it: `Data.to_json` and `Data.from_json`, checked against the recorded cases."""

import datetime
import json
import math
import pathlib

import pytest

import broker

CASES = json.loads((pathlib.Path(__file__).parents[2] / "vectors" / "json.json").read_text(encoding="utf-8"))["cases"]
# About the topic of the message, and about a limit that only the server has.
ELSEWHERE = {"no-topic", "topic-num", "topic-null", "topic-internal", "topic-reserved", "topic-store", "nest-64", "nest-100"}
# Protocols of ports that are spelled otherwise, which the original reads as unknown ones.
REFUSED = {"port-upper", "port-other", "port-emptyproto", "port-dbl"}
UTC = datetime.timezone.utc


def text(case):
    return case["json"] if "json" in case else bytes.fromhex(case["json_hex"])


def spelled(value, **options):
    return json.loads(broker.Data.to_json(broker.Data(value), **options))


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] not in ELSEWHERE], ids=lambda case: case["id"])
def test_every_recorded_case_has_its_verdict(case):
    accepted = case["recommend"] == "accept" if "recommend" in case else case["accepted"]
    if not accepted or case["id"] in REFUSED:
        with pytest.raises(ValueError, match=" at byte [0-9]+$"):
            broker.Data.from_json(text(case))
        return
    data = broker.Data.from_json(text(case))
    assert broker.Data.from_json(broker.Data.to_json(data, lossless=True)) == data
    json.loads(broker.Data.to_json(data))


def test_values_are_spelled_as_clients_expect():
    time = datetime.datetime(2022, 4, 10, 7, 0, 0, 123456, tzinfo=UTC)
    assert broker.Data.to_json(broker.Data(broker.Count(7))) == '{"@data-type":"count","data":7}'
    assert spelled(7.0) == {"@data-type": "real", "data": 7.0}
    assert broker.Data.to_json(broker.Data(7.0)).endswith('"data":7.0}')
    assert spelled(time)["data"] == "2022-04-10T07:00:00.123"
    assert spelled(time, lossless=True)["data"] == "2022-04-10T07:00:00.123456000"
    assert spelled(datetime.timedelta(microseconds=1500))["data"] == "1500000ns"
    assert spelled({2, 1})["data"] == [{"@data-type": "integer", "data": 1}, {"@data-type": "integer", "data": 2}]
    assert spelled({"k": None})["data"] == [
        {"key": {"@data-type": "string", "data": "k"}, "value": {"@data-type": "none", "data": {}}}
    ]


@pytest.mark.parametrize("value", [
    b"\xff\x00", "\u00e9\U0001f600\x00", math.inf, -math.inf, 5e-324, 2**63 - 1, -2**63,
    broker.Timespan(1),
    [True, None, {1: [{2.5}]}], broker.Enum("X::Y"), broker.Port(53, broker.Port.UDP),
])
def test_the_lossless_form_loses_nothing(value):
    data = broker.Data(value)
    assert broker.Data.from_json(broker.Data.to_json(data, lossless=True)) == data


def test_what_the_compatible_form_cannot_say_is_replaced():
    assert spelled(b"caf\xe9")["data"] == "caf\ufffd"
    assert spelled(math.nan)["data"] == "nan"
    assert math.isnan(broker.Data.to_py(broker.Data.from_json('{"@data-type":"real","data":"nan"}')))


def test_the_error_says_what_and_where():
    with pytest.raises(ValueError) as caught:
        broker.Data.from_json('{"@data-type":"count","data":-1}')
    assert str(caught.value) == "contained invalid data: expected an integer from 0 to 2^64 - 1 at byte 29"


@pytest.mark.parametrize("port", ["443/TCP", "443/sctp", "443/tcpx", "443/", "443/tcp ", "443/tcp/udp"])
def test_a_misspelt_protocol_is_no_unknown_one(port):
    with pytest.raises(ValueError, match="expected a port of tcp, udp, icmp or unknown such as `80/tcp` at byte 28"):
        broker.Data.from_json('{"@data-type":"port","data":"%s"}' % port)


@pytest.mark.parametrize("port, made", [
    ("443", "443/tcp"), ("443/tcp", "443/tcp"), ("443/udp", "443/udp"), ("443/icmp", "443/icmp"), ("443/?", "443/?"),
    ("443/unknown", "443/?"),
])
def test_protocols_of_ports(port, made):
    assert str(broker.Data.from_json('{"@data-type":"port","data":"%s"}' % port)) == made


@pytest.mark.parametrize("argument", [None, 1, bytearray(b"{}"), ["{}"]])
def test_other_arguments_are_refused(argument):
    with pytest.raises(TypeError):
        broker.Data.from_json(argument)
    with pytest.raises(TypeError):
        broker.Data.to_json(argument)


def test_sub_classes_are_kept():
    class Own(broker.Data):
        pass

    assert type(Own.from_json('{"@data-type":"none"}')) is Own
