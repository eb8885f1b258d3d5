"""A gateway for the tests, clients of it, and all that these are told."""

import asyncio
import json
import logging
import pathlib
import re
import unittest

from arcp import ARCPError, ClientInfo, Envelope, SessionResume, WebSocketTransport
from arcp.client import ARCPClient
from ulid import ULID

from child import Child, Line, seconds_from_now, signed

HERE = pathlib.Path(__file__).parent
TOML = (HERE / "gateway.toml").read_text().replace("HERE", str(HERE))
SECRET = b"what the issuer of the tests signs with"
LIMIT_S = 20
FRAME_BYTES_MAX = 1 << 20
NUMBERED = ("job.event", "job.result", "job.error")
MAY_BE_NULL = ("next_cursor", "parent_job_id")

# Most tests leave jobs without waiting for their end, which asyncio would tell at length.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def token(user):
    return signed(SECRET, {"iss": "tests", "sub": user, "exp": seconds_from_now(600)})


class Gateway(Child):
    def __init__(self):
        super().__init__(TOML)


class Tape(WebSocketTransport):
    """A transport that keeps what it receives."""

    def __init__(self, connection):
        super().__init__(connection)
        self.connection = connection
        self.frames = []
        self.changed = asyncio.Event()
        self.after = 0

    async def recv(self):
        try:
            frame = await super().recv()
        finally:
            self.changed.set()
        self.frames.append(frame)
        # The client drops events of a job that `subscribe` returns later than they come: let that go first.
        await asyncio.sleep(0)
        return frame

    def of(self, *types, **fields):
        """The frames of these types, with these fields in them or their payload."""

        def has(frame, name, value):
            return value in (frame.get(name), frame["payload"].get(name))

        frames = [frame for frame in self.frames if frame["type"] in types]
        return [frame for frame in frames if all(has(frame, name, value) for name, value in fields.items())]

    async def count(self, wanted, *types, **fields):
        """Waits until so many of them were received."""

        async def wait():
            while len(self.of(*types, **fields)) < wanted and not self.is_closed:
                self.changed.clear()
                await self.changed.wait()

        try:
            await asyncio.wait_for(wait(), LIMIT_S)
        finally:
            frames = self.of(*types, **fields)
            if len(frames) < wanted:
                seen = [(frame["type"], str(frame["payload"])[:200]) for frame in self.frames[-10:]]
                raise AssertionError(f"{len(frames)} of {wanted} {types} {fields}; last: {seen}")
        return frames

    async def one(self, *types, **fields):
        return (await self.count(1, *types, **fields))[0]

    async def closed(self):
        """Waits for the end of the connection; its code."""

        async def wait():
            while not self.is_closed:
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), LIMIT_S)
        return self.connection.close_code


class Conformance(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.gateway = Gateway()
        cls.addClassCleanup(cls.gateway.stop)

    async def transport(self, way=None):
        """A connection on which nothing was said."""
        url = (way or self.gateway).url.replace("http", "ws", 1) + "/arcp"
        tape = await Tape.connect(url, proxy=None)
        self.addAsyncCleanup(tape.close)
        self.addCleanup(self.well_formed, tape)
        return tape

    async def connected(self, user="ann", way=None, **options):
        """A client with a session, and its tape."""
        tape = await self.transport(way)
        client = client_of(user, **options)
        await client.connect(tape)
        self.addAsyncCleanup(client.close)
        return client, tape

    async def resumed(self, former, after, user="ann", way=None, shown=None):
        """A client that goes on with the session of another one from an event on; the token is what that was told last."""
        tape = await self.transport(way)
        tape.after = after
        client = client_of(user)
        self.addAsyncCleanup(client.close)
        welcome = former.welcome
        resume = SessionResume(
            session_id=welcome.session_id, resume_token=shown or welcome.resume_token, last_event_seq=after
        )
        await client.resume(tape, resume=resume)
        return client, tape

    async def line(self):
        line = await Line.to(self.gateway)
        self.addCleanup(line.stop)
        return line

    async def done(self, handle):
        return await asyncio.wait_for(handle.done, LIMIT_S)

    async def events(self, handle):
        """All events of a job but pieces of its result, up to its end."""

        async def collect():
            return [event async for event in handle.events()]

        return await asyncio.wait_for(collect(), LIMIT_S)

    async def chunks(self, handle):
        """All pieces of its result."""

        async def collect():
            return [chunk async for chunk in handle.chunks()]

        return await asyncio.wait_for(collect(), LIMIT_S)

    async def refused(self, code, awaited):
        """Awaits something that fails with this code; the error."""
        with self.assertRaises(ARCPError) as raised:
            await asyncio.wait_for(awaited, LIMIT_S)
        self.assertEqual(raised.exception.code, code, raised.exception)
        self.assertTrue(raised.exception.message)
        return raised.exception

    def well_formed(self, tape):
        """What holds for all that any client is told."""
        seq = tape.after
        for frame in tape.frames:
            text = json.dumps(frame)
            self.assertLess(len(text.encode()), FRAME_BYTES_MAX, frame["type"])
            self.assertEqual(frame["arcp"], "1.1")
            if frame["type"] == "job.error" and "job_id" not in frame:
                # A refusal, said once more for libraries that look for it so: under the id of the submit.
                self.assertNotIn("event_seq", frame)
                continue
            self.assertTrue(frame["id"].startswith("msg_"), frame["id"])
            self.assertTrue(frame["session_id"].startswith("sess_"), frame)
            for name in absent(frame):
                self.assertIn(name, MAY_BE_NULL, text[:500])
            if frame["type"].startswith("job."):
                self.assertTrue(frame["job_id"].startswith("job_"), text[:500])
            if frame["type"] in NUMBERED:
                seq += 1
                self.assertEqual(frame["event_seq"], seq, text[:500])
            else:
                self.assertNotIn("event_seq", frame)


def client_of(user, secret=None, **options):
    options = {"handshake_timeout_sec": LIMIT_S, **options}
    return ARCPClient(client=ClientInfo(name="tests", version="1"), token=secret or token(user), **options)


def envelope(client, kind, payload, **fields):
    """A message as the client would send it, were there a function for it."""
    made = Envelope(id=str(ULID()), type=kind, session_id=client.session_id, payload=payload)
    return {**made.to_wire(), **fields}


def absent(value, name=""):
    """The names of fields that are null; those in what agents say are their own."""
    if value is None:
        yield name
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("body", "result", "output", "details"):
                yield from absent(inner, key)
    if isinstance(value, list):
        for inner in value:
            yield from absent(inner, name)


def bodies(frames, kind):
    return [frame["payload"]["body"] for frame in frames if frame["payload"].get("kind") == kind]


def is_time(text):
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text) is not None
