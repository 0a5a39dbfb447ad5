"""Both forms of the client, behind one interface, so that each test is written once."""

import asyncio
import unittest

import tritonclient.http
import tritonclient.http.aio

ADDRESS = None
SMALL = False
TIMEOUT_SECONDS = 120.0


class AioClient:
    """The asyncio client, with every call run to its end."""

    def __init__(self, address):
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(self._connect(address))

    @staticmethod
    async def _connect(address):
        return tritonclient.http.aio.InferenceServerClient(address, conn_timeout=TIMEOUT_SECONDS)

    def __getattr__(self, name):
        call = getattr(self._client, name)
        if not asyncio.iscoroutinefunction(call):
            return call
        return lambda *args, **kwargs: self._loop.run_until_complete(call(*args, **kwargs))

    def run(self, make_coroutine):
        """Runs a coroutine that is made of the asyncio client."""
        return self._loop.run_until_complete(make_coroutine(self._client))

    def close(self):
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


class SyncCase(unittest.TestCase):
    def setUp(self):
        self.client = tritonclient.http.InferenceServerClient(
            ADDRESS, network_timeout=TIMEOUT_SECONDS, concurrency=4
        )
        self.addCleanup(self.client.close)


class AioCase(unittest.TestCase):
    def setUp(self):
        self.client = AioClient(ADDRESS)
        self.addCleanup(self.client.close)
