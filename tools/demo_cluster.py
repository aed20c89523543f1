#!/usr/bin/env python3
"""Three NATS servers on this machine, and what survives on them: shown step by step, each step checked.

A durable subscriber that was away, a late one that gets the last values first, a server that is killed, and a
store whose leader is killed while it counts. The exit code is 0 if nothing was lost.
"""

import contextlib
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "python" / "tests"))

import broker
from deadline import DEADLINE_S, wait_until
from nats_server import LOCALHOST, Server
from ports import reserved_port
from store_program import Program

LEASE_S = 2


def endpoint(url=None):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    made = broker.Endpoint(broker.Configuration(options))
    if url and not made.peer(url, retry=1.0, timeout=DEADLINE_S):
        raise SystemExit("no server was reached")
    return made


def take(subscriber, count):
    messages = []
    while len(messages) < count:
        more = subscriber.get(count - len(messages), DEADLINE_S)
        if not more:
            raise SystemExit("%d of %d messages came" % (len(messages), count))
        messages += more
    return messages


def expect(step, found, wanted):
    print("%-72s %s" % (step, "ok" if found == wanted else "WRONG: %r, not %r" % (found, wanted)), flush=True)
    if found != wanted:
        raise SystemExit(1)


def topics(url, servers):
    with endpoint(url) as here, endpoint(url) as there:
        here.make_stream("notices", ["/notices"], replicas=3, timeout=DEADLINE_S)
        here.make_stream("state", ["/state"], retained=True, replicas=3, timeout=DEADLINE_S)
        with there.make_subscriber("/notices", durable="siem", start="first", timeout=DEADLINE_S) as siem:
            here.publish("/notices/a", 1, durable=True, timeout=DEADLINE_S)
            expect("a durable subscriber gets a message", [it.value for it in take(siem, 1)], [1])
            siem.ack()
        servers[0].kill()
        for number in range(2, 6):
            here.publish("/notices/a", number, durable=True, timeout=DEADLINE_S)
        for door, value in [("front", "open"), ("back", "shut"), ("front", "shut")]:
            here.publish("/state/" + door, value, retain=True, timeout=DEADLINE_S)
        servers[0].start()
        with there.make_subscriber("/notices", durable="siem", timeout=DEADLINE_S) as siem:
            found = [it.value for it in take(siem, 4)]
            expect("it was away, and a server was killed: what it missed comes", found, [2, 3, 4, 5])
            siem.ack()
        with there.make_subscriber("/state", retained=True, timeout=DEADLINE_S) as state:
            found = {it.topic: it.value for it in take(state, 2)}
            wanted = {"/state/back": "shut", "/state/front": "shut"}
            expect("one that comes late gets the last values first", found, wanted)


def store(url):
    settings = {"url": url, "replicas": 3, "lease": LEASE_S}
    with Program("counters", settings) as leader:
        leader.await_standing("leader")
        with endpoint() as other:
            standby = other.open_master("counters", broker.Backend.JetStream, settings)
            # Of what was not acknowledged nothing is known.
            counted = sum(leader.call("increment", "count", 1)[0] for _ in range(100))
            leader.kill()
            wait_until(lambda: standby.standing() == "leader", "the standby takes over")
            found = standby.get("count")
            expect("the leader of a store is killed: the standby has all %d it counted" % counted, found >= counted, True)
            standby.increment("count", 1)
            expect("and counts on", standby.get("count"), found + 1)


def main():
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = [reserved_port() for _ in range(6)]
        servers = []
        for number, (port, route) in enumerate(zip(ports[:3], ports[3:])):
            extra = 'jetstream { store_dir: "%s", sync_interval: always }' % (folder / ("js%d" % number))
            server = Server(folder, port, extra, cluster=route, routes=ports[3:])
            servers.append(stack.enter_context(server))
        url = "nats://" + ",".join("%s:%d" % (LOCALHOST, port) for port in ports[:3])
        print("three servers: %s" % url)
        topics(url, servers)
        store(url)
    print("nothing was lost")


if __name__ == "__main__":
    main()
