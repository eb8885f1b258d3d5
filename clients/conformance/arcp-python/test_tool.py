"""The program `arcp`, which PyPI's `agentruntimecontrolprotocol` brings, as it is, against a gateway."""

import asyncio
import json
import sys

from gateway import LIMIT_S, Conformance, token


class Tool(Conformance):
    async def run_tool(self, *arguments):
        """What it prints, and its exit code."""
        url = self.gateway.url.replace("http", "ws", 1) + "/arcp"
        program = [sys.executable, "-m", "arcp", arguments[0], "--url", url, "--token", token("ann"), *arguments[1:]]
        child = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
        try:
            output, _ = await asyncio.wait_for(child.communicate(), LIMIT_S)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return output.decode(), child.returncode

    async def test_it_submits_and_waits(self):
        lease = json.dumps({"net.fetch": ["https://*"]})
        output, code = await self.run_tool("submit", "--agent", "echo", "--input", '{"a": [1]}', "--lease", lease)
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(output)["result"], {"a": [1]})

    async def test_it_follows_a_job(self):
        client, tape = await self.connected()
        handle = await client.submit(agent="count", input={"to": 200, "every_ms": 20})
        await tape.count(5, "job.event")
        output, code = await self.run_tool("tail", "--job-id", handle.job_id)
        self.assertEqual(code, 0)
        *events, result = map(json.loads, output.splitlines())
        self.assertEqual(events[-1]["body"], {"current": 200, "total": 200})
        self.assertEqual(result["result"], {"counted": 200})
