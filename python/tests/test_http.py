"""Metrics, status and health over HTTP, as programs and scrapers ask for them."""

import http.client
import json
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

import broker
import certificates
from deadline import DEADLINE_S, take_one, wait_until
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


def test_what_cannot_be_served_is_an_error(scene):
    endpoint = scene.endpoint()
    port = endpoint.serve_http()
    with pytest.raises(broker.ListenError, match=str(port)):
        endpoint.serve_http(LOCALHOST, port)
    with pytest.raises(broker.ConfigurationError, match="token"):
        endpoint.serve_http(token="")
    with pytest.raises(broker.ConfigurationError, match="missing.pem"):
        endpoint.serve_http(certificate="missing.pem", key="missing.pem")


def test_the_environment_starts_a_server(scene):
    port = scene.endpoint().open_listener(LOCALHOST, 0)
    program = (
        "import broker, sys, urllib.request\n"
        "endpoint = broker.Endpoint()\n"
        "print(urllib.request.urlopen(f'http://localhost:{sys.argv[1]}/v1/stats').read().decode())\n"
    )
    free = port + 1 if port < 65535 else port - 1
    run = subprocess.run(
        [sys.executable, "-c", program, str(free)],
        env={"BROKER_METRICS_PORT": str(free), "PATH": ""},
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


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def browse(port, profile, script_time_ms=6000, view=""):
    """The document of the page as a browser has it after a while, and what its console said."""
    run = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-logging=stderr", f"--user-data-dir={profile}",
         f"--virtual-time-budget={script_time_ms}", "--dump-dom", f"http://localhost:{port}/#{view}"],
        capture_output=True, text=True, timeout=10 * DEADLINE_S,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install Debian's package chromium to test the live page")
def test_a_browser_shows_peers_and_what_does_not_work(scene, tmp_path):
    here, there = scene.endpoint(), scene.endpoint()
    topic = "/<img src=x onerror=alert(1)>"
    scene.use(here.make_subscriber(topic))
    here.attach_clone("lost-books")
    connect(there, here)
    page, console = browse(here.serve_http(), tmp_path)
    assert str(there.node_id()) in page
    assert "lost-books" in page and "has no master" in page
    assert "<img" not in page
    assert console == []


@pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install Debian's package chromium to test the live page")
def test_a_browser_shows_what_happened(scene, tmp_path):
    here, there = scene.endpoint(), scene.endpoint()
    connect(there, here)
    port = here.serve_http()
    page, console = browse(port, tmp_path, view="Events")
    assert "peer_added" in page and "handshake successful" in page
    assert console == []


@pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install Debian's package chromium to test the live page")
def test_a_browser_asks_for_the_token(scene, tmp_path):
    endpoint = scene.endpoint()
    page, _ = browse(endpoint.serve_http(token="secret"), tmp_path)
    assert "a token is needed" in page
    assert str(endpoint.node_id()) not in page
