"""The listening half of the manual's section on communication."""

import broker

with broker.Endpoint() as ep, ep.make_subscriber("/test") as sub:
    print(ep.listen("127.0.0.1", 0), flush=True)
    print(ep.node_id(), flush=True)

    (t, d) = sub.get()
    print(t, d, flush=True)

    for t, d in sub.get(2):
        print(t, d, flush=True)

    print(sub.available(), sub.poll(), type(sub.fd()).__name__, flush=True)
    sub.add_topic("/more", True)
    sub.remove_topic("/test", True)
    print("changed", flush=True)
    print(*sub.get(), flush=True)
