#!/usr/bin/env python3
"""Prints the logs of a Zeek process as JSON lines, spelled as in Zeek's own JSON logs.

    python3 examples/logs.py HOST PORT [LOG...]

A LOG is a path such as `conn` or a stream such as `Conn::LOG`; without one, all logs are printed.
Each line starts with the path of its log. In a cluster give its loggers as well, each as
`--logger=NAME`, and peer with the nodes that write logs. Environment variable `BROKER_PLAIN=1`
turns TLS off, for a Zeek with `Broker::disable_ssl = T`. Ctrl-C ends the program.

On the side of Zeek it takes a `Broker::listen`.
"""

import os
import sys

import broker


def main() -> int:
    loggers = [word[len("--logger="):] for word in sys.argv[1:] if word.startswith("--logger=")]
    words = [word for word in sys.argv[1:] if not word.startswith("--logger=")]
    if len(words) < 2:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    host, port, names = words[0], int(words[1]), words[2:] or None
    options = broker.BrokerOptions()
    options.disable_ssl = os.environ.get("BROKER_PLAIN") == "1"
    with broker.Endpoint(broker.Configuration(options)) as endpoint:
        # Before peering: Zeek announces its logs when a peer appears.
        with broker.zeek.logs(endpoint, names, loggers=loggers) as logs:
            if not endpoint.peer(host, port, 0.0):
                print("cannot peer with %s:%d" % (host, port), file=sys.stderr)
                return 1
            try:
                for record in logs:
                    print(record.path, record.json(), flush=True)
            except KeyboardInterrupt:
                pass
            if logs.skipped:
                print("%d messages skipped, the last: %s" % (logs.skipped, logs.last_problem), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
