"""The routes that look into a source: what they pass on, and how they refuse."""

import pytest

from contract.config import GatewayConfig, GroupConfig, OpcUaSourceConfig, TagConfig
from gateway.sources.base import PendingChanges
from gateway.sources.explore import ExploreError, NodePage, NodeView, PeekValue
from tests.gateway.web.serving import be_signed_in, browser, serving

NODE = NodeView(node="nsu=urn:p;s=a", name="a", display_name="a", kind="object")
PENDING = PendingChanges(
    id="x1", new_count=1, gone_count=0, renamed_count=0, new=["b"], gone=[], renamed=[]
)


class KnownTree:
    """An explorer over one node; refuses what its tests say."""

    def __init__(self):
        self.asked = []
        self.error = None

    def _answer(self, *question):
        self.asked.append(question)
        if self.error is not None:
            raise self.error

    async def browse(self, node, continuation, limit):
        self._answer("browse", node, continuation, limit)
        return NodePage(nodes=[NODE], continuation="more", live=True)

    async def search(self, node, text, continuation, limit):
        self._answer("search", node, text, continuation, limit)
        return NodePage(nodes=[NODE], complete=False, reason="it goes on", looked_at=9)

    async def peek(self, nodes):
        self._answer("peek", *nodes)
        return [
            PeekValue(node=n, value=1.5, type="Double", status=0, status_name="Good",
                      source_time_us=1, server_time_us=None)
            for n in nodes
        ]  # fmt: skip

    async def unknown(self, nodes):
        self._answer("unknown", *nodes)
        return {n: "no such node" for n in nodes if n.endswith("=b")}

    def pending(self):
        return PENDING

    async def selected(self):
        return [TagConfig(node=f"nsu=urn:p;s={n}", group="g", name=n) for n in ("a", "found")]

    async def apply(self, changes_id):
        self._answer("apply", changes_id)
        return PENDING


@pytest.fixture
def tree(view, monkeypatch):
    tree = KnownTree()
    view.explorers["line1"] = tree
    source = OpcUaSourceConfig(
        name="line1",
        endpoint="opc.tcp://127.0.0.1:4840",
        groups=[GroupConfig(name="g")],
        tags=[TagConfig(node="nsu=urn:p;s=a", group="g", name="=A1")],
    )
    monkeypatch.setattr(view, "config", lambda: GatewayConfig(sources=[source]))
    return tree


@pytest.fixture
async def client(view, auth, tree):  # noqa: ARG001 - the view has the tree then
    async with serving(view, auth) as url, browser(url) as client:
        await be_signed_in(client, auth)
        yield client


async def test_questions_are_passed_on_and_answered(client, tree):
    base = "/api/sources/line1"
    page = (await client.get(f"{base}/browse", params={"node": NODE.node, "limit": 7})).json()
    assert (page["nodes"][0]["name"], page["continuation"]) == ("a", "more")
    found = (await client.get(f"{base}/search", params={"text": "a"})).json()
    assert (found["complete"], found["looked_at"]) == (False, 9)
    values = (await client.post(f"{base}/peek", json={"nodes": [NODE.node]})).json()["values"]
    assert values[0]["value"] == 1.5
    assert (await client.get(f"{base}/changes")).json()["pending"]["new"] == ["b"]
    applied = await client.post(f"{base}/changes/apply", json={"id": "x1"})
    assert applied.json()["pending"]["id"] == "x1"
    assert tree.asked == [
        ("browse", NODE.node, "", 7),
        ("search", "", "a", "", 50),
        ("peek", NODE.node),
        ("apply", "x1"),
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("source.busy", 503),
        ("source.unreachable", 503),
        ("browse.node_unknown", 404),
        ("browse.continuation_expired", 410),
        ("changes.other", 409),
    ],
)
async def test_a_refusal_has_its_status_its_code_and_its_remedy(client, tree, code, status):
    tree.error = ExploreError(code, "why", "what to do")
    answer = await client.post("/api/sources/line1/changes/apply", json={"id": "x"})
    assert answer.status_code == status
    assert answer.json() | {"faults": []} == {
        "code": code, "message": "why", "remedy": "what to do", "faults": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "browse?limit=0", None),
        ("GET", "browse?limit=501", None),
        ("GET", "search", None),
        ("GET", "search?text=", None),
        ("POST", "peek", {"nodes": ["x"] * 201}),
        ("POST", "peek", {"nodes": [""]}),
        ("POST", "peek", {"node": "x"}),
        ("POST", "changes/apply", {}),
    ],
)
async def test_what_is_out_of_range_is_refused_before_the_server_is_asked(
    client, tree, method, path, body
):
    answer = await client.request(method, f"/api/sources/line1/{path}", json=body)
    assert answer.status_code == 400
    assert tree.asked == []


async def test_a_source_that_does_not_run_is_not_found(client):
    for path in ("browse", "selection.csv"):
        answer = await client.get(f"/api/sources/other/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "source.unknown")


async def test_tags_go_out_as_csv_and_an_import_is_checked_against_the_server(client, tree):
    path = "/api/sources/line1/selection.csv"
    out = await client.get(path)
    assert out.headers["content-type"] == "text/csv; charset=utf-8"
    assert "'=A1" in out.text
    found = await client.get(path, params={"found": "true"})
    assert [line.split(",")[2] for line in found.text.split()] == ["name", "'=A1", "found"]
    back = (await client.post(path, content=out.content)).json()
    assert (back["ok"], back["unchanged"], back["nodes_checked"]) == (True, 1, True)
    assert back["document"] == ""  # a dry run is the default
    wanted = "node,group\nnsu=urn:p;s=a,g\nnsu=urn:p;s=b,g\n"
    bad = (await client.post(path, content=wanted, params={"dry_run": "false"})).json()
    assert (bad["ok"], bad["document"]) == (False, "")
    assert [(f["line"], f["code"]) for f in bad["faults"]] == [(3, "csv.unknown_node")]
    tree.error = ExploreError("source.unreachable", "down")
    done = (await client.post(path, content=wanted, params={"dry_run": "false"})).json()
    assert (done["ok"], done["nodes_checked"]) == (True, False)
    assert done["document"].startswith("tags:\n  - {")
