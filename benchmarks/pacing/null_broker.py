"""`python -m benchmarks.pacing.null_broker`: a Publish that acknowledges, and does nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from broker.testing import BrokerProcess

_SAYS = "null broker listening on "


async def _acknowledge(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return b""


async def _serve() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handler = grpc.unary_unary_rpc_method_handler(_acknowledge)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"{_SAYS}127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


@contextmanager
def null_broker() -> Iterator[BrokerProcess]:
    """Run it on a free port, and stop it at the end.

    Raises:
        RuntimeError: It ended instead of listening.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.pacing.null_broker"],
        env=os.environ,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None  # for mypy: it is a pipe
    try:
        line = process.stdout.readline()
        if not line.startswith(_SAYS):
            raise RuntimeError(f"the null broker ended at once with exit code {process.wait()}")
        yield BrokerProcess("null", line.removeprefix(_SAYS).strip(), process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(_serve())
