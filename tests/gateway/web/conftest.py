import pytest

from gateway.auth.service import Auth
from runtime.clock import SystemClock
from tests.gateway.web.made_up_view import MadeUpView


@pytest.fixture
def auth(tmp_path):
    opened = Auth(tmp_path / "gateway.db", SystemClock())
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def view():
    return MadeUpView()
