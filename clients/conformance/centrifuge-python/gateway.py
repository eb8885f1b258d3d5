"""A gateway for the tests, with an application behind it and a line to it that can be cut."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, urlsplit

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

TOML = (pathlib.Path(__file__).parent.parent / "gateway.toml").read_text()
SECRET = b"what the tests sign as Centrifugo does it"
ISSUER_SECRET = b"what the issuer of the tests signs with"
LIMIT_S = 20


def signed(secret, claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    said = b".".join(part(json.dumps(value).encode()) for value in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (said + b"." + part(hmac.digest(secret, said, hashlib.sha256))).decode()


def token(**claims):
    """A token as Centrifugo's applications sign it."""
    return signed(SECRET, claims)


def issuer_token(**claims):
    """A token of the issuer that the configuration names."""
    return signed(ISSUER_SECRET, {"iss": "tests", "exp": seconds_from_now(600), **claims})


def seconds_from_now(seconds):
    return int(time.time()) + seconds


class Application(BaseHTTPRequestHandler):
    """Is asked about events: `echo` says what it was told and by whom, all else is an error."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = {"error": {"code": "no_such_thing", "message": asked["event"]}}
        if asked["event"] == "echo":
            answer = {"data": {"data": asked.get("data"), "user": asked["client"]["user"]}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Gateway:
    """The binary that `TIDEGATE_BIN` names, as a child."""

    def __init__(self):
        self.application = ThreadingHTTPServer(("127.0.0.1", 0), Application)
        threading.Thread(target=self.application.serve_forever, daemon=True).start()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-python-"))
        port = self.application.server_address[1]
        secret = "what the application shares with the tests"
        toml = f'{TOML}\n[application]\nurl = "http://127.0.0.1:{port}/"\nsecret = "{secret}"\n'
        (self.folder / "tidegate.toml").write_text(toml)
        command = [os.environ["TIDEGATE_BIN"], "serve", "--listen", "127.0.0.1:0"]
        command += ["--data-dir", str(self.folder / "data"), "--config", str(self.folder / "tidegate.toml")]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.child.stdout.readline()
        if not line.startswith("listening on "):
            self.stop()
            raise AssertionError(f"first line: {line!r}")
        self.url = line.removeprefix("listening on ").strip()
        # What it says later must not fill the pipe.
        threading.Thread(target=self.child.stdout.read, daemon=True).start()

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.application.shutdown()
        self.application.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def post(self, path, body):
        headers = {"X-API-Key": "k", "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        return await asyncio.to_thread(answer, request)

    async def get(self, path):
        return await asyncio.to_thread(answer, urllib.request.Request(self.url + path, headers={"X-API-Key": "k"}))

    async def publish(self, topic, data):
        """What a server publishes."""
        return await self.post(f"/v1/topics/{quote(topic, safe='')}/publish", {"data": data})


def answer(request):
    with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
        return json.load(response)


class Line:
    """A way to a gateway. While it `is_down`, nobody gets through."""

    @classmethod
    async def to(cls, gateway):
        self = cls()
        self.target = urlsplit(gateway.url)
        self.is_down = False
        self.writers = set()
        self.server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def carry(self, reader, writer):
        if self.is_down:
            return writer.transport.abort()
        far_reader, far_writer = await asyncio.open_connection(self.target.hostname, self.target.port)
        self.writers |= {writer, far_writer}
        await asyncio.gather(self.pass_on(reader, far_writer), self.pass_on(far_reader, writer))

    async def pass_on(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()
        self.writers.discard(writer)

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()

    def stop(self):
        self.server.close()
        self.cut()


class Told(ClientEventHandler, SubscriptionEventHandler):
    """All that a client or a subscription is told, by name, and waiting for more of it."""

    def __init__(self):
        self.all = {}
        self.changed = asyncio.Event()

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        async def note(context):
            self.all.setdefault(name.removeprefix("on_"), []).append(context)
            self.changed.set()

        return note

    def of(self, name):
        return self.all.get(name, [])

    async def count(self, name, wanted):
        """Waits until so many of them were told, and says which."""

        async def wait():
            while len(self.of(name)) < wanted:
                self.changed.clear()
                await self.changed.wait()

        try:
            await asyncio.wait_for(wait(), LIMIT_S)
        except asyncio.TimeoutError:
            raise AssertionError(f"{len(self.of(name))} of {wanted} {name}: {self.all}") from None
        return self.of(name)


def client_of(way, is_protobuf=False, **options):
    """A client by this way in, not yet connected, and what it is told."""
    told = Told()
    options = {"token": token(sub="ann"), "min_reconnect_delay": 0.01, "max_reconnect_delay": 0.1, **options}
    url = way.url.replace("http", "ws", 1) + "/connection/websocket"
    return Client(url, told, use_protobuf=is_protobuf, proxy=None, **options), told
