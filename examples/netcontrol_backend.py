#!/usr/bin/env python3
"""A backend of Zeek's NetControl framework that blocks addresses with a set of nftables.

    python3 netcontrol_backend.py 9977
"""

import subprocess
import sys
from typing import Any, Callable

import broker
from broker.zeek import App, Event

NFT = "nft {verb} element inet filter blocked {{ {address} }}"


def nft(verb: str, rule: Any) -> str:
    """Carries out a rule; returns what is wrong, or nothing."""
    entity = rule[2]                            # NetControl::Rule: ty, target, entity, expire, ...
    if entity[0].name != "NetControl::ADDRESS":     # NetControl::Entity: ty, conn, flow, ip, mac
        return "cannot %s a rule about %s" % (verb, entity[0].name)
    command = NFT.format(verb=verb, address=entity[3])
    return subprocess.run(command.split(), capture_output=True, text=True).stderr.strip()


def serve(endpoint: broker.Endpoint, apply: Callable[[str, Any], str] = nft, topic: str = "netcontrol") -> App:
    app = App(endpoint, topic)

    @app.on("NetControl::broker_add_rule")
    def add(id: broker.Count, rule: Any) -> Event:
        problem = apply("add", rule)
        return Event("NetControl::broker_rule_" + ("error" if problem else "added"), id, rule, problem)

    @app.on("NetControl::broker_remove_rule")
    def remove(id: broker.Count, rule: Any, reason: str) -> Event:
        problem = apply("delete", rule)
        return Event("NetControl::broker_rule_" + ("error" if problem else "removed"), id, rule, problem)

    return app


if __name__ == "__main__":
    with broker.Endpoint() as endpoint:
        app = serve(endpoint)                   # Subscribes, before Zeek can call.
        endpoint.open_listener("0.0.0.0", int(sys.argv[1]))
        app.run()
