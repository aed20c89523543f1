"""Asks five questions under an address and prints what happens; it knows nothing of protocols."""

import sys

import broker

address, *beside = sys.argv[1:]
port = [int(number) for number in beside]

options = broker.BrokerOptions()
options.disable_ssl = True

with broker.Endpoint(broker.Configuration(options)) as ep, \
        ep.make_subscriber("/answers") as sub, \
        ep.make_status_subscriber(True) as statuses:

    assert ep.peer(address, *port, retry=0.0)
    print("added", statuses.get().code())
    for n in range(5):
        ep.publish("/questions", broker.zeek.Event("double", broker.Count(n), "abc", 1.5))
        topic, data = sub.get()
        answer = broker.zeek.Event(data)
        print(topic, answer.name(), answer.args())
    with ep.make_subscriber("/late") as late:
        ep.publish("/questions/late", broker.zeek.Event("double", broker.Count(21)))
        topic, data = late.get()
        print(topic, broker.zeek.Event(data).args())
    peer, = ep.peers()
    print(peer.peer.node_id(), peer.status)
    assert ep.unpeer(address, *port)
    print("removed", statuses.get().code(), ep.peers())
