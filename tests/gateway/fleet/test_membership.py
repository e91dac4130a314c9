import shutil

import pytest

from gateway.errors import EnrolError
from gateway.fleet import membership
from gateway.fleet.membership import (
    MembershipRecord,
    load_membership,
    membership_changed,
    store_membership,
)


def record(gateway_id):
    return MembershipRecord(
        gateway_id=gateway_id,
        uplink_url="https://127.0.0.1:8443",
        name="n",
        site="",
        ca_fingerprint="00",
        enrolled_us=1,
        not_after_us=2,
    )


def store(tmp_path, gateway_id):
    return store_membership(tmp_path, record(gateway_id), gateway_id.encode(), gateway_id, "ca")


def test_a_box_that_never_enrolled_has_no_membership(tmp_path):
    assert load_membership(tmp_path) is None
    assert not membership_changed(tmp_path, None)


def test_a_running_gateway_sees_a_new_membership(tmp_path):
    first = store(tmp_path, "gw-1")
    assert membership_changed(tmp_path, None)
    assert not membership_changed(tmp_path, first)
    second = store(tmp_path, "gw-2")
    assert membership_changed(tmp_path, first)
    assert load_membership(tmp_path) == second
    shutil.rmtree(tmp_path / "hub")
    assert membership_changed(tmp_path, second)


class CutError(Exception):
    """The power goes."""


@pytest.mark.parametrize("step", range(12))
def test_a_cut_at_any_step_leaves_the_old_or_the_new_membership_whole(tmp_path, monkeypatch, step):
    store(tmp_path, "gw-1")
    steps = iter(range(100))

    def cut_at(call):
        def cutting(*values, **named):
            if next(steps) == step:
                raise CutError
            return call(*values, **named)

        return cutting

    monkeypatch.setattr(membership, "write_private", cut_at(membership.write_private))
    monkeypatch.setattr(membership.shutil, "rmtree", cut_at(shutil.rmtree))
    monkeypatch.setattr(membership, "_sync_directory", cut_at(membership._sync_directory))
    path_type = type(tmp_path)
    monkeypatch.setattr(path_type, "rename", cut_at(path_type.rename))
    cut = False
    try:
        store(tmp_path, "gw-2")
    except CutError:
        cut = True
    monkeypatch.undo()
    found = load_membership(tmp_path)
    assert found is not None
    assert found.gateway_id in ({"gw-1", "gw-2"} if cut else {"gw-2"})
    assert found.key_path.read_text() == found.certificate_path.read_text() == found.gateway_id
    assert store(tmp_path, "gw-3").gateway_id == "gw-3"
    assert {path.name for path in tmp_path.iterdir()} == {"hub"}


@pytest.mark.parametrize("name", ["membership.json", "key.pem", "ca.pem", "certificate.pem"])
def test_a_membership_with_a_missing_file_says_how_to_mend_it(tmp_path, name):
    store(tmp_path, "gw-1")
    (tmp_path / "hub" / name).unlink()
    with pytest.raises(EnrolError, match="enrol again"):
        load_membership(tmp_path)


def test_a_damaged_membership_says_how_to_mend_it(tmp_path):
    store(tmp_path, "gw-1")
    (tmp_path / "hub" / "membership.json").write_text("{")
    with pytest.raises(EnrolError, match="enrol again"):
        load_membership(tmp_path)
