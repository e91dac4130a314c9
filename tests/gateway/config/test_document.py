import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.config import GatewayConfig
from contract.config_check import check_config
from contract.errors import ConfigError
from gateway.config.document import (
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    load_document,
    parse_config,
    read_document_file,
)
from tests.contract.documents import GOOD

REPOSITORY = Path(__file__).parents[3]
CODE = re.compile(r'["`](config\.[a-z0-9_]+)["`]')
ISSUE_YAML = b"""
gateway: {id: press-shop-1, site: Sheffield}
sparkplug: {group: Plant1, node: PressShop1, broker: {url: "mqtt://127.0.0.1:1883", username: null,
  password: null}, primary_host: null}
journal: {commit_interval_ms: 200, max_bytes: 2_000_000_000, retention_hours: 72}
hub: {enabled: true}
sources:
  - name: line1
    kind: opcua
    endpoint: "opc.tcp://127.0.0.1:4840"
    security: {policy: "None", mode: "None", allow_insecure: true}
    groups: [{name: fast, sampling_interval_ms: 100, publishing_interval_ms: 100, queue_size: 10}]
    tags:
      - {name: "Press/Temperature", node: "nsu=urn:example:plant;s=Press.Temperature", group: fast,
         device: Press, deadband: {absolute: 0.1}, scale: {gain: 1.0, offset: 0.0}}
    rules:
      - {below: "nsu=urn:example:plant;s=Load", group: fast, device: Load}
"""


def fault_of(data):
    with pytest.raises(ConfigError) as caught:
        load_document(data)
    assert len(caught.value.faults) == 1
    return caught.value.faults[0]


def test_the_yaml_of_the_contract_is_read():
    config = parse_config(ISSUE_YAML)
    assert config.journal.max_bytes == 2_000_000_000
    assert config.sources[0].security.policy == "None"


def test_json_and_yaml_of_one_document_are_the_same():
    assert parse_config(json.dumps(GOOD).encode()) == parse_config(
        json.dumps(GOOD, indent=1).replace("{", "{ ").encode()
    )
    assert load_document(json.dumps(GOOD).encode()) == GOOD


@pytest.mark.parametrize("data", [b"", b"# only a comment\n", b"---\n", b"\xef\xbb\xbf{}"])
def test_an_empty_document_is_an_empty_configuration(data):
    assert parse_config(data) == GatewayConfig()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("2026-01-01", "2026-01-01"),
        ("0x1F", "0x1F"),
        ("None", "None"),
        ("2_000", 2000),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("true", True),
        ("~", None),
        ("null", None),
        ("", None),
        (".inf", float("inf")),
        ('"5"', "5"),
        ("'true'", "true"),
        ("!!str 5", "5"),
        ("+", "+"),
        ("9" * 5000, float("inf")),
    ],
)
def test_plain_words_mean_what_they_say(text, value):
    assert load_document(f"a: {text}\n".encode()) == {"a": value}


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        (b"a: &x [1]\nb: 2", "config.alias", "a"),
        (b"a: *x", "config.alias", "a"),
        (b"<<: {a: 1}\nb: !!python/object/apply:os.system [ls]", "config.yaml_tag", "b"),
        (b"a: !env SECRET", "config.yaml_tag", "a"),
        (b"? [1, 2]\n: 3", "config.bad_key", ""),
        (b"a: 1\n---\nb: 2", "config.many_documents", ""),
        (b"a: [1", "config.syntax", ""),
        (b"a:\n\t- 1", "config.syntax", ""),
        (b"\x00", "config.syntax", ""),
        (b"a: \xff", "config.not_utf8", ""),
        (b"a: 1\nb: 2\na: 3", "config.duplicate_key", "a"),
        (b"s: [{n: 1, n: 1}]", "config.duplicate_key", "s[0].n"),
        (b'{"s": [{"n": 1, "n": 1}]}', "config.duplicate_key", "s[0].n"),
        (b'{"a": "\\ud800"}', "config.not_utf8", "a"),
        (b"[" * 5000, "config.too_deep", None),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "config.too_deep", None),
        (b"a: " * 1 + b"- " * 40 + b"1", "config.syntax", ""),
        (b" " * (DOCUMENT_BYTES_MAX + 1), "config.too_large", ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_read_is_one_clear_fault(data, code, path):
    fault = fault_of(data)
    assert fault.code == code
    assert path is None or fault.path == path
    assert fault.message


def test_a_syntax_fault_names_line_and_column():
    assert fault_of(b"a: 1\nb: [1\nc: 2").message.startswith("line 3, column 2")


def test_an_alias_bomb_is_refused_before_it_grows():
    rows = "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 30))
    assert fault_of(f"x0: &x0 lol\n{rows}".encode()).code == "config.alias"


def test_json_nested_to_the_limit_is_read_and_deeper_is_refused():
    assert load_document(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX) is not None
    assert fault_of(b"[" * (DEPTH_MAX + 2) + b"]" * (DEPTH_MAX + 2)).code == "config.too_deep"


def test_a_missing_file_is_a_fault_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_document_file(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="directory"):
        read_document_file(tmp_path)


@given(data=st.binary(max_size=200) | st.text("{}[]:,-&*!'\"#\n aé1", max_size=80).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_plain_values_or_faults(data):
    try:
        parse_config(data)
    except ConfigError as error:
        codes = [fault.code for fault in error.faults]
    else:
        codes = ["config.good"]
    assert codes
    assert all(code.startswith("config.") for code in codes)


plain_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=10)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | plain_texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_texts, inner, max_size=4),
        max_leaves=15,
    ).filter(lambda v: isinstance(v, dict | list))
)
@settings(max_examples=200, deadline=None)
def test_json_is_read_back_as_it_was_written(value):
    assert load_document(json.dumps(value).encode()) == value


def test_the_example_of_the_manual_is_good_and_every_fault_code_is_explained_there():
    manual = (REPOSITORY / "docs" / "configuration.md").read_text("utf-8")
    example = manual.split("```yaml\n")[1].split("```")[0]
    assert parse_config(example.encode()).sources[0].rules[0].device == "Load"
    sources = [*REPOSITORY.glob("contract/config_*.py"), *REPOSITORY.glob("gateway/config/*.py")]
    used = {code for path in sources for code in CODE.findall(path.read_text("utf-8"))}
    assert used - {"config.older_copy_used"} <= set(CODE.findall(manual))


def test_every_key_of_the_document_stands_in_the_manual():
    manual = (REPOSITORY / "docs" / "configuration.md").read_text("utf-8")
    plain = msgspec.to_builtins(check_config(GOOD))
    assert [key for key in sorted(keys_of(plain)) if key not in manual] == []


def keys_of(plain):
    if isinstance(plain, dict):
        return set(plain).union(*map(keys_of, plain.values()))
    return set().union(*map(keys_of, plain)) if isinstance(plain, list) else set()
