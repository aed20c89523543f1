"""A stand-in for an endpoint with as many peers and topics as one likes, for the live page.

It serves the files of the page, and answers as docs/http.md says. It has no stream, so the page asks.
"""

import contextlib
import http.server
import json
import threading
import time

from recordings import REPOSITORY

PAGE = REPOSITORY / "crates" / "broker" / "src" / "http" / "status" / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def queue(messages, **others):
    known = {
        "messages": messages, "bytes": 120 * messages, "waiting-messages": 0, "waiting-bytes": 0,
        "waiting-messages-max": 12, "waiting-bytes-max": 1440, "dropped": 0, "stalled": False, "stalls": 0,
        "idle": 0.0,
    }
    return {**known, **others}


def traffic(messages):
    return {"messages": messages, "bytes": 120 * messages}


def operations(changes):
    kinds = "get exists keys snapshot size put put-unique erase expire add subtract clear".split()
    return {**dict.fromkeys(kinds, 0), "get": 3 * changes, "put": changes}


class Endpoint:
    """What the stand-in tells; everything moves with time."""

    def __init__(self, peers, topics, has_forwarder, links=0):
        self.peers = peers
        self.has_forwarder = has_forwarder
        self.topics = topics
        self.links = links
        self.began = time.monotonic()

    def stats(self):
        age = time.monotonic() - self.began
        so_far = int(1000 * age)
        return {
            "id": "ab8cf2d0-5d1c-4d09-9e19-7b62d0a1f0e3", "version": "0.1.0", "time": "2026-01-01T12:00:00.0Z",
            "uptime": age, "published": 3 * so_far, "connections": self.peers + 1, "certificate-expiry": None,
            "processed": {"data": so_far, "command": 0, "routing-update": 0, "ping": 0, "pong": 0},
            "listeners": [{"kind": "peers", "address": "::", "port": 9999, "certificate-expiry": None}],
            "handshake-failures": {"unreachable": 0, "security": 2, "protocol": 1, "version": 0, "refused": 0,
                                   "closed": 0, "timed-out": 0},
            "drops": {"overflow": 7 if self.peers > 3 else 0, "cut-off": 0, "duplicate": 0, "refused-command": 0,
                      "stopped-command": 0},
            "forwarders": [self.forwarder(so_far)] if self.has_forwarder else [],
            "links": [self.link(number, so_far) for number in range(self.links)],
            "program": {}, "refused-connections": 3, "silent-connections": 1, "refused-commands": 0,
            "refused-web-sockets": 0, "duplicates-dropped": 0, "forwarding": True, "loops-found": 0, "commands-stopped": 0,
            "peers": [self.peer(number, so_far) for number in range(self.peers)],
            "subscribers": [
                {"number": 1, "kind": "subscriber", "name": "alerts", "topics": ["zeek/alerts"], "queue": queue(so_far)},
                {"number": 2, "kind": "client", "name": None, "topics": ["zeek/logs/conn", "zeek/logs/dns"],
                 "queue": queue(so_far // 2)},
            ],
            "stores": [
                {"name": "hosts", "role": "master", "master": None, "file-bytes": 1 << 20, "entries": None,
                 "commits": {"count": 10, "seconds": 0.1}, "inputs": 1, "outputs": 2, "unacknowledged": 0,
                 "out-of-order": 0, "lag": 0, "lag-time": 0.0, "updates": so_far, "working": True,
                 "operations": operations(so_far)},
                {"name": "intel", "role": "clone", "master": "11111111-2222-4333-8444-555555555555",
                 "file-bytes": None, "entries": 1234, "commits": None, "inputs": 1, "outputs": 1,
                 "unacknowledged": 0, "out-of-order": 0, "lag": 17, "lag-time": 2.5, "updates": so_far,
                 "working": True, "operations": operations(so_far)},
            ],
            "clients": [{"application": "dashboard", "clients": 2, "subscribed": 5, "received": 10, "refused": 0,
                         "sent": so_far, "overflowed": 0, "dropped": 0}],
            "topics": [
                {"prefix": f"zeek/logs/{'conn dns http ssl files notice'.split()[number % 6]}-{number}",
                 "received": traffic(so_far * (number % 7)), "published": traffic(so_far * (number % 3))}
                for number in range(min(self.topics, 256))
            ],
            "events": [],
        }

    def peer(self, number, so_far):
        stalled = self.peers > 3 and number == 3
        lost = {"waiting-messages": 4096, "stalled": True, "stalls": 1, "dropped": 7} if stalled else {}
        is_web = number % 10 == 9
        return {
            "id": f"00000000-0000-4000-8000-{number:012}",
            "address": f"ws://sensor-{number}.example:9997/v1/messages/json" if is_web else f"10.0.{number // 250}.{number % 250 + 1}",
            "port": 9997 if is_web else 9999, "retry-seconds": 1, "transport": "web-socket" if is_web else "native",
            "direction": "outgoing" if number % 2 else "incoming", "reconnects": number % 3, "topics": 4,
            "received": traffic(so_far * (number % 5)), "sent": queue(so_far * (number % 4), **lost),
            "round-trip": None if is_web else 0.0004 * (1 + number % 9),
        }

    def link(self, number, so_far):
        return {"address": f"nats://site-{number}:4222", "import": ["/alerts/", "/notices/"], "export": [""],
                "peer": f"00000000-0000-4000-8000-{number:012}" if number else None, "connects": 3,
                "received": traffic(so_far), "sent": traffic(so_far // 2), "dropped": 0}

    def forwarder(self, so_far):
        connections = [
            {"address": "2001:db8::7" if number == 2 else f"10.0.0.{number + 1}", "port": 41000 + number,
             "side": "publisher" if number < 2 else "subscriber",
             "key": "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7" if number % 2 else None,
             **traffic(so_far // (1 + number)), "waiting-messages": 900 if number == 4 else 0,
             "waiting-bytes": 108_000 if number == 4 else 0, "dropped": 41 if number == 4 else 0}
            for number in range(5)
        ]
        return {"xpub": "0.0.0.0:27760", "xsub": "0.0.0.0:27761", "subscriptions": 12, **traffic(so_far),
                "unwanted": 5, "dropped": 41, "refused-connections": 1, "connections": connections}

    def answer(self, path, query):
        if path == "/v1/stats":
            return self.stats()
        if path == "/readyz":
            stalled = ["the peer 00000000-0000-4000-8000-000000000003 (10.0.0.4:9999) takes nothing: 4096 messages wait"]
            return {"status": "ok", "reasons": stalled if self.peers > 3 else []}
        if path == "/v1/events":
            return {"events": [
                {"number": number, "time": "2026-01-01T12:00:00.0Z", "kind": "error" if number == 2 else "status",
                 "code": "peer_refused" if number == 2 else "peer_added", "text": "handshake successful",
                 "peer": None, "address": f"10.0.0.{number}:9999"}
                for number in range(1, 4)
            ]}
        if path == "/v1/topics":
            begin = int(query.get("cursor", "0"))
            end = min(begin + 1000, self.topics)
            page = [{"topic": f"topic/{number:06}", "peers": number % 9} for number in range(begin, end)]
            return {"topics": page, "total": self.topics, "cursor": str(end) if end < self.topics else None}
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        wishes = dict(one.split("=", 1) for one in query.split("&") if "=" in one)
        file = PAGE / ("index.html" if path == "/" else path[1:])
        found = self.server.endpoint.answer(path, wishes)
        if found is not None:
            self.give(200, "application/json", json.dumps(found).encode())
        elif file.parent == PAGE and file.is_file():
            self.give(200, KINDS[file.suffix] + "; charset=utf-8", file.read_bytes())
        else:
            self.give(404, "text/plain", b"nothing here\n")

    def give(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(peers, topics=40, has_forwarder=False, links=0):
    """The port of a server that tells of so many peers, topics and links, and of a forwarder if asked."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.endpoint = Endpoint(peers, topics, has_forwarder, links)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
