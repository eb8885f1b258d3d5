"""PyPI's `agentruntimecontrolprotocol`, as it is, against a gateway: the same job twice, and jobs of other sessions."""

import asyncio
from datetime import UTC, datetime, timedelta

from arcp import ListJobsFilter

from gateway import Conformance, bodies, envelope


class Idempotency(Conformance):
    async def test_the_same_is_done_once(self):
        client, tape = await self.connected()
        asked = {"agent": "echo", "input": {"a": 1, "b": 2}, "idempotency_key": "once"}
        first = await client.submit(**asked)
        result = await self.done(first)
        again = await client.submit(**{**asked, "input": {"b": 2, "a": 1}})
        self.assertEqual(again.job_id, first.job_id)
        self.assertEqual((await self.done(again)).result, result.result)
        self.assertEqual(again.accepted.accepted_at, first.accepted.accepted_at)
        # Also for another session of the same user, but not for another user.
        other, _ = await self.connected()
        again = await other.submit(**asked)
        self.assertEqual((again.job_id, (await self.done(again)).result), (first.job_id, result.result))
        stranger, _ = await self.connected("bob")
        own = await stranger.submit(**asked)
        self.assertNotEqual(own.job_id, first.job_id)
        await self.done(own)

    async def test_also_when_asked_for_at_once(self):
        client, tape = await self.connected()
        other, _ = await self.connected()
        asked = {"agent": "slow", "input": {"ms": 200}, "idempotency_key": "at once"}
        handles = await asyncio.gather(*(who.submit(**asked) for who in [client, other] * 10))
        self.assertEqual(len({handle.job_id for handle in handles}), 1)
        # Of several handles to one job the client keeps the last.
        self.assertEqual((await self.done(handles[-2])).result, {"ms": 200})
        self.assertEqual((await self.done(handles[-1])).result, {"ms": 200})

    async def test_other_parameters_are_a_conflict_that_disturbs_nobody(self):
        client, tape = await self.connected()
        other, other_tape = await self.connected()
        asked = {"agent": "slow", "input": {"ms": 500}, "idempotency_key": "conflict"}
        handle = await client.submit(**asked)
        for change in (
            {"input": {"ms": 501}},
            {"agent": "echo"},
            {"max_runtime_sec": 60},
            {"lease_request": {"tool.call": ["*"]}},
        ):
            refusal = await self.refused("DUPLICATE_KEY", other.submit(**{**asked, **change}))
            self.assertNotIn(handle.job_id, str(refusal))
        self.assertNotIn(handle.job_id, str(other_tape.frames))
        self.assertEqual((await self.done(handle)).result, {"ms": 500})
        self.assertEqual(tape.of("session.error"), [])

    async def test_a_failure_is_told_again_too(self):
        client, _ = await self.connected()
        asked = {"agent": "fail", "input": {"code": "TIMEOUT", "message": "m"}, "idempotency_key": "fails"}
        await self.refused("TIMEOUT", (await client.submit(**asked)).done)
        await self.refused("TIMEOUT", (await client.submit(**asked)).done)


class Listing(Conformance):
    async def test_jobs_are_listed_by_filter_and_page(self):
        client, _ = await self.connected()
        stranger, _ = await self.connected("bob")
        before = (datetime.now(UTC) - timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
        echoes = [await client.submit(agent="echo", input=n, trace_id=f"{n + 1:032x}") for n in range(7)]
        for handle in echoes:
            await self.done(handle)
        slow = await client.submit(agent="slow", input={"ms": 60_000})
        failed = await client.submit(agent="fail", input={})
        await self.refused("INTERNAL_ERROR", failed.done)

        async def listed(who=client, **filter):
            jobs = (await who.list_jobs(filter=ListJobsFilter(**filter) if filter else None)).jobs
            return [job.job_id for job in jobs]

        # Newest first.
        all_jobs = [handle.job_id for handle in [failed, slow, *reversed(echoes)]]
        ids = [handle.job_id for handle in reversed(echoes)]
        self.assertEqual(await listed(), all_jobs)
        self.assertEqual(await listed(agent="echo"), ids)
        self.assertEqual(await listed(agent="echo@1.0.0"), ids)
        self.assertEqual(await listed(agent="echo@9"), [])
        self.assertEqual(await listed(status=("running", "error")), all_jobs[:2])
        self.assertEqual(await listed(status=("success",)), ids)
        self.assertEqual(await listed(created_after=before), all_jobs)
        self.assertEqual(await listed(created_after="2999-01-01T00:00:00Z"), [])
        self.assertEqual(await listed(created_before=before), [])
        self.assertEqual(await listed(stranger), [])
        await self.pages(client, all_jobs)

        jobs = {job.job_id: job for job in (await client.list_jobs()).jobs}
        job = jobs[echoes[2].job_id]
        self.assertEqual((job.agent, job.status, job.trace_id), ("echo@1.0.0", "success", f"{3:032x}"))
        self.assertEqual((job.parent_job_id, job.submitted_at), (None, echoes[2].accepted.accepted_at))
        self.assertEqual(job.model_extra["created_at"], job.submitted_at)
        await client.cancel_job(slow.job_id)

    async def pages(self, client, wanted):
        """Page by page, while jobs come."""
        found, cursor = [], None
        while True:
            page = await client.list_jobs(limit=2, cursor=cursor)
            self.assertLessEqual(len(page.jobs), 2)
            found += [job.job_id for job in page.jobs]
            cursor = page.next_cursor
            if cursor is None:
                break
            await self.done(await client.submit(agent="echo"))
        self.assertEqual(found, wanted)


class Subscriptions(Conformance):
    async def test_a_job_of_another_session_with_its_past(self):
        client, tape = await self.connected()
        lease = {"tool.call": ["a*"], "cost.budget": ["USD:1.00"]}
        handle = await client.submit(agent="count", input={"to": 60, "every_ms": 10}, lease_request=lease)
        await tape.count(20, "job.event", job_id=handle.job_id)
        watcher, watched = await self.connected()
        subscription = await watcher.subscribe(handle.job_id, history=True)
        self.assertEqual((subscription.handle.agent_ref, subscription.handle.lease), ("count@1.0.0", lease))
        self.assertEqual(subscription.handle.trace_id, handle.trace_id)
        self.assertEqual(await self.events(subscription.handle), await self.events(handle))
        self.assertEqual((await self.done(subscription.handle)).result, (await self.done(handle)).result)
        kinds = [frame["type"] for frame in watched.frames if frame.get("job_id")]
        self.assertEqual(kinds, ["job.subscribed"] + ["job.event"] * 61 + ["job.result"])
        subscribed = watched.of("job.subscribed")[0]["payload"]
        self.assertEqual((subscribed["current_status"], subscribed["budget"]), ("running", {"USD": "USD:1.00"}))
        self.assertGreaterEqual(subscription.subscribed_from, 20)
        self.assertTrue(subscription.replayed)

    async def test_without_its_past_and_no_more(self):
        client, tape = await self.connected()
        handle = await client.submit(agent="count", input={"to": 100_000, "every_ms": 10})
        await tape.count(10, "job.event", job_id=handle.job_id)
        watcher, watched = await self.connected()
        subscription = await watcher.subscribe(handle.job_id)
        self.assertFalse(subscription.replayed)
        first = bodies(await watched.count(1, "job.event"), "progress")[0]["current"]
        self.assertGreaterEqual(first, 10)
        await watched.count(10, "job.event")
        seen = [body["current"] for body in bodies(watched.of("job.event"), "progress")]
        self.assertEqual(seen, list(range(first, first + len(seen))))
        await watcher.unsubscribe(handle.job_id)
        # The answer to this comes after whatever was still told of the job.
        await watcher.list_jobs()
        told = len(watched.of("job.event"))
        await tape.count(len(tape.of("job.event")) + 20, "job.event")
        await watcher.list_jobs()
        self.assertEqual(len(watched.of("job.event")), told)
        await client.cancel_job(handle.job_id)

    async def test_the_past_after_an_event(self):
        client, tape = await self.connected()
        handle = await client.submit(agent="count", input={"to": 10})
        await self.done(handle)
        watcher, watched = await self.connected()
        subscription = await watcher.subscribe(handle.job_id, history=True, from_event_seq=6)
        events = await self.events(subscription.handle)
        self.assertEqual([event["body"]["current"] for event in events], [6, 7, 8, 9, 10])
        self.assertEqual((await self.done(subscription.handle)).result, {"counted": 10})

    async def test_jobs_of_others_are_not_there(self):
        client, _ = await self.connected()
        handle = await client.submit(agent="slow", input={"ms": 60_000})
        for job_id in handle.job_id, "job_01ARZ3NDEKTSV4RRFFQ69G5FAV", "mine":
            stranger, _ = await self.connected("bob")
            refusal = await self.refused("JOB_NOT_FOUND", stranger.subscribe(job_id, history=True))
            self.assertNotIn("slow", str(refusal))
        await client.cancel_job(handle.job_id)

    async def test_a_subscriber_that_reads_nothing_delays_nobody(self):
        client, tape = await self.connected(auto_ack=True)
        handle = await client.submit(agent="slow", input={"ms": 300})
        wedged, _ = await self.connected()
        wedged._read_task.cancel()
        chatty = await client.submit(agent="burst", input={"events": 60, "bytes": 300_000})
        asked = envelope(wedged, "job.subscribe", {"job_id": chatty.job_id, "history": True})
        await wedged._transport.send(asked)
        self.assertEqual((await self.done(handle)).result, {"ms": 300})
        self.assertEqual((await self.done(chatty)).result, {"events": 60})
