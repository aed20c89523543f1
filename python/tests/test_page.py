"""The live page in a real browser: what people see of an endpoint, and of a large one.

Pictures are kept in `target/page`, or where BROKER_TEST_PICTURES says.
"""

import os
import pathlib
import socket

import pytest

import broker
import browser
import page_server
from deadline import wait_until
from recordings import REPOSITORY
from scene import connect

pytestmark = pytest.mark.skipif(
    browser.CHROMIUM is None, reason="NO BROWSER: install Debian's package chromium to test the live page"
)

PICTURES = pathlib.Path(os.environ.get("BROKER_TEST_PICTURES", REPOSITORY / "target" / "page"))
WIDTHS = {"wide": 1280, "narrow": 380}

# Within which a peer has to be seen to come or go, by the clock of the endpoint.
SEEN_WITHIN_S = 2.0

# Scripts that find out what is shown.
ROWS = "[...document.querySelectorAll('#body tr')].map((it) => it.textContent)"
STATE = "document.querySelector('#state')?.textContent"
UPTIME = "Number(document.querySelector('#who')?.dataset.uptime)"


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def chromium(process):
    yield process
    process.close_pages()


def look_at(chromium, port, view="Peers", how="live", **looks):
    page = chromium.page(**looks)
    page.open(f"http://localhost:{port}/#{view}")
    page.wait_for(f"{STATE} === {how!r}", "the page shows something")
    return page


def has_row(text):
    return f"{ROWS}.some((it) => it.includes({str(text)!r}))"


def test_a_peer_is_seen_to_come_and_to_go(scene, chromium):
    here, there = scene.endpoint(), scene.endpoint()
    page = look_at(chromium, here.serve_http())
    peer = str(there.node_id())
    assert peer not in page.text()
    connect(there, here)
    came = here.stats()["uptime"]
    page.wait_for(has_row(peer), "the peer is shown")
    assert page.evaluate(UPTIME) - came <= SEEN_WITHIN_S
    there.shutdown()
    wait_until(lambda: not here.peers(), "it is gone")
    went = here.stats()["uptime"]
    page.wait_for(f"!{has_row(peer)}", "the peer is not shown any more")
    assert page.evaluate(UPTIME) - went <= SEEN_WITHIN_S
    page.click("Events")
    page.wait_for(has_row("peer_added"), "that it came")
    page.wait_for(f"{has_row('peer_lost')} || {has_row('peer_removed')}", "that it went")
    assert page.said == []


def test_nothing_is_asked_for_elsewhere(scene, chromium):
    here = scene.endpoint()
    here.attach_master("hosts", broker.Backend.Memory)
    port = here.serve_http(samples=True)
    page = look_at(chromium, port)
    for view in ("Topics", "Wanted", "Subscribers", "Stores", "Clients", "Events"):
        page.click(view)
    page.wait_for("document.querySelector('[aria-selected=true]').textContent === 'Events'", "the last view")
    own = (f"http://localhost:{port}/", "data:")
    assert page.asked and [url for url in page.asked if not url.startswith(own)] == []
    assert page.said == []


def test_a_search_leaves_what_has_it(scene, chromium):
    here = scene.endpoint()
    for name in ("alerts", "weird", "flows"):
        scene.use(here.make_subscriber(f"zeek/{name}"))
    page = look_at(chromium, here.serve_http(), "Subscribers")
    page.wait_for(f"{ROWS}.length === 3", "all are shown")
    page.type("#search", "WEI")
    page.wait_for(f"{ROWS}.length === 1 && {has_row('zeek/weird')}", "one is left")
    page.type("#search", "no such thing")
    page.wait_for(has_row("Nothing here has that in it."), "that there is none")
    assert page.said == []


def test_an_entry_of_a_store_appears(scene, chromium):
    here = scene.endpoint()
    store = here.attach_master("hosts", broker.Backend.Memory)
    store.put("192.0.2.1", broker.Count(7))
    page = look_at(chromium, here.serve_http(), "Stores")
    page.click("hosts")
    entries = "document.querySelector('#entries-body').textContent"
    page.wait_for(f"{entries}.includes('192.0.2.1')", "the first entry is shown")
    assert "count" in page.evaluate(entries)
    store.put("198.51.100.9", [1, "two"])
    page.wait_for(f"{entries}.includes('198.51.100.9')", "an entry appears")
    page.type("#prefix", "198")
    page.wait_for(f"!{entries}.includes('192.0.2.1') && {entries}.includes('198.51.100.9')", "those that begin so")
    assert page.said == []


def test_messages_are_shown_where_the_owner_allows_it(scene, chromium):
    here = scene.endpoint()
    publish = lambda: here.publish("zeek/alerts/now", ["<b>evil</b>", 7])  # noqa: E731
    publish()
    refusing = look_at(chromium, here.serve_http(), "Topics")
    refusing.click("zeek/alerts/now")
    refusing.wait_for("document.querySelector('#sample-note').textContent.includes('owner')", "that it is not allowed")
    page = look_at(chromium, here.serve_http(samples=True), "Topics")
    page.click("zeek/alerts/now")
    shown = "document.querySelector('#sample-body').textContent"

    def is_shown():
        publish()
        return "<b>evil</b>" in page.evaluate(shown)

    wait_until(is_shown, "a message is shown")
    assert not page.evaluate("Boolean(document.querySelector('#sample-body b'))")
    assert page.said == []


def test_without_the_stream_the_page_asks(scene, chromium):
    here, there = scene.endpoint(), scene.endpoint()
    page = chromium.page()
    page.call("Network.setBlockedURLs", urls=["*/v1/stream"])
    page.open(f"http://localhost:{here.serve_http()}/")
    page.wait_for(f"{STATE} === 'asking'", "the page asks")
    connect(there, here)
    page.wait_for(has_row(there.node_id()), "the peer is shown")
    page.click("Events")
    page.wait_for(has_row("peer_added"), "what happened is shown")


def test_the_keyboard_is_enough(scene, chromium):
    page = look_at(chromium, scene.endpoint().serve_http())
    page.evaluate("document.querySelector('[role=tab]').focus()")
    for expected in ("Topics", "Wanted"):
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
        chosen = "document.querySelector('[aria-selected=true]').textContent"
        page.wait_for(f"{chosen} === {expected!r}", f"{expected} is chosen")
    assert page.evaluate("document.activeElement.textContent") == "Wanted"


@pytest.mark.parametrize("peers", [1, 1000])
def test_it_looks_as_it_should(chromium, peers):
    with page_server.serving(peers, topics=10_000 if peers > 1 else 40) as port:
        for size, width in WIDTHS.items():
            for dark in (False, True):
                page = look_at(chromium, port, how="asking", width=width, dark=dark)
                page.wait_for(f"{ROWS}.length === {min(peers, 300)}", "the peers are shown")
                page.wait_for(f"{UPTIME} > {page.evaluate(UPTIME)}", "rates are shown")
                look = "dark" if dark else "light"
                page.picture(PICTURES / f"peers-{peers}-{size}-{look}.png")
                # The page itself is as wide as the window; what is wider has a bar of its own.
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (ground == "rgb(255, 255, 255)") != dark, ground
        for view in ("Topics", "Stores", "Subscribers", "Events"):
            page = look_at(chromium, port, view, how="asking")
            page.wait_for(f"{ROWS}.length > 1", f"{view} are shown")
            page.picture(PICTURES / f"{view.lower()}-{peers}.png")


def test_the_picture_tells_where_messages_go(chromium):
    with page_server.serving(peers=4, topics=10) as port:
        page = look_at(chromium, port, how="asking")
        page.wait_for("document.querySelectorAll('#picture path.flow').length > 0", "rates are shown")
        told = page.evaluate("[...document.querySelectorAll('#picture title')].map((it) => it.textContent)")
        for part in (
            "10.0.0.2:9999, native, outgoing: ", " in/s, ", "0.8 ms", "10.0.0.4:9999, native, outgoing: ",
            "takes nothing", "1 subscriber here: ", "1 WebSocket client here: ", "behind a peer: master of intel",
            "this endpoint, ab8cf2d0", "passes messages on",
        ):
            assert any(part in one for one in told), (part, told)
        legend = page.evaluate("document.querySelector('#legend').textContent")
        assert "passes messages of one peer on to others" in legend, legend
        # Of three peers that send and get something both ways, and of two readers here.
        assert page.evaluate("document.querySelectorAll('#picture path.flow').length") == 2 * 3 + 2
        assert page.evaluate("document.querySelectorAll('#picture line.bad').length") == 1
        assert page.evaluate("document.querySelectorAll('#picture line.beyond').length") == 1
        page.picture(PICTURES / "graph.png")


def test_a_forwarder_has_a_view_where_there_is_one(scene, chromium):
    tabs = "[...document.querySelectorAll('[role=tab]')].filter((it) => !it.hidden).map((it) => it.textContent)"
    here = scene.endpoint()
    page = look_at(chromium, here.serve_http())
    assert "Forwarder" not in page.evaluate(tabs)
    address = "tcp://127.0.0.1:0"
    with broker.zeek.Forwarder(xpub=address, xsub=address, curve=False) as forwarder:
        here.report_forwarder(forwarder)
        page.wait_for(f"{tabs}.includes('Forwarder')", "there is a view of it")
        page.click("Forwarder")
        page.wait_for(has_row(f"127.0.0.1:{forwarder.xpub_port}forwarder"), "it is shown")
        with socket.create_connection(("127.0.0.1", forwarder.xpub_port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(64))
            page.wait_for(has_row("1 connection refused"), "that it refused a connection")
    page.wait_for(has_row("There is no forwarder here."), "that it is gone")
    page.click("Peers")
    page.wait_for(f"!{tabs}.includes('Forwarder')", "there is no view of it any more")
    assert page.said == []


def test_a_forwarder_looks_as_it_should(chromium):
    with page_server.serving(peers=1, has_forwarder=True) as port:
        for size, width in WIDTHS.items():
            for dark in (False, True):
                page = look_at(chromium, port, "Forwarder", how="asking", width=width, dark=dark)
                page.wait_for(f"{ROWS}.length === 6", "the forwarder and its connections are shown")
                page.wait_for(f"{UPTIME} > {page.evaluate(UPTIME)}", "rates are shown")
                page.picture(PICTURES / f"forwarder-{size}-{'dark' if dark else 'light'}.png")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
        # One that loses messages is marked.
        bad = "[...document.querySelectorAll('#body td.bad')].map((it) => it.textContent)"
        assert page.evaluate(bad) == ["900", "41", "900", "41"]


def test_links_have_a_view_where_there_are_some(chromium):
    tabs = "[...document.querySelectorAll('[role=tab]')].filter((it) => !it.hidden).map((it) => it.textContent)"
    with page_server.serving(peers=1) as port:
        page = look_at(chromium, port, how="asking")
        assert "Links" not in page.evaluate(tabs)
    with page_server.serving(peers=1, links=2) as port:
        page = look_at(chromium, port, "Links", how="asking")
        page.wait_for(f"{ROWS}.length === 2", "both are shown")
        # The one that is cut is first, and marked.
        assert page.evaluate(f"{ROWS}[0]").startswith("nats://site-0:4222cut/alerts/, /notices/everything")
        bad = "[...document.querySelectorAll('#body td.bad')].map((it) => it.textContent)"
        assert page.evaluate(bad) == ["cut"]
        assert page.evaluate(f"{ROWS}[1]").startswith("nats://site-1:4222connected")


def test_ten_thousand_topics_of_a_real_endpoint_can_be_searched(scene, chromium):
    here, there = scene.endpoint(), scene.endpoint()
    scene.use(there.make_subscriber([f"topic/{number:05}" for number in range(10_000)]))
    connect(there, here)
    page = look_at(chromium, here.serve_http(), "Wanted")
    page.wait_for("document.querySelector('#count').textContent.includes('10,000')", "how many there are")
    assert page.evaluate(f"{ROWS}.length") == ROWS_MAX
    page.type("#search", "topic/09999")
    page.wait_for(f"{ROWS}.length === 1 && {has_row('topic/09999')}", "the last one is found")
    assert page.said == []


# How many rows are drawn at once, as in the script of the page.
ROWS_MAX = 300

# Counts the elements that each update puts into the page.
COUNT_ELEMENTS = """
    window.updates = [];
    window.put = 0;
    const count = (node) => 1 + (node.querySelectorAll?.("*").length ?? 0);
    new MutationObserver((changes) => {
        for (const change of changes) for (const node of change.addedNodes) window.put += count(node);
    }).observe(document.body, { childList: true, subtree: true });
    new MutationObserver(() => { window.updates.push(window.put); window.put = 0; })
        .observe(document.querySelector("#who"), { attributes: true, attributeFilter: ["data-uptime"] });
"""


def size_of_updates(chromium, peers, topics, view):
    """The elements of a page, the most that one of some updates put there, and the topics asked for meanwhile."""
    with page_server.serving(peers, topics) as port:
        page = look_at(chromium, port, view, how="asking")
        page.wait_for(f"{ROWS}.length > 1", "rows are shown")
        page.evaluate(COUNT_ELEMENTS)
        page.asked.clear()
        page.wait_for("window.updates.length >= 4", "some updates")
        asked = sum("/v1/topics" in url for url in page.asked)
        elements = page.evaluate("document.querySelectorAll('*').length")
        return elements, page.evaluate("Math.max(...window.updates)"), asked


@pytest.mark.parametrize("view", ["Peers", "Wanted"])
def test_an_update_puts_no_more_into_the_page_for_ten_times_as_many(chromium, view):
    """What a browser has to lay out and draw is bounded, whatever the endpoint has."""
    some, many = (size_of_updates(chromium, peers, topics, view) for peers, topics in ((400, 1000), (1000, 10_000)))
    assert many[0] <= 1.05 * some[0], (some, many)
    assert many[1] <= 1.05 * some[1] + 10, (some, many)
    # A few rows for each of these, and the picture; not a thousand of them.
    assert many[0] < 20 * ROWS_MAX, many
    # They change seldom: of four updates in a row one at most asks for them, in pages of 1,000.
    assert many[2] <= 2 * 10, many
