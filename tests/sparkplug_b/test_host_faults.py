"""An edge node's session against the host's, over a network that loses, repeats and reorders."""

from itertools import count

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkplug_b import (
    BirthMetric,
    CommandToSend,
    DataType,
    DeviceBirth,
    EdgeNodeSession,
    HostOptions,
    HostSession,
    MetricColumn,
    encode_metrics,
    next_bd_seq,
)

T = 1_790_000_000_000
KEY = ("G", "N")
DEVICES = ("A", "B")
OPTIONS = HostOptions(
    reorder_timeout_ms=400,
    device_birth_timeout_ms=400,
    rebirth_interval_ms=300,
    reorder_messages_max=8,
)


class World:
    """The edge node with its truth, the host, and the network between them.

    Aliases are new in every birth: a lost NBIRTH may fit the seq by chance, which no host can see;
    data by an alias of after it then shows it.
    """

    def __init__(self):
        self.now_ms = T
        self.aliases = count(1)
        self.numbers = count(1)
        self.bd_seq = None
        self.edge = None
        self.truth = {}  # scope -> value
        self.alias = {}  # scope -> alias
        self.late = []  # (step, message)
        self.step_count = 0
        self.host = HostSession("H", options=OPTIONS)
        self.host_up()
        self.connect()

    # --- host ---
    def host_up(self):
        self.host.will(self.now_ms)
        self.host.connected()
        self.host.birth()

    def host_lost(self, fate):
        self.host.disconnected(self.now_ms)
        self.late.clear()
        if fate != "lose":
            self.now_ms += 50
        self.host_up()

    def hear(self, events, fate):
        for event in events:
            if isinstance(event, CommandToSend) and event.kind == "rebirth" and fate != "lose":
                found = self.edge.on_command(
                    event.message.topic, event.message.payload, retained=False
                )
                assert [command.kind for command in found] == ["rebirth"]
                self.rebirth("give")

    def arrive(self, message, fate="give"):
        events = self.host.on_message(
            message.topic, message.payload, retained=False, now_ms=self.now_ms
        )
        self.hear(events, fate)

    # --- network ---
    def send(self, message, fate):
        if fate == "lose" and "NDEATH" not in message.topic:
            return
        if fate in {"late", "later"}:
            self.late.append((self.step_count + (2 if fate == "late" else 6), message))
            return
        self.arrive(message, fate)
        if fate == "twice":
            self.arrive(message, fate)
        if fate == "again":
            self.late.append((self.step_count + 4, message))

    def step(self):
        self.step_count += 1
        self.now_ms += 10
        due = [one for one in self.late if one[0] <= self.step_count]
        self.late = [one for one in self.late if one[0] > self.step_count]
        for _, message in due:
            self.arrive(message)

    # --- edge node ---
    def connect(self):
        self.bd_seq = next_bd_seq(self.bd_seq)
        self.edge = EdgeNodeSession(*KEY, bd_seq=self.bd_seq)
        self.will = self.edge.will(self.now_ms)
        self.edge.connected()
        self.truth = dict.fromkeys((None, "A"), 0)
        self.rebirth("give")

    def crash(self, fate):
        will = self.will
        self.edge.disconnected()
        if fate == "late":  # the Will comes after the next birth
            self.late.append((self.step_count + 2, will))
        else:
            self.send(will, fate)
        self.now_ms += 5
        self.connect()

    def described(self, scope):
        self.alias[scope] = next(self.aliases)
        metric = BirthMetric(
            name=f"value {scope}",
            alias=self.alias[scope],
            data_type=DataType.INT64,
            value=self.truth[scope],
            time_ms=self.now_ms,
        )
        return DeviceBirth(device_id=scope, metrics=[metric])

    def rebirth(self, fate):
        self.now_ms += 1
        node = self.described(None)
        devices = [self.described(scope) for scope in self.truth if scope is not None]
        for message in list(self.edge.birth(node, devices, self.now_ms)):
            self.send(message, fate if "NBIRTH" in message.topic else "give")

    def data(self, scope, fate):
        if scope not in self.truth:
            return
        self.truth[scope] = value = next(self.numbers)
        column = MetricColumn(
            DataType.INT64,
            np.array([self.alias[scope]], np.uint64),
            np.array([self.now_ms]),
            np.array([value]),
        )
        message = self.edge.data(scope, encode_metrics(column).body, self.now_ms)
        self.send(message, fate)

    def switch(self, scope, fate):
        if scope in self.truth:
            del self.truth[scope]
            self.send(self.edge.device_death(scope, self.now_ms), fate)
        else:
            self.truth[scope] = next(self.numbers)
            self.send(self.edge.device_birth(self.described(scope), self.now_ms), fate)

    # --- the end ---
    def settle(self):
        while self.late:
            self.step()
        for _ in range(40):
            self.now_ms += 100
            self.hear(self.host.on_timer(self.now_ms), "give")
            self.data(None, "give")

    def view(self):
        node = self.host.nodes[KEY]
        scopes = {None: node.scope, **node.devices}
        return {
            key: scope.metrics[f"value {key}"].value
            for key, scope in scopes.items()
            if scope.is_online
        }


FATES = st.sampled_from(["give", "give", "give", "lose", "twice", "again", "late", "later"])
ACTIONS = st.one_of(
    st.tuples(st.just("data"), st.sampled_from([None, *DEVICES]), FATES),
    st.tuples(st.just("switch"), st.sampled_from(DEVICES), FATES),
    st.tuples(st.sampled_from(["rebirth", "crash", "host_lost", "timer"]), FATES),
)


def act(world, action):
    kind, *rest = action
    if kind == "timer":
        world.now_ms += 150
        world.hear(world.host.on_timer(world.now_ms), rest[0])
    else:
        getattr(world, kind)(*rest)
    world.step()


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_the_hosts_view_equals_the_edge_nodes_once_the_faults_stop(actions):
    world = World()
    for action in actions:
        act(world, action)
    world.settle()
    assert world.view() == world.truth
    assert world.host.nodes[KEY].bd_seq == world.bd_seq
    assert world.host.due_ms is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([None, "A"]), min_size=1, max_size=60), st.randoms())
def test_mere_reordering_within_the_window_asks_for_nothing(scopes, random):
    world = World()
    sent = []
    world.send = lambda message, _: sent.append(message)
    for scope in scopes:
        world.data(scope, "give")
    for first in range(0, len(sent), OPTIONS.reorder_messages_max):
        window = sent[first : first + OPTIONS.reorder_messages_max]
        random.shuffle(window)
        for message in window:
            world.arrive(message, "lose")
    assert world.view() == world.truth
    assert world.host.drops == {}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["NBIRTH/N", "NDEATH/N", "NDATA/N", "DBIRTH/N/A", "DDATA/N/A", "x"]),
            st.binary(max_size=30),
        ),
        max_size=20,
    )
)
def test_no_bytes_make_the_host_raise(messages):
    world = World()
    for rest, payload in messages:
        world.host.on_message(f"spBv1.0/G/{rest}", payload, retained=False, now_ms=world.now_ms)
        world.host.on_timer(world.now_ms)
