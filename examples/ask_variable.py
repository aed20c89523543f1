#!/usr/bin/env python3
"""Asks every node of a cluster for the value of a variable.

    python3 ask_variable.py Site::local_nets zeek://manager:9999 zeek://worker-1:9999
"""

import sys
from typing import Optional

import broker
from broker.zeek import Event

CONTROL = "zeek/control"
TIMEOUT_S = 10.0


def ask(endpoint: broker.Endpoint, answers: broker.Subscriber, node: str, name: str) -> Optional[str]:
    """The value as text, or None if the node does not answer."""
    endpoint.publish("%s/%s" % (CONTROL, node), Event("Control::id_value_request", name))
    while True:
        message = answers.recv(TIMEOUT_S)
        if message is None:
            return None
        answer = Event(message[1])
        if answer.name() == "Control::id_value_response" and answer.args()[0] == name:
            return str(answer.args()[1])


def main(name: str, *urls: str) -> None:
    with broker.Endpoint() as endpoint, endpoint.make_subscriber(CONTROL) as answers:
        for url in urls:
            known = {peer.peer.node_id() for peer in endpoint.peers()}
            if not endpoint.peer(url, retry=0):
                print("%s: cannot peer" % url)
                continue
            [node] = {peer.peer.node_id() for peer in endpoint.peers()} - known
            value = ask(endpoint, answers, node, name)
            print("%s: %s" % (url, "no answer" if value is None else value))


if __name__ == "__main__":
    main(*sys.argv[1:])
