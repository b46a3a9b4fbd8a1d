"""Uses a client that openapi-python-client has made of docs/openapi.json on a running server.

Usage: use.py PATH-OF-WAYSTATION [unittest options], where Python finds the client as waystation_client

Every answer has to be of the type that the description says for its status, and mean what was asked for.
"""

import datetime
import os
import subprocess
import sys
import tempfile
import time
import unittest

import httpx
from waystation_client import AuthenticatedClient, Client, models
from waystation_client.api.chains import begin_chain, get_instance
from waystation_client.api.jobs import cancel_job, get_job, list_jobs, retry_job
from waystation_client.api.keys import create_key, list_keys, revoke_key
from waystation_client.api.nodes import list_node_types
from waystation_client.api.pipelines import execute_pipeline
from waystation_client.api.workflows import (
    change_workflow,
    create_workflow,
    execute_workflow,
    get_workflow,
    list_workflows,
)

PATIENCE_S = 30
# Nothing of the caller's own settings, and a secret, so that the server asks who calls.
ENVIRONMENT = {"PATH": os.environ["PATH"], "JWT_SECRET": "a secret of nobody but this test's own"}


def node(id, type_, **config):
    settings = models.NodeConfigType0()
    settings.additional_properties = config
    return models.Node(id=id, type_=type_, config=settings)


class Checks(unittest.TestCase):
    """What a server answers by the description, and what not."""

    url: str
    token: str
    admin_token: str

    def setUp(self):
        self.client = self.caller(self.token)

    def caller(self, token=None):
        options = {"base_url": self.url, "timeout": httpx.Timeout(PATIENCE_S)}
        client = AuthenticatedClient(token=token, **options) if token else Client(**options)
        self.addCleanup(client.get_httpx_client().close)
        return client

    def answer(self, kind, status, response):
        """What is answered, which has to be of this type and status."""
        self.assertEqual(response.status_code, status, response.content)
        self.assertIsInstance(response.parsed, kind)
        return response.parsed

    def eventually(self, ask, is_reached):
        end = time.monotonic() + PATIENCE_S
        while not is_reached(answer := ask()):
            self.assertLess(time.monotonic(), end, answer)
            time.sleep(0.02)
        return answer

    def create(self, *nodes, **fields):
        body = models.WorkflowDefinition(name=self.id(), nodes=list(nodes), **fields)
        reply = create_workflow.sync_detailed(client=self.client, body=body)
        return self.answer(models.SavedWorkflow, 201, reply)


class Callers(Checks):
    def test_who_says_nothing_is_refused_in_the_shape_of_the_route(self):
        stranger = self.caller()
        reply = list_workflows.sync_detailed(client=stranger)
        self.assertIn("asks", self.answer(models.Detail, 401, reply).detail)
        pipeline = models.PipelineRequest(steps_config=[])
        error = self.answer(models.Error, 401, execute_pipeline.sync_detailed(client=stranger, body=pipeline))
        self.assertEqual((error.success, error.code), (False, "unauthorized"))

    def test_an_admin_makes_and_revokes_a_key(self):
        body = models.KeyRequest(name="shop", role=models.Role.RUNNER, expires_in_seconds=600)
        error = self.answer(models.Error, 403, create_key.sync_detailed(client=self.client, body=body))
        self.assertEqual(error.code, "forbidden")
        admin = self.caller(self.admin_token)
        key = self.answer(models.NewKey, 201, create_key.sync_detailed(client=admin, body=body))
        self.assertEqual((key.role, key.status), (models.Role.RUNNER, models.KeyStatus.ACTIVE))
        self.assertEqual(key.expires_at - key.created_at, datetime.timedelta(minutes=10))
        shop = self.caller(key.key)
        self.answer(models.WorkflowPage, 200, list_workflows.sync_detailed(client=shop))
        self.assertEqual(revoke_key.sync_detailed(key.id, client=admin).status_code, 204)
        self.answer(models.Detail, 401, list_workflows.sync_detailed(client=shop))
        keys = self.answer(models.KeyList, 200, list_keys.sync_detailed(client=admin)).keys
        self.assertEqual([(one.id, one.status) for one in keys], [(key.id, models.KeyStatus.REVOKED)])


class Workflows(Checks):
    def test_one_is_kept_listed_and_run(self):
        end = node("end", "end", output="{{input.price * input.count}}")
        kept = self.create(
            node("check", "conditional", condition="{{input.count}} > 0", true_edge="end"), end
        )
        self.assertEqual((kept.version, kept.status), (1, models.WorkflowStatus.ACTIVE))
        self.assertIsInstance(kept.created_at, datetime.datetime)
        page = self.answer(
            models.WorkflowPage, 200, list_workflows.sync_detailed(client=self.client, q=self.id())
        )
        self.assertEqual([(line.id, line.name) for line in page.items], [(kept.id, self.id())])

        body = models.ExecuteRequest(input_data={"price": 4, "count": 3})
        reply = execute_workflow.sync_detailed(kept.id, client=self.client, body=body, wait=True)
        job = self.answer(models.Job, 200, reply)
        self.assertEqual((job.status, job.result), (models.RunStatus.COMPLETED, 12))
        shown = self.answer(models.Job, 200, get_job.sync_detailed(job.id, client=self.client))
        self.assertEqual(shown.completed_at, job.completed_at)
        self.assertEqual(set(shown.node_results.additional_properties), {"check", "end"})
        result = shown.node_results["end"]
        self.assertEqual((result.status, result.output), (models.NodeResultStatus.COMPLETED, 12))

    def test_a_change_sets_only_what_it_says(self):
        kept = self.create(node("end", "end"), status=models.WorkflowStatus.DRAFT)
        body = models.WorkflowFields(description="now with a description")
        reply = change_workflow.sync_detailed(kept.id, client=self.client, body=body, if_match='"1"')
        changed = self.answer(models.SavedWorkflow, 200, reply)
        self.assertEqual((changed.version, changed.status), (2, models.WorkflowStatus.DRAFT))
        self.assertEqual((changed.name, changed.description), (self.id(), "now with a description"))

    def test_a_job_that_waits_is_cancelled_and_run_again(self):
        kept = self.create(node("ask", "wait"))
        job = self.answer(models.Job, 202, execute_workflow.sync_detailed(kept.id, client=self.client))
        self.assertEqual((job.status, job.completed_at), (models.RunStatus.RUNNING, None))

        def waits():
            return self.answer(models.Job, 200, get_job.sync_detailed(job.id, client=self.client))

        waiting = models.NodeResultStatus.WAITING
        self.eventually(waits, lambda job: job.node_results["ask"].status is waiting)
        cancelled = self.answer(models.Job, 200, cancel_job.sync_detailed(job.id, client=self.client))
        self.assertIs(cancelled.status, models.RunStatus.CANCELLED)
        self.answer(models.Detail, 409, cancel_job.sync_detailed(job.id, client=self.client))
        again = self.answer(models.Job, 202, retry_job.sync_detailed(job.id, client=self.client))
        self.assertEqual(again.retry_of, job.id)
        jobs = list_jobs.sync_detailed(
            client=self.client, workflow_id=kept.id, status=models.ListJobsStatus.RUNNING
        )
        self.assertEqual([line.id for line in self.answer(models.JobPage, 200, jobs).items], [again.id])
        self.answer(models.Job, 200, cancel_job.sync_detailed(again.id, client=self.client))

    def test_what_is_not_there_or_wrong_is_told_in_its_own_shape(self):
        reply = get_workflow.sync_detailed("0" * 24, client=self.client)
        self.assertIn("not found", self.answer(models.Detail, 404, reply).detail)
        body = models.WorkflowDefinition(name="wrong", nodes=[node("a", "no such type")])
        reply = create_workflow.sync_detailed(client=self.client, body=body)
        [issue] = self.answer(models.InvalidDetail, 422, reply).detail
        self.assertIs(issue.type_, models.IssueType.VALUE_ERROR)
        self.assertEqual(issue.loc, ["body", "nodes", 0, "type"])

    def test_node_types_are_listed(self):
        types = self.answer(list, 200, list_node_types.sync_detailed(client=self.client))
        [switch] = [one for one in types if one.type_ == "switch"]
        self.assertIsInstance(switch, models.NodeType)
        self.assertIs(switch.category, models.NodeTypeCategory.FLOW)


class Pipelines(Checks):
    def test_one_runs(self):
        greet = models.HttpStep(
            step_name="greet",
            usid="s1",
            service_url="/echo?only=json",
            method="POST",
            body_template={"greeting": "Hello {{original_input}}"},
            outputs=["greeting"],
        )
        shout = models.SetStep(
            type_="set",
            step_name="shout",
            usid="s2",
            value="{{greeting | upper}}!",
            dependencies=["greeting"],
            outputs=["result"],
        )
        body = models.PipelineRequest(steps_config=[greet, shout], original_input="Ada")
        reply = self.answer(
            models.PipelineSuccess, 200, execute_pipeline.sync_detailed(client=self.client, body=body)
        )
        self.assertEqual((reply.final_result, reply.steps_completed), ("HELLO ADA!", 2))
        self.assertEqual(reply.all_outputs["greeting"], "Hello Ada")

    def test_one_with_problems_is_told_from_one_that_ran(self):
        step = models.SetStep(type_="set", step_name="", usid="s1", value=1, outputs=["result"])
        body = models.PipelineRequest(steps_config=[step])
        reply = self.answer(
            models.PipelineInvalid, 200, execute_pipeline.sync_detailed(client=self.client, body=body)
        )
        self.assertEqual(len(reply.validation_errors), 1)


class Chains(Checks):
    def test_one_is_begun_and_asked_for(self):
        body = models.ChainRequest(
            context="The kettle is lovely.",
            provider="echo",
            instructions=["Summarize this", models.PlainInstruction(instruction="Translate it")],
        )
        begun = self.answer(
            models.InstanceBegun, 200, begin_chain.sync_detailed(client=self.client, body=body)
        )

        def ask():
            reply = get_instance.sync_detailed(client=self.client, instance_id=begun.instance_id)
            return self.answer(models.Instance, 200, reply).status

        ended = {models.InstanceStatusStatus.COMPLETE, models.InstanceStatusStatus.ERRORED}
        status = self.eventually(ask, lambda status: status.status in ended)
        self.assertIs(status.status, models.InstanceStatusStatus.COMPLETE, status)
        self.assertEqual([step.step_number for step in status.output.steps], [1, 2])
        self.assertIn("Translate it", status.output.steps[1].result)
        self.assertEqual(status.output.usage.calls, 2)

    def test_problems_and_what_is_not_there_are_told(self):
        body = models.ChainRequest(context="", provider="echo", instructions=[])
        refused = self.answer(
            models.ChainError, 400, begin_chain.sync_detailed(client=self.client, body=body)
        )
        self.assertEqual(len(refused.errors), 2)
        reply = get_instance.sync_detailed(client=self.client, instance_id="nobody")
        self.answer(models.ChainError, 404, reply)


def main():
    # The server is on this machine, whatever proxy leads elsewhere.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    program, *options = sys.argv[1:]

    def token(role):
        command = [program, "token", "ann", "--role", role]
        return subprocess.check_output(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, text=True).strip()

    with tempfile.TemporaryDirectory(prefix="waystation-openapi-") as data:
        command = [program, "serve", "--data", data, "--port", "0"]
        with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as server:
            try:
                Checks.url = server.stderr.readline().split()[3]
                Checks.token, Checks.admin_token = token("editor"), token("admin")
                result = unittest.main(argv=[sys.argv[0], "-v", *options], exit=False).result
            finally:
                server.kill()
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
