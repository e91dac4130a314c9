"""Documents for the tests of the configuration."""

import copy

GOOD = {
    "gateway": {"id": "press-shop-1", "site": "Sheffield"},
    "sparkplug": {
        "group": "Plant1",
        "node": "PressShop1",
        "broker": {"url": "mqtt://127.0.0.1:1883", "username": None, "password": None},
        "primary_host": None,
    },
    "journal": {"commit_interval_ms": 200, "max_bytes": 2_000_000_000, "retention_hours": 72},
    "hub": {"enabled": True},
    "sources": [
        {
            "name": "line1",
            "kind": "opcua",
            "endpoint": "opc.tcp://127.0.0.1:4840",
            "security": {"policy": "None", "mode": "None", "allow_insecure": True},
            "groups": [
                {
                    "name": "fast",
                    "sampling_interval_ms": 100,
                    "publishing_interval_ms": 100,
                    "queue_size": 10,
                }
            ],
            "tags": [
                {
                    "name": "Press/Temperature",
                    "node": "nsu=urn:example:plant;s=Press.Temperature",
                    "group": "fast",
                    "device": "Press",
                    "deadband": {"absolute": 0.1},
                    "scale": {"gain": 1.0, "offset": 0.0},
                },
                {"node": "ns=0;i=2258", "group": "fast", "device": "Press"},
            ],
            "rules": [{"below": "nsu=urn:example:plant;s=Load", "group": "fast", "device": "Load"}],
        }
    ],
}


def changed(path, value):
    """Return the good document with one place changed; the path is keys and indexes."""
    document = copy.deepcopy(GOOD)
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return document


def without(path):
    """Return the good document with one place removed."""
    document = copy.deepcopy(GOOD)
    at = document
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    return document
