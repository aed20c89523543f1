#!/usr/bin/env python3
"""Tells Zeek of hosts that were refused by many others; test_detection.py tests it without Zeek.

    python3 detection.py zeek://manager:9999
"""

import dataclasses
import ipaddress
import sys

import broker.sync as broker


@broker.event("Site::refused")
@dataclasses.dataclass
class Refused:
    source: ipaddress.IPv4Address
    target: ipaddress.IPv4Address


@broker.event("Site::scanner")
@dataclasses.dataclass
class Scanner:
    source: ipaddress.IPv4Address
    targets: broker.Count


def detect(zeek: broker.Connection, limit: int = 25) -> None:
    targets: dict[ipaddress.IPv4Address, set[ipaddress.IPv4Address]] = {}
    for refused in zeek.events(Refused):
        seen = targets.setdefault(refused.source, set())
        if refused.target not in seen:
            seen.add(refused.target)
            if len(seen) == limit:
                zeek.publish("/site/scanners", Scanner(refused.source, broker.Count(limit)))


if __name__ == "__main__":
    with broker.connect(sys.argv[1], subscribe=["/site/refused"]) as connection:
        detect(connection)
