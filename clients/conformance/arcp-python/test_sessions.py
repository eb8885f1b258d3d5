"""PyPI's `agentruntimecontrolprotocol`, as it is, against a gateway: sessions."""

import asyncio
import re

from arcp import V1_1_FEATURES, WebSocketTransport

from gateway import LIMIT_S, Conformance, client_of, envelope, is_time, token


class Sessions(Conformance):
    async def test_a_session_begins_with_what_both_sides_can(self):
        client, tape = await self.connected()
        welcome = client.welcome
        self.assertEqual(set(client.negotiated_features), set(V1_1_FEATURES))
        self.assertRegex(welcome.session_id, r"^sess_[0-9A-HJKMNP-TV-Z]{26}$")
        self.assertRegex(welcome.resume_token, r"^rt_[0-9a-f]{64}$")
        self.assertEqual((welcome.resume_window_sec, welcome.heartbeat_interval_sec), (600, 2))
        self.assertTrue(is_time(welcome.accepted_at))
        agents = {agent.name: agent for agent in welcome.capabilities.agents}
        self.assertEqual(set(agents["say"].versions), {"1.0.0", "2.0.0"})
        self.assertEqual(agents["say"].default, "2.0.0")
        for name in "echo count slow ignore-cancel fail burst spend tools stream delegate".split():
            self.assertIn(name, agents)
        self.assertEqual(tape.frames[0]["type"], "session.welcome")

    async def test_what_was_not_agreed_to_is_not_there(self):
        client, tape = await self.connected(features=("ack", "provisioned_credentials", "x-vendor.acme.thing"))
        self.assertEqual(client.negotiated_features, ("ack",))
        self.assertIsNone(client.welcome.heartbeat_interval_sec)
        for kind, payload in ("session.list_jobs", {}), ("job.subscribe", {"job_id": "job_x"}):
            asked = envelope(client, kind, payload)
            await tape.send(asked)
            refusal = await tape.one("session.error", request_id=asked["id"])
            self.assertEqual(refusal["payload"]["code"], "INVALID_REQUEST")

    async def test_strangers_are_told_so_and_closed(self):
        for secret in "x", token("ann")[:-2]:
            tape = await self.transport()
            await self.refused("UNAUTHENTICATED", client_of("ann", secret).connect(tape))
            await self.ended(tape)

    async def ended(self, tape):
        """Nobody reads it any more, so the end is to be looked for."""
        try:
            while True:
                await asyncio.wait_for(tape.recv(), LIMIT_S)
        except asyncio.TimeoutError:
            raise AssertionError("the connection is still there") from None
        except Exception:
            self.assertTrue(tape.is_closed)

    async def test_before_a_hello_nothing_counts(self):
        tape = await self.transport()
        client = client_of("ann")
        await tape.send(envelope(client, "job.submit", {"agent": "echo"}))
        refusal = await asyncio.wait_for(tape.recv(), LIMIT_S)
        self.assertEqual((refusal["type"], refusal["payload"]["code"]), ("session.error", "INVALID_REQUEST"))
        await self.ended(tape)

    async def test_pings_are_answered_by_both(self):
        client, tape = await self.connected()
        await tape.send(envelope(client, "session.ping", {"nonce": "p_1", "sent_at": "2026-05-13T19:42:13.000Z"}))
        pong = await tape.one("session.pong", ping_nonce="p_1")
        self.assertTrue(is_time(pong["payload"]["received_at"]))
        # More than the two intervals after which it would be lost, had the client not answered.
        await tape.count(3, "session.ping")
        await self.done(await client.submit(agent="echo"))

    async def test_who_is_silent_for_two_intervals_is_lost_but_its_jobs_are_not(self):
        tape = await self.transport()
        watcher, _ = await self.connected()
        client = client_of("ann")
        await client.connect(tape)
        handle = await client.submit(agent="slow", input={"ms": 60_000})
        # It reads no more, so it answers no more.
        client._read_task.cancel()
        told = []
        try:
            while True:
                told.append(await asyncio.wait_for(tape.recv(), LIMIT_S))
        except Exception as end:
            self.assertTrue(tape.is_closed, end)
        self.assertEqual(told[-1]["payload"].get("code"), "HEARTBEAT_LOST")
        jobs = (await watcher.list_jobs()).jobs
        self.assertEqual([job.status for job in jobs if job.job_id == handle.job_id], ["running"])

    async def test_a_session_that_is_closed_leaves_its_jobs(self):
        watcher, _ = await self.connected()
        client, tape = await self.connected()
        first = await client.submit(agent="slow", input={"ms": 300})
        await tape.send(envelope(client, "session.close", {"reason": "enough"}))
        await tape.one("session.closed")
        self.assertEqual(await tape.closed(), 1000)
        client, tape = await self.connected()
        second = await client.submit(agent="slow", input={"ms": 300})
        await client.close()
        self.assertTrue(tape.is_closed)
        for handle in first, second:
            subscription = await watcher.subscribe(handle.job_id, history=True)
            self.assertEqual((await self.done(subscription.handle)).result, {"ms": 300})

    async def test_what_nobody_knows_is_refused_and_the_session_lives(self):
        client, tape = await self.connected()
        unknown = envelope(client, "job.pause", {"job_id": "job_x"})
        vendors = envelope(client, "x-vendor.acme.hint", {})
        optional = envelope(client, "x-vendor.acme.hint", {}, extensions={"optional": True})
        for frame in optional, unknown, vendors:
            await tape.send({**frame, "later": "fields"})
        refusals = await tape.count(2, "session.error")
        self.assertEqual([it["payload"]["request_id"] for it in refusals], [unknown["id"], vendors["id"]])
        self.assertEqual({it["payload"]["code"] for it in refusals}, {"INVALID_REQUEST"})
        self.assertEqual((await self.done(await client.submit(agent="echo", input=[1]))).result, [1])

    async def test_an_envelope_counts_once(self):
        client, tape = await self.connected()
        submit = envelope(client, "job.submit", {"agent": "echo", "input": {"a": 1}})
        for _ in range(3):
            await tape.send(submit)
        await tape.one("job.result")
        await self.done(await client.submit(agent="echo", input={"b": 2}))
        self.assertEqual(len(tape.of("job.accepted")), 2)

    async def test_it_is_served_at_the_root_too(self):
        url = re.sub("^http", "ws", self.gateway.url) + "/"
        client = client_of("ann")
        await client.connect(await WebSocketTransport.connect(url, proxy=None))
        self.assertEqual((await self.done(await client.submit(agent="echo", input="x"))).result, "x")
        await client.close()
