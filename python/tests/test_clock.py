"""The clock that a program moves: `use_real_time = False`. Spec: endpoint 1, stores 2.3."""

import datetime

import broker
from deadline import wait_until
from scene import connect

MINUTE_S = 60


def manual(scene):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    options.use_real_time = False
    return scene.adopt(broker.Endpoint(broker.Configuration(options)))


def test_entries_end_when_the_clock_is_moved(scene, tmp_path):
    endpoint = manual(scene)
    assert endpoint.now() == broker.Timestamp(0)
    stores = [endpoint.attach_master("memory", broker.Backend.Memory),
              endpoint.attach_master("file", broker.Backend.SQLite, {"path": str(tmp_path / "file")})]
    for store in stores:
        store.put("host", 1, MINUTE_S)
        store.put("stays", 2)
        assert store.get("host") == 1
    endpoint.advance_time(broker.Timestamp(MINUTE_S - 1))
    assert [store.get("host") for store in stores] == [1, 1]
    endpoint.advance_time(datetime.datetime.fromtimestamp(MINUTE_S + 1, datetime.timezone.utc))
    assert [store.get("host") for store in stores] == [None, None]
    assert [store.get("stays") for store in stores] == [2, 2]
    # It never goes back.
    endpoint.advance_time(1)
    assert endpoint.now() == broker.Timestamp(MINUTE_S + 1)


def test_the_clock_of_the_system_cannot_be_moved(endpoint):
    endpoint.advance_time(broker.Timestamp(2**33))
    assert abs(endpoint.now().to_ns() - broker.now().to_ns()) < 3600 * 10**9


def test_clones_hear_of_the_end_when_the_clock_is_moved(scene):
    endpoint = manual(scene)
    store = endpoint.attach_master("memory", broker.Backend.Memory)
    clone_at = manual(scene)
    connect(clone_at, endpoint)
    clone = clone_at.attach_clone("memory")
    store.put("host", 1, MINUTE_S)
    endpoint.advance_time(1)
    clone_at.advance_time(1)
    wait_until(lambda: clone.get("host") == 1, "a copy")
    endpoint.advance_time(2 * MINUTE_S)
    wait_until(lambda: clone.get("host") is None, "the end")
