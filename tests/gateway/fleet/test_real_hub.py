"""Enrolment against ``python -m central`` as a process of its own."""

import subprocess
import sys

import httpx
import pytest

from gateway.errors import EnrolError
from gateway.fleet.enrol import enrol
from gateway.fleet.membership import load_membership
from runtime.tls import client_context

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Run a hub; give its data directory."""
    directory = tmp_path_factory.mktemp("central")
    command = [sys.executable, "-m", "central", "run", "--data-dir", str(directory)]
    with subprocess.Popen(
        [*command, "--http", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("hub listening on "):
                break
        yield directory
        process.terminate()
        process.stdout.read()


def new_code(hub):
    command = [sys.executable, "-m", "central", "enrol-code", "--data-dir", str(hub)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


async def test_a_code_of_the_hub_makes_this_box_a_member_once(hub, tmp_path):
    code = new_code(hub)
    member = await enrol(code, tmp_path, "press-shop-1", "Sheffield")
    assert load_membership(tmp_path) == member
    context = client_context(member.ca_pem, member.certificate_path, member.key_path)
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        answer = await client.get(
            f"{member.uplink_url}/api/uplink/state", params={"epoch": "0" * 32}
        )
    assert answer.status_code == 200
    assert answer.json()["contiguous_to"] == 0
    with pytest.raises(EnrolError, match="the hub refused") as caught:
        await enrol(code, tmp_path, "press-shop-2")
    assert caught.value.code.startswith("fleet.")
    assert load_membership(tmp_path) == member
