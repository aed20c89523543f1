"""What the manual does with a data store in memory, step by step."""

import broker

with broker.Endpoint() as ep, \
        ep.attach_master("test", broker.Backend.Memory) as m:
    m.put("key", "value")
    print(m.get("key"), flush=True)

    m.increment("e", 1)
    m.decrement("f", 1)
    m.append("str", "ar")
    m.insert_into("set", 3)
    m.remove_from("set", 1)
    m.insert_into("table", 3, "D")
    m.remove_from("table", 1)
    m.push("vec", 3)
    m.push("vec", 4)
    m.pop("vec")
    for key in sorted(m.keys()):
        print(key, repr(m.get(key)), flush=True)
