import pytest


@pytest.fixture(scope="session")
def anyio_backend():
    """asyncua and the harness's processes run on asyncio."""
    return "asyncio"
