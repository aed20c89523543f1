"""Metrics, status and health over HTTP, as programs and scrapers ask for them."""

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from cryptography import x509

import broker
import certificates
from deadline import DEADLINE_S, take_one, wait_until
from ports import reserved_port
from recordings import REPOSITORY
from scene import connect

LOCALHOST = "127.0.0.1"


def read(port, path, **fields):
    request = urllib.request.Request(f"http://{LOCALHOST}:{port}{path}", headers=fields)
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return answer.read().decode()


def samples(text):
    """Names with labels, and values."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_what_flows_is_counted(scene):
    here, there = scene.endpoint(), scene.endpoint()
    messages = scene.use(here.make_subscriber("/t"))
    connect(there, here)
    port = here.serve_http()
    for number in range(10):
        there.publish("/t", number)
    for _ in range(10):
        take_one(messages)
    # The last one may be in the reader's hands before its connection has counted it.
    wait_until(lambda: here.stats()["processed"]["data"] == 10, "all are counted")
    found = samples(read(port, "/metrics"))
    assert found['broker_connections{type="native"}'] == 1
    assert found['broker_processed_messages_total{type="data"}'] == 10
    of_peer = f'broker_peer_received_messages_total{{peer="{there.node_id()}"'
    assert [value for name, value in found.items() if name.startswith(of_peer)] == [10]


def test_a_subscriber_has_the_name_that_the_program_gave_it(scene):
    here = scene.endpoint()
    messages = scene.use(here.make_subscriber("/t"))
    assert here.stats()["subscribers"][0]["name"] is None
    messages.set_name('al"erts')
    messages.set_name("too late")
    assert here.stats()["subscribers"][0]["name"] == 'al"erts'
    assert 'name="al\\"erts"' in read(here.serve_http(), "/metrics")


def test_messages_are_counted_by_topic(scene):
    here, there = scene.endpoint(), scene.endpoint()
    messages = scene.use(here.make_subscriber("/t"))
    connect(there, here)
    for topic in ("/t/a/b/1", "/t/a/b/2", "/t/c"):
        there.publish(topic, 1)
        take_one(messages)

    def received():
        return {topic["prefix"]: topic["received"]["messages"] for topic in here.stats()["topics"]}

    # The last one may be in the reader's hands before its connection has counted it.
    wait_until(lambda: received() == {"/t/a/b": 2, "/t/c": 1}, "all are counted")
    published = {topic["prefix"]: topic["published"]["messages"] for topic in there.stats()["topics"]}
    assert published == {"/t/a/b": 2, "/t/c": 1}


def test_stats_are_what_the_path_tells(scene):
    here, there = scene.endpoint(), scene.endpoint()
    scene.use(here.make_subscriber(["/t", "/u"]))
    connect(there, here)
    told, asked = json.loads(read(here.serve_http(), "/v1/stats")), here.stats()
    assert set(told) == set(asked)
    for stats in (told, asked):
        assert [peer["id"] for peer in stats["peers"]] == [str(there.node_id())]
        assert sorted(stats["subscribers"][0]["topics"]) == ["/t", "/u"]


def test_https_with_a_certificate_and_a_token(scene, tmp_path):
    authority = certificates.make(tmp_path, "authority")
    one = certificates.make(tmp_path, "one", authority)
    endpoint = scene.endpoint()
    port = endpoint.serve_http(LOCALHOST, 0, certificate=one.certificate_file, key=one.key_file, token="secret")
    context = ssl.create_default_context(cafile=authority.certificate_file)
    context.check_hostname = False

    def status(path, **fields):
        connection = http.client.HTTPSConnection(LOCALHOST, port, context=context, timeout=DEADLINE_S)
        try:
            connection.request("GET", path, headers=fields)
            return connection.getresponse().status
        finally:
            connection.close()

    assert status("/metrics") == 401
    assert status("/metrics", Authorization="Bearer secret") == 200
    assert status("/healthz") == 200
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, OSError)):
        read(port, "/healthz")


def context_for(authority):
    context = ssl.create_default_context(cafile=authority.certificate_file)
    context.check_hostname = False
    return context


def shown(port, context):
    """The number of the certificate that a server shows."""
    with socket.create_connection((LOCALHOST, port), timeout=DEADLINE_S) as raw:
        with context.wrap_socket(raw) as secured:
            return x509.load_der_x509_certificate(secured.getpeercert(True)).serial_number


def test_certificates_of_all_servers_are_counted_and_exchanged(scene, tmp_path):
    authority = certificates.make(tmp_path, "authority")
    peers, web, status = (certificates.make(tmp_path, name, authority) for name in ("peers", "web", "status"))
    here = scene.adopt(broker.Endpoint(certificates.configuration(peers, authority)))
    here.open_listener(LOCALHOST, 0)
    ports = {
        "web-socket": here.listen_ws(LOCALHOST, 0, certificate=web.certificate_file, key=web.key_file),
        "http": here.serve_http(certificate=status.certificate_file, key=status.key_file),
    }
    plain = here.serve_http()
    assert here.certificate_expiry() == peers.certificate.not_valid_after_utc

    def expiries():
        """By what they are for: the times of the metric."""
        family = "broker_certificate_expiry_timestamp_seconds{"
        found = samples(read(plain, "/metrics"))
        return {re.search('use="([^"]*)"', name)[1]: value for name, value in found.items() if name.startswith(family)}

    def told(**identities):
        return {use.replace("_", "-"): it.certificate.not_valid_after_utc.timestamp() for use, it in identities.items()}

    assert expiries() == told(peers=peers, web_socket=web, http=status)
    context = context_for(authority)
    assert [shown(port, context) for port in ports.values()] == [
        web.certificate.serial_number, status.certificate.serial_number]
    # The files are exchanged, for ones that are over.
    (tmp_path / "new").mkdir()
    for old in (web, status):
        new = certificates.make(tmp_path / "new", old.certificate_file.stem, authority, expired=True)
        new.key_file.replace(old.key_file)
        new.certificate_file.replace(old.certificate_file)
    here.reload_certificates()
    wait_until(lambda: len({int(value) for value in expiries().values()}) == 2, "the new ones are found")
    assert expiries()["peers"] == peers.certificate.not_valid_after_utc.timestamp()
    context.verify_mode = ssl.CERT_NONE
    assert shown(ports["http"], context) != status.certificate.serial_number
    assert shown(ports["web-socket"], context) != web.certificate.serial_number
    with pytest.raises(urllib.error.HTTPError) as raised:
        read(plain, "/readyz")
    reasons = json.loads(raised.value.read())["reasons"]
    assert len(reasons) == 2 and all("is over" in reason for reason in reasons), reasons
    assert any(str(ports["http"]) in reason for reason in reasons), reasons


def test_messages_and_metrics_share_a_port(scene, tmp_path):
    authority = certificates.make(tmp_path, "authority")
    one = certificates.make(tmp_path, "one", authority)
    endpoint = scene.endpoint()
    messages = scene.use(endpoint.make_subscriber("/t"))
    port = endpoint.serve_http(certificate=one.certificate_file, key=one.key_file, web_socket=True, token="secret")
    fields = {"Authorization": "Bearer secret"}
    url = f"wss://{LOCALHOST}:{port}/v1/messages/json"
    clients = pytest.importorskip("websockets.sync.client")

    def client(**options):
        return clients.connect(url, ssl=context_for(authority), open_timeout=DEADLINE_S, **options)

    with client(additional_headers=fields) as connected:
        connected.send('["/u"]')
        assert json.loads(connected.recv(timeout=DEADLINE_S))["type"] == "ack"
        connected.send(json.dumps({"type": "data-message", "topic": "/t", "@data-type": "count", "data": 7}))
        assert take_one(messages) == ("/t", broker.Count(7))
        wait_until(lambda: endpoint.stats()["clients"], "the client is counted")
    for options in ({}, {"additional_headers": fields, "origin": "https://elsewhere.example"}):
        with pytest.raises(Exception, match="403" if options else "401"):
            client(**options)


def test_what_python_does_is_counted(scene):
    here = scene.endpoint()
    before = here.stats()["program"]
    messages = scene.use(here.make_subscriber("/t"))
    assert messages.get(1, 0.01) == []
    with pytest.raises(TypeError):
        here.publish("/t", object())
    after = here.stats()["program"]
    assert after["broker_python_waits"] > before["broker_python_waits"]
    assert after["broker_python_waited_microseconds"] >= before["broker_python_waited_microseconds"] + 10_000
    assert after["broker_python_conversion_errors"] == before["broker_python_conversion_errors"] + 1
    assert "broker_python_conversion_errors_total" in read(here.serve_http(), "/metrics")


def test_what_cannot_be_written_is_told(scene, tmp_path):
    here = scene.endpoint()
    file = tmp_path / "file"
    file.write_text("")
    assert json.loads(read(here.serve_http(writes=[tmp_path]), "/readyz"))["status"] == "ok"
    with pytest.raises(urllib.error.HTTPError) as raised:
        read(here.serve_http(writes=[file / "below"]), "/readyz")
    assert "cannot be written" in raised.value.read().decode()


def test_what_cannot_be_served_is_an_error(scene):
    endpoint = scene.endpoint()
    port = endpoint.serve_http()
    with pytest.raises(broker.ListenError, match=str(port)):
        endpoint.serve_http(LOCALHOST, port)
    with pytest.raises(broker.ConfigurationError, match="token"):
        endpoint.serve_http(token="")
    with pytest.raises(broker.ConfigurationError, match="no origin"):
        endpoint.serve_http(origins=["*"])
    with pytest.raises(broker.ConfigurationError, match="missing.pem"):
        endpoint.serve_http(certificate="missing.pem", key="missing.pem")


def test_the_environment_starts_a_server():
    port = reserved_port()
    program = (
        "import broker, sys, urllib.request\n"
        "endpoint = broker.Endpoint()\n"
        "print(urllib.request.urlopen(f'http://localhost:{sys.argv[1]}/v1/stats').read().decode())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(port)],
        env={"BROKER_METRICS_PORT": str(port), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["peers"] == []


def test_dashboard_and_alerts_use_families_that_exist(scene):
    here, there = scene.endpoint(), scene.endpoint()
    scene.use(here.make_subscriber("/t"))
    here.attach_master("books", broker.Backend.Memory)
    connect(there, here)
    forwarder = broker.zeek.Forwarder(xpub="tcp://127.0.0.1:0", xsub="tcp://127.0.0.1:0", curve=False)
    here.report_forwarder(forwarder)
    text = read(here.serve_http(), "/metrics")
    described = [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE")]
    families = {name for name, _ in described}
    parts = ("bucket", "count", "sum")
    families |= {f"{name}_{part}" for name, kind in described if kind == "histogram" for part in parts}
    for name in ("alerts.yml", "grafana.json"):
        used = set(re.findall(r"\bbroker_\w+", (REPOSITORY / "monitoring" / name).read_text()))
        assert used, name
        assert used <= families, (name, used - families)
    json.loads((REPOSITORY / "monitoring" / "grafana.json").read_text())
    forwarder.close()


def test_there_is_an_alert_for_each_thing_that_needs_somebody():
    text = (REPOSITORY / "monitoring" / "alerts.yml").read_text()
    alerts = dict(re.findall(r"- alert: (\w+)\n +expr: (.*)", text))
    for name, family in {
        "BrokerPeerLost": "broker_connections",
        "BrokerPeerDrops": "broker_peer_dropped_messages_total",
        "BrokerForwarderDrops": "broker_forwarder_subscriber_dropped_messages_total",
        "BrokerConsumerDrops": "broker_consumer_dropped_messages_total",
        "BrokerStalled": "broker_peer_stalled",
        "BrokerReaderStalled": "broker_consumer_stalled",
        "BrokerStoreNotWorking": "broker_store_working",
        "BrokerCloneLags": "broker_store_lag_seconds",
        "BrokerCertificateExpires": "broker_certificate_expiry_timestamp_seconds",
    }.items():
        assert family in alerts[name], (name, alerts[name])
    assert "14 * 86400" in alerts["BrokerCertificateExpires"]
    for block in text.split("- alert: ")[1:]:
        assert "summary:" in block and "description:" in block and "severity:" in block, block


def test_the_page_needs_nothing_from_elsewhere(scene):
    port = scene.endpoint().serve_http(token="secret")
    index = read(port, "/")
    files = re.findall(r'(?:href|src)="([^"]+)"', index)
    assert {"page.css", "page.js"} <= set(files)
    assert not [name for name in files if "//" in name]
    for name in ("page.css", "page.js"):
        assert "://" not in read(port, "/" + name).replace("http://www.w3.org/2000/svg", "")
    with urllib.request.urlopen(f"http://{LOCALHOST}:{port}/", timeout=DEADLINE_S) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
