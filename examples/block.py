#!/usr/bin/env python3
"""Has Zeek block an address, or lets it go again.

    python3 block.py zeek://manager:9999 drop 192.0.2.66 3600
    python3 block.py zeek://manager:9999 release 192.0.2.66
"""

import datetime
import ipaddress
import sys

import broker.sync as broker

TIMEOUT_S = 10.0


def main(url: str, what: str, host: str, seconds: str = "3600") -> None:
    address = ipaddress.ip_address(host)
    with broker.connect(url) as zeek:
        if what == "drop":
            lasts = datetime.timedelta(seconds=int(seconds))
            answer = zeek.request("/block/do", broker.Event("Block::drop", address, lasts), "Block::dropped",
                                  reply_topic="/block/done", timeout=TIMEOUT_S)
            print("blocked by rule", answer.args()[1])
        else:
            answer = zeek.request("/block/do", broker.Event("Block::release", address), "Block::released",
                                  reply_topic="/block/done", timeout=TIMEOUT_S)
            print("released" if answer.args()[1] else "was not blocked")


if __name__ == "__main__":
    main(*sys.argv[1:])
