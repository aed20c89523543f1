#!/usr/bin/env python3
"""Passes Zeek's notices on: to syslog, to a webhook as chat services have them, or to a message queue.

    python3 notices.py zeek://manager:9999 syslog localhost
    python3 notices.py zeek://manager:9999 webhook https://chat.example/hooks/T0/B0
"""

import json
import logging
import logging.handlers
import sys
import urllib.request
from typing import Any, Callable

import broker
from broker.zeek import LogRecord

Sink = Callable[[LogRecord], object]


def syslog(host: str, port: int = logging.handlers.SYSLOG_UDP_PORT) -> Sink:
    logger = logging.getLogger("zeek.notices")
    logger.addHandler(logging.handlers.SysLogHandler((host, port)))
    return lambda record: logger.warning("zeek-notice: %s", record.json())


def webhook(url: str) -> Sink:
    def send(record: LogRecord) -> None:
        text = "*%s*: %s" % (record["note"], record.get("msg", ""))
        request = urllib.request.Request(url, json.dumps({"text": text}).encode(),
                                         {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()
    return send


def queue(producer: Any, topic: str = "zeek-notices") -> Sink:
    """Any producer with `send(topic, value)`, such as KafkaProducer of kafka-python."""
    return lambda record: producer.send(topic, record.json().encode())


def forward(endpoint: broker.Endpoint, url: str, send: Sink) -> None:
    with broker.zeek.logs(endpoint, ["notice"]) as notices:
        endpoint.peer_nosync(url, retry=5)
        for record in notices:
            try:
                send(record)
            except OSError as problem:          # A chat that is down is no reason to stop.
                print("not sent: %s: %s" % (problem, record.json()), file=sys.stderr)


if __name__ == "__main__":
    sinks: dict[str, Callable[[str], Sink]] = {"syslog": syslog, "webhook": webhook}
    sink = sinks[sys.argv[2]]
    with broker.Endpoint() as endpoint:
        forward(endpoint, sys.argv[1], sink(sys.argv[3]))
