"""PyPI's `agentruntimecontrolprotocol`, as it is, against a gateway: leases, budgets, and parts that others do."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from arcp import LeaseConstraints, V1_1_FEATURES, parse_budget_amount

from gateway import Conformance, bodies


def from_now(seconds):
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Leases(Conformance):
    async def test_what_is_granted_is_told_and_kept_to(self):
        client, tape = await self.connected()
        lease = {
            "fs.read": ["/work/**"],
            "fs.write": ["/work/*.txt"],
            "net.fetch": ["https://example.com/api/*"],
            "tool.call": ["search", "math.*"],
            "x-vendor.acme.gpu": ["a100"],
        }
        calls = [
            ("fs.read", "/work/a/b", True),
            ("fs.read", "/work/../etc/passwd", False),
            ("fs.read", "/work/%2e%2e/etc/passwd", False),
            ("fs.write", "/work/a.txt", True),
            ("fs.write", "/work/a/b.txt", False),
            ("net.fetch", "HTTPS://Example.com/api/x", True),
            ("net.fetch", "https://example.com/api/x/y", False),
            ("net.fetch", "https://example.com.evil.org/api/x", False),
            ("tool.call", "math.add", True),
            ("tool.call", "maths", False),
            ("agent.delegate", "echo", False),
        ]
        asked = {"calls": [{"op": op, "target": target} for op, target, _ in calls]}
        handle = await client.submit(agent="tools", input=asked, lease_request=lease)
        self.assertEqual(handle.lease, lease)
        self.assertIsNone(handle.budget)
        permitted = sum(may for _, _, may in calls)
        result = (await self.done(handle)).result
        self.assertEqual(result, {"permitted": permitted, "refused": len(calls) - permitted})
        for (op, target, may), told in zip(calls, bodies(tape.of("job.event"), "tool_result"), strict=True):
            code = told.get("error", {}).get("code")
            self.assertEqual(code, None if may else "PERMISSION_DENIED", (op, target))
        said = await self.done(await client.submit(agent="say", input={"events": []}, lease_request=lease))
        self.assertEqual(said.result["lease"], lease)

    async def test_a_budget_is_spent_to_the_last_cent(self):
        client, tape = await self.connected()
        lease = {"tool.call": ["spend"], "cost.budget": ["USD:1.00", "EUR:5"]}
        handle = await client.submit(agent="spend", input={"per_call": "0.1", "calls": 20}, lease_request=lease)
        budget = {name: parse_budget_amount(amount) for name, amount in handle.budget.items()}
        self.assertEqual(budget, {"USD": ("USD", Decimal(1)), "EUR": ("EUR", Decimal(5))})
        failure = await self.refused("BUDGET_EXHAUSTED", handle.done)
        self.assertFalse(failure.retryable)
        metrics = bodies(tape.of("job.event"), "metric")
        spent = [body["value"] for body in metrics if body["name"] == "cost.spend"]
        left = [body["value"] for body in metrics if body["name"] == "cost.budget.remaining"]
        self.assertEqual(spent, [0.1] * 10)
        # Ten times a tenth is not one in floats.
        self.assertEqual(left[-1], 0)
        self.assertEqual({body["unit"] for body in metrics}, {"USD"})

    async def test_other_currencies_and_negative_costs_take_nothing(self):
        client, _ = await self.connected()
        lease = {"tool.call": ["spend"], "cost.budget": ["USD:0.50"]}
        asked = {"per_call": "1", "calls": 3, "unit": "EUR"}
        handle = await client.submit(agent="spend", input=asked, lease_request=lease)
        self.assertEqual((await self.done(handle)).result, {"calls": 3})

    async def test_amounts_that_are_none_are_refused(self):
        client, _ = await self.connected()
        for amount in "USD", "USD:", "USD:-1", "USD:1e3", ":1", "USD:1.", "USD:.5", "1:USD ":
            await self.refused("INVALID_REQUEST", client.submit(agent="echo", lease_request={"cost.budget": [amount]}))

    async def test_a_lease_ends(self):
        client, tape = await self.connected()
        for past in from_now(-1), "2001-01-01T00:00:00Z":
            constraints = LeaseConstraints(expires_at=past)
            await self.refused("INVALID_REQUEST", client.submit(agent="echo", lease_constraints=constraints))
        # Later than a timer of 32 bits goes.
        far = LeaseConstraints(expires_at="2300-01-01T00:00:00Z")
        handle = await client.submit(agent="echo", input=1, lease_constraints=far)
        self.assertTrue(handle.lease_constraints.expires_at.startswith("2300-01-01T00:00:00"))
        self.assertEqual((await self.done(handle)).result, 1)
        soon = LeaseConstraints(expires_at=from_now(1))
        handle = await client.submit(agent="slow", input={"ms": 60_000}, lease_constraints=soon)
        failure = await self.refused("LEASE_EXPIRED", handle.done)
        self.assertFalse(failure.retryable)
        self.assertEqual(tape.of("job.error", job_id=handle.job_id)[0]["payload"]["final_status"], "error")

    async def test_a_lease_for_models(self):
        client, tape = await self.connected(features=(*V1_1_FEATURES, "model.use"))
        self.assertTrue(client.has_feature("model.use"))
        calls = [{"op": "model.use", "target": target} for target in ("tier-fast/a", "tier-slow/a")]
        handle = await client.submit(
            agent="tools", input={"calls": calls}, lease_request={"model.use": ["tier-fast/*"]}
        )
        self.assertEqual((await self.done(handle)).result, {"permitted": 1, "refused": 1})

    async def test_credentials_are_not_offered_without_a_provisioner(self):
        client, _ = await self.connected(features=(*V1_1_FEATURES, "provisioned_credentials"))
        self.assertFalse(client.has_feature("provisioned_credentials"))
        self.assertEqual((await client.submit(agent="echo")).credentials, ())


class Delegation(Conformance):
    LEASE = {"agent.delegate": ["*"], "tool.call": ["spend"], "cost.budget": ["USD:1.00"]}

    async def delegated(self, client, has=LEASE, **asked):
        return await client.submit(agent="delegate", input=asked, lease_request=has)

    async def test_a_part_is_another_job(self):
        client, tape = await self.connected()
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        asked = {"agent": "echo", "input": [7]}
        handle = await client.submit(agent="delegate", input=asked, lease_request=self.LEASE, trace_id=trace)
        children = (await self.done(handle)).result["children"]
        self.assertEqual([(child["status"], child["result"]) for child in children], [("success", [7])])
        told = bodies(tape.of("job.event", job_id=handle.job_id), "delegate")
        self.assertEqual([body["child_job_id"] for body in told], [children[0]["job_id"]])
        jobs = {job.job_id: job for job in (await client.list_jobs()).jobs}
        child = jobs[children[0]["job_id"]]
        self.assertEqual((child.parent_job_id, child.trace_id, child.agent), (handle.job_id, trace, "echo@1.0.0"))
        # What it does is told on the session of its parent; that it was accepted is not: the client would take that for the
        # acceptance of whatever it submits next.
        await tape.one("job.result", job_id=child.job_id)
        self.assertEqual(len(tape.of("job.accepted")), 1)

    async def test_what_a_child_may_spend_its_parent_may_not(self):
        client, _ = await self.connected()
        lease = {"tool.call": ["spend"]}
        spend = {"agent": "spend", "lease": lease, "input": {"per_call": "0.2", "calls": 2}}
        # Two of them fit, a third does not.
        handle = await self.delegated(client, budget=["USD:0.40"], children=2, **spend)
        children = (await self.done(handle)).result["children"]
        self.assertEqual([child["result"] for child in children], [{"calls": 2}] * 2)
        handle = await self.delegated(client, budget=["USD:0.40"], children=3, **spend)
        await self.refused("LEASE_SUBSET_VIOLATION", handle.done)

    async def test_a_child_may_no_more_than_its_parent(self):
        client, _ = await self.connected()
        for lease in {"fs.read": ["/**"]}, {"tool.call": ["*"]}, {"cost.budget": ["EUR:1"]}:
            handle = await self.delegated(client, agent="echo", lease=lease)
            await self.refused("LEASE_SUBSET_VIOLATION", handle.done)
        handle = await self.delegated(client, has={"agent.delegate": ["count"]}, agent="echo")
        await self.refused("PERMISSION_DENIED", handle.done)

    async def test_children_end_with_their_parent(self):
        client, tape = await self.connected()
        handle = await self.delegated(client, agent="slow", input={"ms": 60_000}, children=2)
        # Each job begins with a status.
        begun = await tape.count(5, "job.event")
        children = [body["child_job_id"] for body in bodies(begun, "delegate")]
        self.assertEqual(len(children), 2)
        await client.cancel_job(handle.job_id)
        await self.refused("CANCELLED", handle.done)
        for job_id in children:
            ending = await tape.one("job.error", job_id=job_id)
            self.assertEqual(ending["payload"]["code"], "CANCELLED")
