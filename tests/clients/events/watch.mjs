// Watches a job with the clients that people use (ws, eventsource, redis-cli) while the server is killed
// twice: each of them gets every event once and in order.
//
// usage: node watch.mjs PROGRAM, in a directory that has the packages

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { EventSource } from "eventsource";
import WebSocket from "ws";

const STEPS = 9;
/** The calls during which the server is killed. */
const KILLED_AT = [3, 6];
const PATIENCE_MS = 60_000;

const program = process.argv[2];
const data = await mkdtemp(join(tmpdir(), "waystation-events-"));
const children = new Set();

async function freePort() {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

function start(command, args, env = {}) {
  const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: "ignore" });
  children.add(child);
  return child;
}

async function stop(child) {
  child.kill("SIGKILL");
  await once(child, "exit");
  children.delete(child);
}

const [port, redisPort] = [await freePort(), await freePort()];
const url = `http://127.0.0.1:${port}`;

/** Asks again until an answer comes. */
async function eventually(ask) {
  for (const began = Date.now(); ; ) {
    try {
      return await ask();
    } catch (error) {
      if (Date.now() - began > PATIENCE_MS) throw error;
      await new Promise((wait) => setTimeout(wait, 20));
    }
  }
}

async function serve() {
  const env = { PORT: `${port}`, REDIS_URL: `redis://127.0.0.1:${redisPort}` };
  const server = start(program, ["serve", "--data", data], env);
  await eventually(() => fetch(`${url}/ready`));
  return server;
}

async function post(path, body) {
  const headers = { "content-type": "application/json" };
  const reply = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await reply.json();
  assert.ok(reply.ok, JSON.stringify(answer));
  return answer;
}

/** Events over WebSocket, connected again after each break with the last id. */
function bySocket(job) {
  const events = [];
  const done = new Promise((resolve) => {
    const connect = () => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/ws/job/${job}?after=${events.length}`);
      socket.on("message", (message) => events.push(JSON.parse(message)));
      socket.on("error", () => {});
      socket.on("close", (code) => (code === 1000 ? resolve(events) : setTimeout(connect, 20)));
    };
    connect();
  });
  return { events, done };
}

/** Events by a browser's own means, which connect again by themselves. */
function byEventSource(job) {
  const events = [];
  const source = new EventSource(`${url}/api/v1/jobs/${job}/events`);
  source.onmessage = (message) => events.push(JSON.parse(message.data));
  // It gives up for good only when it is answered that there is nothing more.
  const done = eventually(async () => {
    assert.equal(source.readyState, EventSource.CLOSED, "the source has been told the end");
    return events;
  });
  return { events, done };
}

async function inRedis(workflow, count) {
  const args = ["-p", `${redisPort}`, "--json", "XRANGE", `workflow:events:${workflow}`, "-", "+"];
  return eventually(async () => {
    const { stdout } = await promisify(execFile)("redis-cli", args);
    const fields = JSON.parse(stdout).map(([, pairs]) =>
      Array.isArray(pairs)
        ? Object.fromEntries(pairs.flatMap((name, i) => (i % 2 ? [] : [[name, pairs[i + 1]]])))
        : pairs,
    );
    assert.ok(fields.length >= count, `${fields.length} of ${count} events are in Redis`);
    return fields;
  });
}

/** A service whose answers wait while the server is killed. */
async function service(onCall) {
  const target = createServer(async (request, response) => {
    await onCall(Number(request.url.slice(1)));
    response.setHeader("content-type", "application/json").end("{}");
  });
  target.listen(0, "127.0.0.1");
  await once(target, "listening");
  return target;
}

async function main() {
  start("redis-server", ["--port", `${redisPort}`, "--bind", "127.0.0.1", "--save", "", "--dir", data]);
  let server = await serve();
  const killed = new Set();
  const target = await service(async (step) => {
    if (!KILLED_AT.includes(step) || killed.has(step)) return;
    killed.add(step);
    await stop(server);
    server = await serve();
  });
  const step = (number) => ({
    id: `step${number}`,
    type: "http",
    config: { method: "GET", url: `http://127.0.0.1:${target.address().port}/${number}` },
  });
  const numbers = Array.from({ length: STEPS }, (_, number) => number);
  const nodes = [{ id: "begin", type: "wait", config: {} }, ...numbers.map(step)];
  const edges = nodes.slice(1).map((node, i) => ({ from: nodes[i].id, to: node.id }));
  const { id: workflow } = await post("/api/v1/workflows", { name: "Watched", nodes, edges });
  const { id: job } = await post(`/api/v1/workflows/${workflow}/execute`, {});
  const ways = { ws: bySocket(job), eventsource: byEventSource(job) };
  await eventually(async () => {
    for (const { events } of Object.values(ways)) assert.ok(events.length >= 3);
  });
  await post(`/api/v1/jobs/${job}/nodes/begin/signal`, { choice: "approved" });

  const told = {};
  for (const [way, { done }] of Object.entries(ways)) told[way] = await done;
  assert.equal(killed.size, KILLED_AT.length, "the server was killed in between");
  const count = told.ws.length;
  assert.ok(count >= 3 + 2 * STEPS);
  assert.deepEqual(told.ws.map((event) => event.id), Array.from({ length: count }, (_, i) => i + 1));
  assert.equal(told.ws.at(-1).event_type, "workflow_completed");
  assert.deepEqual(told.eventsource, told.ws, "both ways tell the same");
  const entries = await inRedis(workflow, count);
  const kinds = (events) => events.map((event) => `${event.id} ${event.event_type}`);
  assert.deepEqual(kinds(entries), kinds(told.ws), "and so does the stream in Redis");
  console.log(`ok: ${count} events by ws, eventsource and Redis through ${killed.size} kills`);
  target.close();
}

try {
  await main();
} finally {
  for (const child of children) child.kill("SIGKILL");
  await rm(data, { recursive: true, force: true, maxRetries: 5 });
}
process.exit(0);
