#!/usr/bin/env python3
"""Raises an alert once, however many sensors see its cause: the first to put the key has it.

    python3 dedup.py keep 9988 alerts.sqlite           # once
    python3 dedup.py alert host:9988 scan 192.0.2.66   # by each sensor
"""

import sys
import threading

import broker

WITHIN_S = 3600.0
TIMEOUT_S = 10.0


def is_first(alerts: broker.Store, sensor: str, *what: str) -> bool:
    """Whether no other sensor has told of this within the hour; one that asks at the same time gets False."""
    first = alerts.put_unique(tuple(what), sensor, WITHIN_S)
    if first is None:
        raise TimeoutError("the keeper of the store does not answer")
    return first


def keep(port: str, file: str) -> None:
    with broker.Endpoint() as endpoint, \
            endpoint.open_master("alerts", broker.Backend.SQLite, {"path": file}):
        endpoint.open_listener("0.0.0.0", int(port))
        print("ready", flush=True)
        threading.Event().wait()


def alert(url: str, *what: str) -> None:
    with broker.Endpoint() as endpoint:
        if not endpoint.peer("zeek://" + url, retry=1, timeout=TIMEOUT_S):
            sys.exit("cannot peer with %s" % url)
        with endpoint.open_clone("alerts") as alerts:
            if is_first(alerts, endpoint.node_id(), *what):
                print("ALERT:", *what)
            else:
                print("known, first seen by", alerts.get(tuple(what)))


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(*sys.argv[2:])
    else:
        alert(*sys.argv[2:])
