#!/usr/bin/env python3
"""Has Zeek block an address, or lets it go again.

    python3 block.py zeek://manager:9999 drop 192.0.2.66 3600
    python3 block.py zeek://manager:9999 release 192.0.2.66
"""

import datetime
import ipaddress
import sys

import broker
from broker.zeek import Event

TIMEOUT_S = 10.0


def ask(endpoint: broker.Endpoint, answers: broker.Subscriber, event: Event) -> Event:
    """Sends an event of which Zeek tells what became of it."""
    endpoint.publish("/block/do", event)
    answer = answers.recv(TIMEOUT_S)
    if answer is None:
        raise TimeoutError("no answer to %s within %g s" % (event.name(), TIMEOUT_S))
    return Event(answer[1])


def main(url: str, what: str, host: str, seconds: str = "3600") -> None:
    address = ipaddress.ip_address(host)
    with broker.Endpoint() as endpoint, endpoint.make_subscriber("/block/done") as answers:
        if not endpoint.peer(url, retry=0):
            sys.exit("cannot peer with %s" % url)
        if what == "drop":
            lasts = datetime.timedelta(seconds=int(seconds))
            answer = ask(endpoint, answers, Event("Block::drop", address, lasts))
            print("blocked by rule", answer.args()[1])
        else:
            answer = ask(endpoint, answers, Event("Block::release", address))
            print("released" if answer.args()[1] else "was not blocked")


if __name__ == "__main__":
    main(*sys.argv[1:])
