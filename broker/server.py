"""One broker listening on one address."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import grpc

from broker.faults import Faults
from broker.service import METHODS, rpc_handlers
from broker.state import BrokerState

DEFAULT_PULL_WAIT_S = 20.0

# Well above Pub/Sub's own 10 MB, so that a request beyond it gets this broker's explanation and not gRPC's.
_MAX_RECEIVE_BYTES = 64 * 1024 * 1024
_EXPIRY_INTERVAL_S = 0.1
_STOP_GRACE_S = 0.2


class Server:
    """A broker that serves gRPC. Create, start and stop it on the same event loop.

    `faults` may be used from any thread.

    Args:
        host: The address to bind.
        port: 0 takes any free port.
        clock: Seconds since the epoch, for publish times and ack deadlines.
        pull_wait_s: How many seconds a Pull on an empty subscription waits.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        clock: Callable[[], float] = time.time,
        pull_wait_s: float = DEFAULT_PULL_WAIT_S,
    ) -> None:
        self._host = host
        self._port = port
        self.faults = Faults(METHODS)
        self.state = BrokerState(clock, self.faults.take_duplicate)
        self._rpc_handlers = rpc_handlers(self.state, self.faults, pull_wait_s)

    @property
    def address(self) -> str:
        """`HOST:PORT`; the port is the real one after `start`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            OSError: The address cannot be bound.
        """
        _check_can_bind(self._host, self._port)
        self._grpc_server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
                ("grpc.max_send_message_length", -1),
                # Else two brokers started at the same moment could share the port, each with half the calls.
                ("grpc.so_reuseport", 0),
                # The client library pings an idle stream every 30 s; by default gRPC cuts such a client off.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        self._grpc_server.add_generic_rpc_handlers(self._rpc_handlers)
        self._port = self._grpc_server.add_insecure_port(self.address)
        await self._grpc_server.start()
        self._expiry = asyncio.create_task(self._expire_leases())

    async def stop(self) -> None:
        """Stop listening, let short calls finish and cut off the rest; the state goes with this object."""
        self._expiry.cancel()
        await self._grpc_server.stop(_STOP_GRACE_S)

    async def _expire_leases(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_INTERVAL_S)
            self.state.expire_leases()


def _check_can_bind(host: str, port: int) -> None:
    """Bind and let go: gRPC reports a failure as several lines of log and an error without its cause."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
