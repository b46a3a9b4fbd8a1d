// Uses the types that openapi-typescript has made of docs/openapi.json with openapi-fetch on a running server:
// the compiler checks what is asked and how answers are read, and this, that the answers are such.
//
// usage: node use.mjs PROGRAM, compiled beside schema.d.ts in a directory that has the packages

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

const PATIENCE_MS = 30_000;
// Nothing of the caller's own settings, and a secret, so that the server asks who calls.
const env = { PATH: process.env.PATH, JWT_SECRET: "a secret of nobody but this test's own" };

const program = process.argv[2] ?? assert.fail("usage: node use.mjs PROGRAM");
const data = await mkdtemp(join(tmpdir(), "waystation-openapi-"));
const server = spawn(program, ["serve", "--data", data, "--port", "0"], {
  env,
  stdio: ["ignore", "ignore", "pipe"],
});

async function address(): Promise<string> {
  for await (const line of createInterface(server.stderr)) return line.split(/\s+/)[3] ?? assert.fail(line);
  assert.fail("the server has not begun");
}

function token(role: Schemas["Role"]): string {
  const args = ["token", "ann", "--role", role];
  return execFileSync(program, args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
}

type Reply<T, E> = { data?: T; error?: E; response: Response };

/** What is answered with this status, which has to be one of those where all went well. */
function answer<T, E>(status: number, reply: Reply<T, E>): T {
  assert.equal(reply.response.status, status, JSON.stringify(reply.error));
  return reply.data ?? assert.fail("there is no answer");
}

/** The error that is answered with this status. */
function refusal<T, E>(status: number, reply: Reply<T, E>): E {
  assert.equal(reply.response.status, status, JSON.stringify(reply.data));
  return reply.error ?? assert.fail("there is no error");
}

async function eventually<T>(ask: () => Promise<T>, isReached: (answer: T) => boolean): Promise<T> {
  for (const began = Date.now(); ; ) {
    const answer = await ask();
    if (isReached(answer)) return answer;
    assert.ok(Date.now() - began < PATIENCE_MS, JSON.stringify(answer));
    await new Promise((wait) => setTimeout(wait, 20));
  }
}

const baseUrl = await address();
const caller = (credential: string) =>
  createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${credential}` } });
const client = caller(token("editor"));

async function create(body: Schemas["WorkflowDefinition"]): Promise<Schemas["SavedWorkflow"]> {
  return answer(201, await client.POST("/api/v1/workflows", { body }));
}

async function show(id: string): Promise<Schemas["Job"]> {
  return answer(200, await client.GET("/api/v1/jobs/{id}", { params: { path: { id } } }));
}

async function callers() {
  const stranger = createClient<paths>({ baseUrl });
  const refused = refusal(401, await stranger.GET("/api/v1/workflows"));
  assert.ok(typeof refused.detail === "string" && refused.detail.includes("asks"));
  const closed = refusal(401, await stranger.POST("/execute", { body: { STEPS_CONFIG: [] } }));
  assert.deepEqual([closed.success, closed.code], [false, "unauthorized"]);

  const body: Schemas["KeyRequest"] = { name: "shop", role: "runner", expires_in_seconds: 600 };
  assert.equal(refusal(403, await client.POST("/keys", { body })).code, "forbidden");
  const admin = caller(token("admin"));
  const key = answer(201, await admin.POST("/keys", { body }));
  assert.equal(Date.parse(key.expires_at ?? "") - Date.parse(key.created_at), 600_000);
  const shop = createClient<paths>({ baseUrl, headers: { "x-api-key": key.key } });
  assert.equal(answer(200, await shop.GET("/api/v1/workflows")).page, 1);
  const revoked = await admin.DELETE("/keys/{id}", { params: { path: { id: key.id } } });
  assert.equal(revoked.response.status, 204);
  refusal(401, await shop.GET("/api/v1/workflows"));
  const { keys } = answer(200, await admin.GET("/keys"));
  assert.deepEqual(keys.map(({ id, role, status }) => [id, role, status]), [[key.id, "runner", "revoked"]]);
}

async function workflows() {
  const kept = await create({
    name: "Total",
    nodes: [
      { id: "check", type: "conditional", config: { condition: "{{input.count}} > 0", true_edge: "end" } },
      { id: "end", type: "end", config: { output: "{{input.price * input.count}}" } },
    ],
  });
  assert.deepEqual([kept.version, kept.status, kept.warnings], [1, "active", []]);
  const page = answer(200, await client.GET("/api/v1/workflows", { params: { query: { q: "Total" } } }));
  assert.deepEqual(page.items.map(({ id, name }) => [id, name]), [[kept.id, "Total"]]);

  const begun = await client.POST("/api/v1/workflows/{id}/execute", {
    params: { path: { id: kept.id }, query: { wait: true } },
    body: { input_data: { price: 4, count: 3 } },
  });
  const job = answer(200, begun);
  assert.deepEqual([job.status, job.result], ["completed", 12]);
  const shown = await show(job.id);
  assert.equal(shown.completed_at, job.completed_at);
  assert.deepEqual(Object.keys(shown.node_results).sort(), ["check", "end"]);
  const end: Schemas["NodeResult"] | undefined = shown.node_results["end"];
  assert.deepEqual([end?.status, end?.output, end?.attempts], ["completed", 12, 1]);

  const draft = await create({ name: "Draft", status: "draft", nodes: [{ id: "end", type: "end" }] });
  const path = { id: draft.id };
  const changed = await client.PATCH("/api/v1/workflows/{id}", {
    params: { path, header: { "If-Match": '"1"' } },
    body: { description: "now with a description" },
  });
  const { version, status, name, description } = answer(200, changed);
  assert.deepEqual([version, status, name, description], [2, "draft", "Draft", "now with a description"]);

  const types = answer(200, await client.GET("/api/v1/nodes"));
  assert.equal(types.find(({ type }) => type === "switch")?.category, "flow");
}

async function jobs() {
  const { id: workflow_id } = await create({ name: "Ask", nodes: [{ id: "ask", type: "wait", config: {} }] });
  const params = { path: { id: workflow_id } };
  const job = answer(202, await client.POST("/api/v1/workflows/{id}/execute", { params }));
  assert.deepEqual([job.status, job.completed_at], ["running", null]);
  await eventually(() => show(job.id), (job) => job.node_results["ask"]?.status === "waiting");

  const of = (id: string) => ({ params: { path: { id } } });
  const cancelled = answer(200, await client.POST("/api/v1/jobs/{id}/cancel", of(job.id)));
  assert.equal(cancelled.status, "cancelled");
  refusal(409, await client.POST("/api/v1/jobs/{id}/cancel", of(job.id)));
  const again = answer(202, await client.POST("/api/v1/jobs/{id}/retry", of(job.id)));
  assert.equal(again.retry_of, job.id);
  const query = { workflow_id, status: "running" } as const;
  const page = answer(200, await client.GET("/api/v1/jobs", { params: { query } }));
  assert.deepEqual(page.items.map(({ id }) => id), [again.id]);
  answer(200, await client.POST("/api/v1/jobs/{id}/cancel", of(again.id)));
}

async function whatIsWrong() {
  const path = { id: "0".repeat(24) };
  const missing = refusal(404, await client.GET("/api/v1/workflows/{id}", { params: { path } }));
  assert.ok(typeof missing.detail === "string" && missing.detail.includes("not found"));
  const body = { name: "wrong", nodes: [{ id: "a", type: "no such type" }] };
  const { detail } = refusal(422, await client.POST("/api/v1/workflows", { body }));
  assert.ok(Array.isArray(detail));
  assert.deepEqual(detail.map(({ loc, type }) => [loc, type]), [[["body", "nodes", 0, "type"], "value_error"]]);
}

async function pipelines() {
  const greet: Schemas["HttpStep"] = {
    step_name: "greet",
    usid: "s1",
    service_url: "/echo?only=json",
    method: "POST",
    body_template: { greeting: "Hello {{original_input}}" },
    outputs: ["greeting"],
  };
  const shout: Schemas["SetStep"] = {
    type: "set",
    step_name: "shout",
    usid: "s2",
    value: "{{greeting | upper}}!",
    dependencies: ["greeting"],
    outputs: ["result"],
  };
  const body = { STEPS_CONFIG: [greet, shout], original_input: "Ada" };
  const reply = answer(200, await client.POST("/execute", { body }));
  assert.ok("success" in reply && reply.success, JSON.stringify(reply));
  assert.deepEqual([reply.final_result, reply.steps_completed], ["HELLO ADA!", 2]);
  assert.equal(reply.all_outputs["greeting"], "Hello Ada");

  const wrong = { STEPS_CONFIG: [{ ...shout, step_name: "" }] };
  const refused = answer(200, await client.POST("/execute", { body: wrong }));
  assert.ok("validation_errors" in refused && refused.validation_errors.length > 0, JSON.stringify(refused));
}

async function chains() {
  const begun = await client.POST("/", {
    body: {
      context: "The kettle is lovely.",
      provider: "echo",
      instructions: ["Summarize this", { instruction: "Translate it" }],
    },
  });
  const { instanceId } = answer(200, begun);
  const ask = async () => {
    const instance = answer(200, await client.GET("/", { params: { query: { instanceId } } }));
    assert.ok(typeof instance === "object" && "instanceId" in instance);
    return instance.status;
  };
  const ended = ["complete", "errored"];
  const { status, output } = await eventually(ask, ({ status }) => ended.includes(status));
  assert.equal(status, "complete", JSON.stringify(output?.errors));
  assert.deepEqual(output?.steps.map((step) => step.stepNumber), [1, 2]);
  assert.ok(output.steps[1]?.result?.includes("Translate it"));
  assert.equal(output.usage.calls, 2);

  const body = { context: "", provider: "echo", instructions: [] };
  const refused = refusal(400, await client.POST("/", { body }));
  assert.ok("errors" in refused);
  assert.equal(refused.errors?.length, 2);
  refusal(404, await client.GET("/", { params: { query: { instanceId: "nobody" } } }));
}

try {
  const checks = [callers, workflows, jobs, whatIsWrong, pipelines, chains];
  for (const check of checks) await check();
  console.log(`ok: ${checks.map(({ name }) => name).join(", ")}`);
} finally {
  server.kill("SIGKILL");
  await rm(data, { recursive: true, force: true, maxRetries: 5 });
}
process.exit(0);
