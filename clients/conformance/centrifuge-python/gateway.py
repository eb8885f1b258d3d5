"""A gateway for the tests, with an application behind it."""

import asyncio
import json
import pathlib
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

from child import Child, seconds_from_now, signed

TOML = (pathlib.Path(__file__).parent.parent / "gateway.toml").read_text()
SECRET = b"what the tests sign as Centrifugo does it"
ISSUER_SECRET = b"what the issuer of the tests signs with"
LIMIT_S = 20


def token(**claims):
    """A token as Centrifugo's applications sign it."""
    return signed(SECRET, claims)


def issuer_token(**claims):
    """A token of the issuer that the configuration names."""
    return signed(ISSUER_SECRET, {"iss": "tests", "exp": seconds_from_now(600), **claims})


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


class Gateway(Child):
    """A gateway with an application behind it."""

    def __init__(self):
        self.application = ThreadingHTTPServer(("127.0.0.1", 0), Application)
        threading.Thread(target=self.application.serve_forever, daemon=True).start()
        port = self.application.server_address[1]
        secret = "what the application shares with the tests"
        super().__init__(f'{TOML}\n[application]\nurl = "http://127.0.0.1:{port}/"\nsecret = "{secret}"\n')

    def stop(self):
        super().stop()
        self.application.shutdown()
        self.application.server_close()

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
