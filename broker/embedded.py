"""A broker inside the calling process, for tests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType

from broker.faults import Faults
from broker.server import DEFAULT_PULL_WAIT_S, Server
from broker.subscription import SubscriptionStats


class EmbeddedBroker:
    """Serves from a background thread while the `with` block runs; all state is gone at its end.

        with EmbeddedBroker() as broker:
            monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.address)
            broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=3)

    `faults` and `stats` may be used from any thread. Entering raises OSError if the address cannot be bound.

    Args:
        host: The address to bind.
        port: For gRPC; 0 takes any free port.
        rest_port: For REST; 0 takes any free port.
        clock: Seconds since the epoch, for publish times, ack deadlines and retention; a test that has its
            own need not wait for one to pass.
        pull_wait_s: How many seconds a Pull on an empty subscription waits.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rest_port: int = 0,
        clock: Callable[[], float] = time.time,
        pull_wait_s: float = DEFAULT_PULL_WAIT_S,
    ) -> None:
        self._server = Server(host, port, rest_port=rest_port, clock=clock, pull_wait_s=pull_wait_s)
        self.faults: Faults = self._server.faults

    @property
    def address(self) -> str:
        """`HOST:PORT`, as PUBSUB_EMULATOR_HOST takes it."""
        return self._server.address

    @property
    def rest_url(self) -> str:
        """`http://HOST:PORT` of the REST API."""
        return self._server.rest_url

    def stats(self, subscription: str) -> SubscriptionStats:
        """Return what a subscription (`projects/…/subscriptions/…`) holds now.

        Raises:
            broker.errors.NotFoundError: There is no such subscription.
            broker.errors.InvalidArgumentError: The name is malformed.
        """

        async def read() -> SubscriptionStats:
            return self._server.state.subscription(subscription).stats()

        return asyncio.run_coroutine_threadsafe(read(), self._loop).result()

    def __enter__(self) -> EmbeddedBroker:
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="broker", daemon=True)
        self._thread.start()
        started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _serve(self, started: Future[None]) -> None:
        asyncio.run(self._run(started))

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            await self._server.start()
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await self._stopping.wait()
        await self._server.stop()
