"""PyPI's `agentruntimecontrolprotocol`, as it is, with the binary as its child: over standard input and output."""

import asyncio
import os
import pathlib
import shutil
import tempfile
import unittest

from arcp import StdioTransport

from gateway import FRAME_BYTES_MAX, LIMIT_S, TOML, client_of


class Stdio(unittest.IsolatedAsyncioTestCase):
    async def test_jobs_over_standard_input_and_output(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-python-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        (folder / "tidegate.toml").write_text(TOML)
        command = [os.environ["TIDEGATE_BIN"], "arcp", "--stdio"]
        command += ["--data-dir", str(folder / "data"), "--config", str(folder / "tidegate.toml")]
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        child = await asyncio.create_subprocess_exec(*command, **pipes, limit=FRAME_BYTES_MAX)
        try:
            client = client_of("ann")
            await client.connect(await StdioTransport.from_process_pipes(child))
            for value in {"a": 1}, "x" * 400_000:
                handle = await client.submit(agent="echo", input=value)
                self.assertEqual((await asyncio.wait_for(handle.done, LIMIT_S)).result, value)
            handle = await client.submit(agent="stream", input={"chunks": 3, "bytes": 700 << 10, "encoding": "base64"})
            whole = await asyncio.wait_for(handle.collect_chunks(), LIMIT_S)
            self.assertEqual(len(whole), 3 * (700 << 10))
            await client.close()
            self.assertEqual(await asyncio.wait_for(child.wait(), LIMIT_S), 0)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
