"""A receiver on a real socket that does what a test tells it to, good or bad."""

import asyncio
import dataclasses
import socket
import struct
import threading
import time

from .port import reserved
from .waiting import PATIENCE, wait_until


# As /proc/net/tcp writes it.
ESTABLISHED = "01"


@dataclasses.dataclass
class Request:
    """One request, as it arrived."""

    time: float
    path: str
    headers: dict
    body: bytes
    connection: int
    answered: int | None = None

    @property
    def id(self):
        return self.headers.get("webhook-id")


# Behaviours: what to do with a request that has been read. Each returns the status it sent completely,
# or None; a behaviour that ends the connection raises Hangup.


class Hangup(Exception):
    """Close the connection."""


def reply(status=200, body=b"ok", headers=None, close=False):
    """Answer at once."""
    async def behave(connection):
        await connection.send(head(status, {"content-length": len(body), **(headers or {})}) + body)
        if close:
            raise Hangup
        return status
    return behave


def checked(genuine, status=200, otherwise=401):
    """Answer `status` where `genuine(request)` holds, as a receiver that verifies does."""
    async def behave(connection):
        accepted = genuine(connection.request)
        return await reply(status if accepted else otherwise)(connection)
    return behave


def once(event, then):
    """Wait for a threading.Event, then behave as told."""
    async def behave(connection):
        while not event.is_set():
            await asyncio.sleep(0.01)
        return await then(connection)
    return behave


def after(seconds, then):
    """Wait, then behave as told."""
    async def behave(connection):
        await asyncio.sleep(seconds)
        return await then(connection)
    return behave


def hang():
    """Never answer, and keep the connection."""
    async def behave(connection):
        await connection.until_closed()
    return behave


def close():
    """End the connection without an answer."""
    async def behave(connection):
        raise Hangup
    return behave


def reset():
    """End the connection with RST."""
    async def behave(connection):
        connection.reset()
        raise Hangup
    return behave


def raw(data, keep=False):
    """Send bytes as they are, then close."""
    async def behave(connection):
        await connection.send(data)
        if not keep:
            raise Hangup
        await connection.until_closed()
    return behave


def drip(data, interval=0.9, first=b""):
    """Send `first` at once, then one byte now and then, and never close."""
    async def behave(connection):
        await connection.send(first)
        for byte in data:
            await connection.send(bytes([byte]))
            await asyncio.sleep(interval)
        await connection.until_closed()
    return behave


def endless(first, chunk):
    """Send `first`, then `chunk` again and again as fast as the peer reads."""
    async def behave(connection):
        await connection.send(first)
        while True:
            await connection.send(chunk)
            await asyncio.sleep(0)  # drain() alone need not let others run
    return behave


def head(status, headers):
    lines = [f"HTTP/1.1 {status} X"] + [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Connection:
    def __init__(self, number, reader, writer):
        self.number = number
        self.reader = reader
        self.writer = writer
        self.request = None

    async def read_request(self):
        first = await self.reader.read(1)
        if not first:
            return None
        if not first.isupper():
            # No method begins so. What it is instead, a ClientHello perhaps, need not have an end of line.
            await self.send(head(400, {"content-length": 0, "connection": "close"}))
            raise Hangup
        first += await self.reader.readline()
        path = first.split()[1].decode()
        headers = {}
        while (line := await self.reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Request(time.time(), path, headers, body, self.number)

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def until_closed(self):
        await self.reader.read()
        raise Hangup

    def reset(self):
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Receiver:
    """Listens on loopback; behaves per path as told, by default with 200."""

    def __init__(self, tls=None, host="127.0.0.1", bytes_per_second=None, port=0):
        self.host = host
        self._rate = bytes_per_second
        self._reserved = reserved(host, port)
        self.port = self._reserved.getsockname()[1]
        self.requests = []
        self.connections = 0
        #: Requests that have been read and not answered: now, and at most.
        self.under_way = self.most_under_way = 0
        self._gate = asyncio.Event()
        self._gate.set()
        self._tls = tls
        self._scripts = {}
        self._default = reply()
        self._open = set()
        self._server = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.up()

    def url(self, path="/"):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def on(self, path, *behaviours):
        """Behave in turn as told for requests to `path`; the last one stays."""
        self._scripts[path] = list(behaviours)

    def default(self, behaviour):
        self._default = behaviour

    def hold(self):
        """Answer nothing from now on, whatever the behaviour."""
        self._loop.call_soon_threadsafe(self._gate.clear)

    def release(self):
        """Behave as told again, also for what has been held."""
        self._loop.call_soon_threadsafe(self._gate.set)

    def up(self):
        """Listen, always on the same port."""
        self._call(self._listen())

    def down(self):
        """Refuse connections and cut those there are."""
        self._call(self._unlisten())

    def close(self):
        self.down()
        self._reserved.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def got(self, path=None):
        """The requests so far, to `path` or to any."""
        # Through the loop, so that an answer that the client has seen is on record here too.
        requests = self._call(self._so_far())
        return [r for r in requests if path is None or r.path == path]

    def wait(self, count, path=None, timeout=PATIENCE):
        """Wait for at least `count` requests and return them."""
        wait_until(
            lambda: len(self.got(path)) >= count,
            f"{count} requests to {path or 'any path'}", timeout,
        )
        return self.got(path)

    def wait_closed(self):
        """Wait until no connection is open any more."""
        wait_until(lambda: not self._open, "all connections closed")
        # A socket is closed a turn of the loop after its connection is.
        self._call(self._so_far())
        # A machine that is busy brings the end to the other side later, also where that is the same machine.
        wait_until(lambda: not self._held_by_peers(), "the other sides to know")

    def _held_by_peers(self):
        """Sockets of others that are connected to this one, as far as they know."""
        table = "/proc/net/tcp6" if ":" in self.host else "/proc/net/tcp"
        with open(table) as file:
            sockets = [line.split() for line in file.readlines()[1:]]
        return [s for s in sockets if s[2].endswith(f":{self.port:04X}") and s[3] == ESTABLISHED]

    async def _so_far(self):
        return list(self.requests)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self):
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, ssl=self._tls, backlog=1024, limit=2**22,
            reuse_address=True,
        )

    async def _unlisten(self):
        if self._server:
            self._server.close()
            # Also those that are being accepted, which become a task of ours a few turns of the loop later.
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                for writer in list(self._open):
                    writer.transport.abort()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            self._server = None

    def _accept(self, reader, writer):
        self.connections += 1
        self._open.add(writer)
        serving = self._loop.create_task(self._serve(Connection(self.connections, reader, writer)))
        # Cut before its first step it has nothing of its own to do at the end.
        serving.add_done_callback(lambda _: (self._open.discard(writer), writer.close()))

    async def _serve(self, connection):
        reader = connection.reader
        try:
            while self._rate:
                # No more than this is taken from the socket, so the sender's window closes.
                reader._limit = self._rate
                if not await reader.read(self._rate):
                    raise Hangup
                await asyncio.sleep(1)
            while (request := await connection.read_request()) is not None:
                connection.request = request
                self.requests.append(request)
                script = self._scripts.get(request.path)
                if script:
                    behaviour = script.pop(0) if len(script) > 1 else script[0]
                else:
                    behaviour = self._default
                request.answered = await self._behave(behaviour, connection)
        except (Hangup, ConnectionError, asyncio.IncompleteReadError, ValueError, IndexError):
            pass
        except asyncio.CancelledError:
            pass  # the receiver is closing

    async def _behave(self, behaviour, connection):
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self._gate.wait()
            return await behaviour(connection)
        finally:
            # An answer is sent without giving way to others, so nobody who has it counts as under way.
            self.under_way -= 1
