from collections.abc import AsyncIterator

import pytest

from reconnect_channels.testing import closed_hub


@pytest.fixture(autouse=True)
async def hub() -> AsyncIterator[None]:
    async with closed_hub():
        yield
