#!/usr/bin/env python3
"""Feeds indicators of a MISP event to Zeek's intelligence framework and prints where they were seen.

    python3 intel_feed.py zeek://manager:9999 event.json
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import broker

# What the manager of a cluster takes indicators on; a single Zeek process subscribes to it as well.
TOPIC = "zeek/cluster/manager"
TYPES = {"ip-src": "ADDR", "ip-dst": "ADDR", "domain": "DOMAIN", "hostname": "DOMAIN", "url": "URL",
         "email-src": "EMAIL", "md5": "FILE_HASH", "sha1": "FILE_HASH", "sha256": "FILE_HASH"}


def items(event: dict[str, Any]) -> Iterator[list[Any]]:
    """The attributes that are meant for detection, as records `Intel::Item`."""
    for attribute in event["Event"]["Attribute"]:
        kind = TYPES.get(attribute["type"])
        if kind and attribute.get("to_ids"):
            indicator = attribute["value"]
            if kind == "URL":                   # Zeek's are without the scheme.
                indicator = indicator.split("://", 1)[-1]
            # Source, description and URL; scripts may have added fields, which stay unset.
            meta = ["misp", attribute.get("comment") or None, None] + 16 * [None]
            yield [indicator, broker.Enum("Intel::" + kind), meta]


def main(url: str, file: str) -> None:
    with broker.Endpoint() as endpoint, broker.zeek.logs(endpoint, ["intel"]) as sightings:
        if not endpoint.peer(url, retry=0):
            sys.exit("cannot peer with %s" % url)
        with open(file, encoding="utf-8") as feed:
            for item in items(json.load(feed)):
                endpoint.publish(TOPIC, broker.zeek.Event("Intel::insert_item", item))
        for record in sightings:
            print(record["ts"], record["seen.indicator"], record["seen.where"], *sorted(record["sources"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
