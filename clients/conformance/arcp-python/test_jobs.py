"""PyPI's `agentruntimecontrolprotocol`, as it is, against a gateway: jobs and their events."""

import asyncio
import base64

from arcp.client import AutoAckOptions

from gateway import LIMIT_S, Conformance, bodies, envelope, is_time

EVENTS = [
    ["log", {"level": "info", "message": "zwölf \u2028 \U0001f30d"}],
    ["thought", {"text": ""}],
    ["tool_call", {"tool": "search", "args": {"q": [1, None, 2.5]}, "call_id": "c1"}],
    ["tool_result", {"call_id": "c1", "result": {"hits": 3}}],
    ["tool_result", {"call_id": "c2", "error": {"code": "TIMEOUT", "message": "late", "retryable": True}}],
    ["status", {"phase": "thinking", "message": "about it"}],
    ["metric", {"name": "tokens", "value": 17, "unit": "count", "dimensions": {"model": "m"}}],
    ["artifact_ref", {"uri": "file:///a.png", "content_type": "image/png", "byte_size": 12}],
    ["progress", {"current": 1, "total": 2, "units": "files"}],
    ["x-vendor.acme.frame", {"n": 1}],
]


class Jobs(Conformance):
    async def test_a_job_from_its_beginning_to_its_end(self):
        client, tape = await self.connected()
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        handle = await client.submit(agent="say", input={"events": EVENTS}, trace_id=trace)
        self.assertEqual((handle.agent_ref, handle.trace_id, handle.lease), ("say@2.0.0", trace, {}))
        self.assertTrue(is_time(handle.accepted.accepted_at))
        events = await self.events(handle)
        self.assertEqual((events[0]["kind"], events[0]["body"]["phase"]), ("status", "running"))
        said = [[event["kind"], event["body"]] for event in events[1:]]
        said[6][1].pop("dims")
        self.assertEqual(said, EVENTS)
        self.assertTrue(all(is_time(event["ts"]) for event in events))
        result = await self.done(handle)
        self.assertEqual((result.final_status, result.result["version"], result.summary), ("success", "2.0.0", "said"))
        self.assertEqual(result.model_extra["output"], result.result)
        self.assertEqual({frame["trace_id"] for frame in tape.of("job.event", "job.result")}, {trace})

    async def test_inputs_and_results_are_any_json(self):
        client, _ = await self.connected()
        for value in None, 0, "", [], {}, {"deep": [[[{"ä": 1.5e300}]]]}, "x" * 400_000:
            self.assertEqual((await self.done(await client.submit(agent="echo", input=value))).result, value)

    async def test_versions(self):
        client, _ = await self.connected()
        for agent, version in ("say", "2.0.0"), ("say@1.0.0", "1.0.0"), ("say@2.0.0", "2.0.0"):
            handle = await client.submit(agent=agent, input={"events": []})
            self.assertEqual(handle.agent_ref, f"say@{version}")
            self.assertEqual((await self.done(handle)).result["version"], version)

    async def test_what_is_refused_at_once(self):
        client, tape = await self.connected()
        for code, agent, more in (
            ("AGENT_NOT_AVAILABLE", "nobody", {}),
            ("AGENT_VERSION_NOT_AVAILABLE", "say@3.0.0", {}),
            ("INVALID_REQUEST", "Echo", {}),
            ("INVALID_REQUEST", "echo", {"lease_request": {"fs.reed": ["/**"]}}),
        ):
            refusal = await self.refused(code, client.submit(agent=agent, **more))
            self.assertFalse(refusal.retryable)
        self.assertEqual(tape.of("job.accepted"), [])
        self.assertTrue(all(frame["payload"]["request_id"] for frame in tape.of("session.error")))
        await self.done(await client.submit(agent="echo"))

    async def test_failures_keep_their_codes(self):
        client, _ = await self.connected()
        for asked, code, retryable in (
            ({"code": "PERMISSION_DENIED", "message": "no"}, "PERMISSION_DENIED", False),
            ({"code": "INTERNAL_ERROR", "message": "no", "retryable": False}, "INTERNAL_ERROR", True),
            ({"code": "QUOTA", "message": "no", "details": {"left": 0}}, "INTERNAL_ERROR", True),
        ):
            handle = await client.submit(agent="fail", input=asked)
            failure = await self.refused(code, handle.done)
            self.assertEqual((failure.message, failure.retryable), ("no", retryable))
        self.assertEqual(failure.details["code"], "QUOTA")
        self.assertEqual(failure.details["details"], {"left": 0})

    async def test_cancelled_whatever_the_agent_does(self):
        client, tape = await self.connected()
        for agent in "slow", "ignore-cancel":
            handle = await client.submit(agent=agent, input={"ms": 60_000})
            await tape.one("job.event", job_id=handle.job_id)
            await client.cancel_job(handle.job_id, reason="enough")
            await self.refused("CANCELLED", handle.done)
            kinds = [frame["type"] for frame in tape.frames if frame.get("job_id") == handle.job_id]
            self.assertEqual(kinds[-2:], ["job.cancelled", "job.error"])
            self.assertEqual(tape.of("job.error", job_id=handle.job_id)[0]["payload"]["final_status"], "error")
        # Had the stubborn one been heard since, it would be in between.
        await self.done(await client.submit(agent="count", input={"to": 5, "every_ms": 50}))
        self.assertEqual(tape.of("job.event", "job.result", "job.error", job_id=handle.job_id)[-1]["type"], "job.error")

    async def test_what_can_not_be_cancelled(self):
        client, tape = await self.connected()
        other, other_tape = await self.connected()
        stranger, stranger_tape = await self.connected("bob")
        handle = await client.submit(agent="slow", input={"ms": 600})
        for who, its_tape, code in (
            (other, other_tape, "PERMISSION_DENIED"),
            (stranger, stranger_tape, "JOB_NOT_FOUND"),
        ):
            await who.cancel_job(handle.job_id)
            refusal = await its_tape.one("session.error")
            self.assertEqual((refusal["payload"]["code"], refusal["payload"].get("job_id")), (code, handle.job_id))
        self.assertEqual((await self.done(handle)).result, {"ms": 600})
        self.assertEqual(tape.of("session.error", "job.cancelled"), [])

    async def test_who_takes_too_long(self):
        client, tape = await self.connected()
        handle = await client.submit(agent="slow", input={"ms": 60_000}, max_runtime_sec=1)
        await self.refused("TIMEOUT", handle.done)
        self.assertEqual(tape.of("job.error")[0]["payload"]["final_status"], "error")
        jobs = (await client.list_jobs()).jobs
        self.assertEqual([job.status for job in jobs if job.job_id == handle.job_id], ["timed_out"])

    async def test_results_in_pieces(self):
        client, tape = await self.connected()
        for encoding, piece in ("utf8", None), ("base64", bytes(n % 256 for n in range(700 << 10))):
            asked = {"chunks": 3, "bytes": 700 << 10, "encoding": encoding}
            handle = await client.submit(agent="stream", input=asked)
            chunks = await self.chunks(handle)
            result = await self.done(handle)
            self.assertEqual([chunk["chunk_seq"] for chunk in chunks], [0, 1, 2])
            self.assertEqual([chunk["more"] for chunk in chunks], [True, True, False])
            self.assertEqual({chunk["result_id"] for chunk in chunks}, {result.result_id})
            self.assertRegex(result.result_id, "^res_")
            self.assertEqual((result.result, result.result_size, result.summary), (None, 3 * (700 << 10), "3 chunks"))
            if piece:
                self.assertTrue(all(base64.b64decode(chunk["data"]) == piece for chunk in chunks))

    async def test_a_long_result_is_put_together(self):
        client, tape = await self.connected(auto_ack=AutoAckOptions(every_n=1, interval_sec=0.02))
        asked = {"chunks": 60, "bytes": 500_000, "encoding": "base64"}
        handle = await client.submit(agent="stream", input=asked)
        whole = await asyncio.wait_for(handle.collect_chunks(), 3 * LIMIT_S)
        self.assertEqual(whole, bytes(n % 256 for n in range(500_000)) * 60)
        self.assertEqual((await self.done(handle)).result_size, len(whole))
        self.assertEqual(tape.of("session.error"), [])

    async def test_many_events_at_once(self):
        client, tape = await self.connected(auto_ack=True)
        handle = await client.submit(agent="burst", input={"events": 5_000})
        await asyncio.wait_for(handle.done, 3 * LIMIT_S)
        values = [body["value"] for body in bodies(tape.of("job.event"), "metric")]
        self.assertEqual(values, list(range(1, 5_001)))
        self.assertEqual(client.latest_event_seq, len(tape.of("job.event", "job.result")))

    async def test_large_events(self):
        client, tape = await self.connected()
        handle = await client.submit(agent="burst", input={"events": 3, "bytes": 400_000})
        await self.done(handle)
        self.assertEqual([len(it["dimensions"]["padding"]) for it in bodies(tape.of("job.event"), "metric")], [400_000] * 3)

    async def test_lag_is_told_once(self):
        client, tape = await self.connected()
        handle = await client.submit(agent="burst", input={"events": 3_000})
        other = await client.submit(agent="slow", input={"ms": 60_000})
        await self.done(handle)
        phases = [body["phase"] for body in bodies(tape.of("job.event"), "status")]
        self.assertEqual(phases.count("back_pressure"), 1)
        await client.cancel_job(other.job_id)

    async def test_acknowledgements_of_what_was_not_sent_are_refused(self):
        client, tape = await self.connected()
        await self.done(await client.submit(agent="echo"))
        await client.ack(client.latest_event_seq)
        await client.ack(1)
        await client.ack(client.latest_event_seq + 1)
        self.assertEqual((await tape.one("session.error"))["payload"]["code"], "INVALID_REQUEST")
        await self.done(await client.submit(agent="echo"))
        self.assertEqual(len(tape.of("session.error")), 1)

    async def test_submits_under_way_are_accepted_in_their_order(self):
        client, tape = await self.connected()
        handles = await asyncio.gather(*(client.submit(agent="echo", input=n) for n in range(30)))
        results = [(await self.done(handle)).result for handle in handles]
        self.assertEqual(results, list(range(30)))
        self.assertEqual([frame["job_id"] for frame in tape.of("job.accepted")], [handle.job_id for handle in handles])
        submit = envelope(client, "job.submit", {"agent": "echo"})
        await tape.send(submit)
        self.assertRegex((await tape.one("job.accepted", request_id=submit["id"]))["job_id"], "^job_")
