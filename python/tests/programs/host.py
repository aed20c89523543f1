"""Hosts a listening endpoint for measurements from outside: `host.py MODE [DESCRIPTORS]`.

MODE is `tls` or `plain`. Prints the port; every line of input is answered with the number of peers.
"""

import resource
import sys

import broker

if len(sys.argv) > 2:
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

options = broker.BrokerOptions()
options.disable_ssl = sys.argv[1] == "plain"
with broker.Endpoint(broker.Configuration(options)) as ep, ep.make_subscriber("/x") as sub:
    print(ep.listen("127.0.0.1", 0), flush=True)
    for _ in sys.stdin:
        print(len(ep.peers()), sub.available(), flush=True)
