import pytest


@pytest.fixture(scope="session")
def anyio_backend():
    """uvicorn and asyncua run on asyncio."""
    return "asyncio"
