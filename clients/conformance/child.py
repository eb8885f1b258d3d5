"""The binary that `TIDEGATE_BIN` names as a child, tokens for it, and lines to it that can be cut."""

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
from urllib.parse import urlsplit


def signed(secret, claims):
    """A token, signed with HS256."""

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    said = b".".join(part(json.dumps(value).encode()) for value in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (said + b"." + part(hmac.digest(secret, said, hashlib.sha256))).decode()


def seconds_from_now(seconds):
    return int(time.time()) + seconds


class Child:
    """A gateway of this configuration, with a folder of its own."""

    def __init__(self, toml):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-python-"))
        (self.folder / "tidegate.toml").write_text(toml)
        self.start()

    def start(self):
        command = [os.environ["TIDEGATE_BIN"], "serve", "--listen", "127.0.0.1:0"]
        command += ["--data-dir", str(self.folder / "data"), "--config", str(self.folder / "tidegate.toml")]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.child.stdout.readline()
        # What it says later must not fill the pipe.
        self.reader = threading.Thread(target=self.child.stdout.read, daemon=True)
        self.reader.start()
        if not line.startswith("listening on "):
            self.stop()
            raise AssertionError(f"first line: {line!r}")
        self.url = line.removeprefix("listening on ").strip()

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.reader.join()
        self.child.stdout.close()

    def stop(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


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
