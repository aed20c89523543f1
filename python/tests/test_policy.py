"""Permissions from Python: a dict or a file, WebSocket clients that are judged. docs/security.md."""

import hashlib
import http.client
import json
import sys

import pytest

import broker
from deadline import DEADLINE_S, take_one

if sys.version_info < (3, 11):
    pytest.skip("clients of the WebSocket server need Python 3.11", allow_module_level=True)
import websockets.exceptions  # noqa: E402
from websockets.sync.client import connect as open_client  # noqa: E402

SECRET = "only-for-this-test"
POLICY = {
    "roles": {
        "responder": {
            "publish": ["/netcontrol/"],
            "events": {"publish": ["NetControl::*"]},
            "limits": {"message_bytes_max": "64KiB"},
        },
        "reader": {"subscribe": ["/notices/"], "http": ["/metrics"]},
    },
    "principals": {"soar": {"roles": ["responder"]}, "anonymous": {"roles": ["reader"]}},
    "tokens": {
        "soar-1": {
            "sha256": hashlib.sha256(SECRET.encode()).hexdigest(),
            "principal": "soar",
        }
    },
}


def made(policy):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    configuration = broker.Configuration(options)
    configuration.policy = policy
    assert configuration.policy is policy
    return broker.Endpoint(configuration)


def connect(port, secret=None):
    headers = {} if secret is None else {"Authorization": "Bearer " + secret}
    return open_client(
        "ws://127.0.0.1:%d/v1/messages/json" % port,
        additional_headers=headers,
        open_timeout=DEADLINE_S,
    )


def event(topic, name):
    count = {"@data-type": "count", "data": 1}
    content = [{"@data-type": "string", "data": name}, {"@data-type": "vector", "data": []}]
    data = [count, count, {"@data-type": "vector", "data": content}]
    return json.dumps(
        {"type": "data-message", "topic": topic, "@data-type": "vector", "data": data}
    )


def test_clients_may_do_what_the_dict_says():
    with made(POLICY) as endpoint, endpoint.make_subscriber("/") as subscriber:
        port = endpoint.listen_ws("127.0.0.1", 0)
        with connect(port, SECRET) as soar:
            soar.send("[]")
            soar.recv(DEADLINE_S)
            soar.send(event("/netcontrol/x", "terminate"))
            told = json.loads(soar.recv(DEADLINE_S))
            assert told["code"] == "acl_denied"
            assert "terminate" in told["context"]
            soar.send(event("/netcontrol/x", "NetControl::add_rule"))
            topic, message = take_one(subscriber)
            assert topic == "/netcontrol/x"
            assert message[2][0] == "NetControl::add_rule"
            endpoint.set_policy({})
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                while True:
                    soar.recv(DEADLINE_S)
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            connect(port)
        assert refused.value.response.status_code == 401


def test_a_file_is_read_with_the_place_of_what_is_wrong(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[roles.reader]\nhttp = ['/metrics']\n[principals.anonymous]\nroles = ['reader']\n")
    with made(path) as endpoint:
        port = endpoint.serve_http("127.0.0.1", 0)
        for asked, expected in [("/metrics", 200), ("/v1/stats", 403), ("/healthz", 200)]:
            client = http.client.HTTPConnection("localhost", port, timeout=DEADLINE_S)
            client.request("GET", asked)
            assert client.getresponse().status == expected
            client.close()
        path.write_text("[roles.reader]\nhttp = 1\n")
        with pytest.raises(broker.ConfigurationError, match="line 2, column 8"):
            endpoint.set_policy(path)
    for wrong in [{"roles": 1}, {"rules": {}}, {"roles": {"a": {"publish": [1.5]}}}, "/nonexistent/x"]:
        with pytest.raises((broker.ConfigurationError, ValueError)):
            broker.Configuration().policy = wrong
    with broker.Endpoint() as endpoint, pytest.raises(broker.ConfigurationError):
        endpoint.set_policy({})
