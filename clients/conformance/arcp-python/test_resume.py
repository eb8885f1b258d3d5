"""PyPI's `agentruntimecontrolprotocol`, as it is, against a gateway: sessions that outlive their connections."""

from gateway import Conformance, bodies


class Resume(Conformance):
    async def test_after_a_cut_nothing_is_missed(self):
        line = await self.line()
        client, tape = await self.connected(way=line)
        handle = await client.submit(agent="count", input={"to": 300, "every_ms": 10})
        frames, gaps = [], 4
        for gap in range(gaps):
            await tape.count(25, "job.event")
            line.cut()
            await tape.closed()
            frames += tape.of("job.event", "job.result")
            former, after = client, frames[-1]["event_seq"]
            client, tape = await self.resumed(former, after, way=line)
            self.assertEqual(client.session_id, former.session_id)
            self.assertNotEqual(client.welcome.resume_token, former.welcome.resume_token)
        await tape.one("job.result", job_id=handle.job_id)
        frames += tape.of("job.event", "job.result")
        self.assertEqual([frame["event_seq"] for frame in frames], list(range(1, 303)))
        counted = [body["current"] for body in bodies(frames, "progress")]
        self.assertEqual(counted, list(range(1, 301)))
        self.assertEqual([frame["type"] for frame in frames].count("job.result"), 1)

    async def test_after_a_cut_a_job_can_be_cancelled(self):
        line = await self.line()
        client, tape = await self.connected(way=line)
        handle = await client.submit(agent="slow", input={"ms": 60_000})
        await tape.one("job.event")
        line.cut()
        client, tape = await self.resumed(client, 1)
        await client.cancel_job(handle.job_id)
        await tape.one("job.cancelled", job_id=handle.job_id)
        self.assertEqual((await tape.one("job.error"))["payload"]["code"], "CANCELLED")

    async def test_who_has_it_all_is_told_nothing_again(self):
        client, tape = await self.connected()
        await self.done(await client.submit(agent="echo", input=1))
        await tape.close()
        client, tape = await self.resumed(client, client.latest_event_seq)
        self.assertEqual((await self.done(await client.submit(agent="echo", input=2))).result, 2)
        self.assertEqual({frame["job_id"] for frame in tape.of("job.event", "job.result")}, {tape.of("job.accepted")[0]["job_id"]})

    async def test_a_job_that_ended_meanwhile(self):
        line = await self.line()
        client, tape = await self.connected(way=line)
        handle = await client.submit(agent="count", input={"to": 20, "every_ms": 20})
        await tape.count(3, "job.event")
        line.cut()
        watcher, _ = await self.connected()
        subscription = await watcher.subscribe(handle.job_id, history=True)
        await self.done(subscription.handle)
        _, tape = await self.resumed(client, 3)
        await tape.one("job.result")
        self.assertEqual(len(tape.of("job.event")), 18)

    async def test_a_stolen_token_opens_nothing_and_burns_nothing(self):
        client, tape = await self.connected()
        await self.done(await client.submit(agent="count", input={"to": 5}))
        await tape.close()
        await self.refused("PERMISSION_DENIED", self.resumed(client, 2, user="bob"))
        await self.refused("RESUME_WINDOW_EXPIRED", self.resumed(client, 2, shown="rt_" + "0" * 64))
        _, tape = await self.resumed(client, 2)
        await tape.one("job.result")
        self.assertEqual([frame["event_seq"] for frame in tape.of("job.event")], [3, 4, 5, 6])

    async def test_a_token_is_good_until_the_next_has_arrived(self):
        first, tape = await self.connected()
        await tape.close()
        # This welcome might have been lost: the client says nothing.
        second, tape = await self.resumed(first, 0)
        await tape.close()
        third, tape = await self.resumed(first, 0)
        await self.done(await third.submit(agent="echo"))
        await tape.close()
        for former in first, second:
            await self.refused("RESUME_WINDOW_EXPIRED", self.resumed(former, 0))
        await self.resumed(third, 0)

    async def test_a_session_has_one_connection(self):
        former, tape = await self.connected()
        handle = await former.submit(agent="count", input={"to": 50, "every_ms": 10})
        await tape.count(10, "job.event")
        _, later = await self.resumed(former, 5)
        await tape.closed()
        await later.one("job.result", job_id=handle.job_id)
        self.assertEqual(tape.of("job.result"), [])

    async def test_what_was_acknowledged_is_not_kept(self):
        client, tape = await self.connected()
        await self.done(await client.submit(agent="count", input={"to": 10}))
        await client.ack(8)
        # Its answer comes when the acknowledgement has been heard.
        await client.list_jobs()
        await tape.close()
        await self.refused("RESUME_WINDOW_EXPIRED", self.resumed(client, 0))
        _, tape = await self.resumed(client, 8)
        await tape.one("job.result")
        self.assertEqual([frame["event_seq"] for frame in tape.of("job.event", "job.result")], [9, 10, 11, 12])

    async def test_nobody_resumes_ahead(self):
        client, tape = await self.connected()
        await tape.close()
        await self.refused("RESUME_WINDOW_EXPIRED", self.resumed(client, 7))


class Restart(Conformance):
    async def test_a_gateway_that_is_killed_forgets_nothing_that_it_told(self):
        client, tape = await self.connected()
        done = await client.submit(agent="count", input={"to": 10}, idempotency_key="before")
        result = (await self.done(done)).result
        running = await client.submit(agent="count", input={"to": 100_000, "every_ms": 10})
        told = await tape.count(20, "job.event", job_id=running.job_id)
        self.gateway.kill()
        await tape.closed()
        self.gateway.start()
        after = told[9]["event_seq"]
        resumed, again = await self.resumed(client, after)
        failure = await again.one("job.error", job_id=running.job_id)
        self.assertEqual((failure["payload"]["code"], failure["payload"]["retryable"]), ("INTERNAL_ERROR", True))
        seen = [frame for frame in tape.of("job.event") if frame["event_seq"] > after]
        same = [{**frame, "id": None} for frame in again.of("job.event")[: len(seen)]]
        self.assertEqual(same, [{**frame, "id": None} for frame in seen])
        handle = await resumed.submit(agent="count", input={"to": 10}, idempotency_key="before")
        self.assertEqual((handle.job_id, (await self.done(handle)).result), (done.job_id, result))
        jobs = {job.job_id: job.status for job in (await resumed.list_jobs()).jobs}
        self.assertEqual(jobs, {done.job_id: "success", running.job_id: "error"})
