// The page: a chain sent, runs listed, one run shown. Texts from elsewhere are only ever texts.

import { examples } from "./examples.js";
import { credential, fetchJson, hasEnded, repeat, watchChain } from "./watch.js";

const RECENT_MS = 5000;
const DETAIL_MS = 1500;
const RESULT_CHARS = 20000;
const TONES = {
  complete: "good", completed: "good",
  errored: "bad", failed: "bad",
  running: "busy", queued: "busy", retrying: "busy", waiting: "busy", paused: "busy",
};

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const state = (word) => make("span", { class: "state", "data-tone": TONES[word] }, word);
const seconds = (value) =>
  value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
const text = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
const moment = (value) => {
  const at = new Date(value);
  const today = at.toDateString() === new Date().toDateString();
  return make("time", { datetime: value, title: at.toLocaleString() },
    today ? at.toLocaleTimeString() : at.toLocaleDateString());
};

/** A long text is cut until somebody wants all of it. */
function block(value, live = false) {
  const whole = text(value);
  const pre = make("pre", { class: live ? "live" : null }, whole.slice(0, RESULT_CHARS));
  if (whole.length <= RESULT_CHARS) return pre;
  const more = make("button", { type: "button", class: "plain" }, `Show all ${whole.length} characters`);
  more.addEventListener("click", () => {
    pre.textContent = whole;
    more.remove();
  });
  return make("div", {}, pre, more);
}

// ---- who the user is, where the server asks ----

function askWho() {
  const form = byId("who");
  document.addEventListener("asked", ({ detail }) => {
    const isFirst = form.hidden;
    byId("who-why").textContent = credential.get() ? detail : "This server asks who you are.";
    form.hidden = false;
    if (isFirst) byId("credential").focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    credential.set(byId("credential").value.trim());
    location.reload();
  });
}

// ---- a new chain ----

function fillExamples() {
  const choice = byId("example");
  examples.forEach(({ name }, index) => choice.append(make("option", { value: index }, name)));
  const show = () => {
    byId("definition").value = JSON.stringify(examples[choice.value].body, null, 2);
  };
  choice.addEventListener("change", show);
  show();
}

function readChain() {
  let body;
  try {
    body = JSON.parse(byId("definition").value);
  } catch (error) {
    throw new Error(`The definition is no JSON: ${error.message}`);
  }
  if (body === null || typeof body !== "object" || Array.isArray(body)) {
    throw new Error("The definition must be a JSON object with context and instructions");
  }
  // The page watches, but not yet when the first step begins.
  body.stream ??= true;
  for (const name of ["provider", "model"]) {
    const value = byId(name).value.trim();
    if (value) body[name] = value;
  }
  return body;
}

async function send() {
  const button = byId("chain").querySelector("button[type=submit]");
  byId("problems").replaceChildren();
  button.disabled = true;
  try {
    const options = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(readChain()),
    };
    const { instanceId } = await fetchJson("./", options);
    location.hash = instanceId;
    byId("run").focus({ preventScroll: window.innerWidth > 960 });
    refreshRecent();
  } catch (error) {
    const lines = error.problems ?? [error.message];
    if (error.hint) lines.push(error.hint);
    byId("problems").append(make("ul", {}, ...lines.map((line) => make("li", {}, line))));
  } finally {
    button.disabled = false;
  }
}

// ---- recent runs ----

function recentRow(run) {
  const current = location.hash.slice(1) === run.execution_id;
  const name = run.workflow_name ?? run.workflow_id;
  const link = make("a", { href: `#${run.execution_id}`, "aria-current": current ? "true" : null },
    state(run.status), make("span", {}, name), moment(run.created_at));
  return make("li", {}, link);
}

async function refreshRecent() {
  const list = byId("recent");
  const { runs } = await fetchJson("runs?limit=20");
  const key = JSON.stringify([runs, location.hash]);
  // An unchanged list keeps the focus where it is.
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const focused = list.contains(document.activeElement) ? document.activeElement.hash : null;
  const rows = runs.map(recentRow);
  list.replaceChildren(...(rows.length ? rows : [make("li", { class: "hint" }, "No runs yet.")]));
  if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

// ---- one run ----

/** What a page shows of a run, whatever its format: filled by its status and by what `/runs` tells. */
function emptyModel(id) {
  return { id, status: null, error: null, steps: [], live: null, errors: [], logs: [], detail: null };
}

function foldStatus(model, { status }) {
  const output = status.output ?? {};
  model.status = status.status;
  model.error = status.error ?? null;
  model.errors = output.errors ?? [];
  const hint = (number) =>
    model.errors.find((error) => error.stepNumber === number)?.context?.hint;
  model.steps = (output.steps ?? []).map((step) => ({
    number: step.stepNumber,
    title: step.instruction,
    result: step.result,
    error: step.error,
    hint: step.error ? hint(step.stepNumber) : null,
    aside: [
      step.conditionEvaluated ? `condition: ${step.conditionResult}` : null,
      step.usage?.total_tokens ? `${step.usage.total_tokens} tokens` : null,
      step.usage?.cached ? "cached" : null,
      seconds(step.duration ?? 0),
    ],
  }));
  model.logs = output.logs ?? [];
  const settled = model.steps.some((step) => step.number === model.live?.number);
  if (settled || hasEnded(model.status)) model.live = null;
}

/** A piece of an answer that is being made. Another attempt begins it anew. */
function foldToken(model, { stepNumber, attempt, text }) {
  if (model.steps.some((step) => step.number === stepNumber)) return;
  if (model.live?.number !== stepNumber || model.live.attempt !== attempt) {
    model.live = { number: stepNumber, attempt, text: "" };
  }
  model.live.text += text;
}

/** What `/runs/{id}` tells of a run of another format. */
function foldDetail(model, detail) {
  model.detail = detail;
  if (model.isChain) return;
  model.status = detail.status;
  model.error = detail.result?.error ?? null;
  const begun = detail.steps.filter((step) => step.status !== "waiting");
  model.steps = begun.map((step, index) => ({
    number: index + 1,
    title: step.step_name,
    tone: TONES[step.status],
    result: Object.keys(step.outputs ?? {}).length ? step.outputs : undefined,
    error: step.error,
    hint: step.hint,
    aside: [step.status, seconds(step.execution_time ?? 0)],
  }));
  model.logs = detail.log.map((line) => ({ ...line, message: line.message }));
}

function failure(error, hint) {
  return make("div", { class: "failure" }, error, hint ? make("p", { class: "hint" }, hint) : null);
}

function stepCard(step) {
  const head = make("div", { class: "head" },
    make("span", { class: "number" }, String(step.number)),
    make("span", { class: "title" }, step.title ?? ""),
    make("span", { class: "aside" }, step.aside.filter(Boolean).join(" · ")));
  const tone = step.error ? "bad" : step.tone;
  const card = make("li", { class: "step", "data-tone": tone === "good" ? null : tone }, head);
  if (step.result !== undefined && step.result !== null) card.append(block(step.result, step.live));
  if (step.error) card.append(failure(step.error, step.hint));
  return card;
}

/** The step that is under way, with what is known of it. */
function presentStep(model) {
  if (hasEnded(model.status) || !model.isChain || model.status === null) return null;
  const number = model.live?.number ?? Math.max(0, ...model.steps.map((step) => step.number)) + 1;
  const step = (model.detail?.steps ?? []).find((step) => ["running", "retrying"].includes(step.status));
  const wait = step?.waiting ?? (step?.status === "retrying" ? `tries again: ${step.error}` : null);
  const attempt = step?.attempts > 1 ? `attempt ${step.attempts}` : null;
  const aside = [attempt, wait ?? "under way"];
  const title = step?.instruction ?? "";
  return { number, title, tone: "busy", aside, live: true, result: model.live?.text ?? "" };
}

function usageLine(detail) {
  const usage = detail?.usage;
  if (!usage?.calls && !usage?.cached) return null;
  const parts = [
    `${usage.calls} ${usage.calls === 1 ? "call" : "calls"}`,
    `${usage.total_tokens} tokens`,
    usage.cost_usd > 0 ? `$${usage.cost_usd.toFixed(6)}` : null,
    usage.cached ? `${usage.cached} from the cache` : null,
  ];
  return parts.filter(Boolean).join(" · ");
}

function bar(model) {
  const { detail } = model;
  const running = detail?.status === "running";
  const act = async (path) => fetchJson(`runs/${model.id}/${path}`, { method: "POST" });
  const cancel = make("button", { type: "button" }, "Cancel");
  cancel.addEventListener("click", () => act("cancel").catch(showFault));
  const retry = make("button", { type: "button" }, "Try again");
  retry.addEventListener("click", () =>
    act("retry").then((next) => { location.hash = next.execution_id; }).catch(showFault));
  const again = detail && !running && detail.status !== "completed";
  return make("div", { class: "bar" }, state(model.status ?? "…"), make("code", {}, model.id),
    make("span", { class: "right" }, running ? cancel : null, again ? retry : null));
}

function logList(logs) {
  const line = ({ timestamp, level, message, stepNumber, step_name: name }) => {
    const own = stepNumber ? `Step ${stepNumber}` : name;
    const step = own && !message.startsWith(own) ? `${own}: ` : "";
    return make("li", { "data-level": level }, moment(timestamp), ` ${step}${message}`);
  };
  return make("details", {}, make("summary", {}, `Log (${logs.length})`),
    make("ul", { class: "log" }, ...logs.map(line)));
}

/** Shows a run. Parts that have not changed stay as they are: what is open or selected in them too. */
function render(model, parts) {
  const { detail } = model;
  const times = detail
    ? [new Date(detail.created_at).toLocaleString(),
       detail.execution_time === null ? null : seconds(detail.execution_time),
       usageLine(detail)]
    : [];
  parts.put("bar", [model.status, detail?.status], () => bar(model));
  parts.put("facts", times, () => make("p", { class: "facts" }, times.filter(Boolean).join(" · ")));
  const told = model.errors.length > 0 || model.steps.some((step) => step.error);
  parts.put("error", [model.error, told], () =>
    model.error && !told ? failure(model.error) : null);
  const present = presentStep(model);
  for (const step of present ? [...model.steps, present] : model.steps) {
    parts.put(`step ${step.number}`, step, () => stepCard(step), "steps");
  }
  const stale = present ? null : `step ${model.steps.length + 1}`;
  if (stale) parts.drop(stale);
  parts.put("errors", model.errors, () => errorList(model));
  parts.put("logs", model.logs, () => (model.logs.length ? logList(model.logs) : null));
}

/** Errors of steps that have no card of their own. */
function errorList(model) {
  const shown = new Set(model.steps.filter((step) => step.error).map((step) => step.number));
  const lines = model.errors.filter((error) => !shown.has(error.stepNumber));
  if (!lines.length) return null;
  const line = (error) => failure(
    `${error.stepNumber ? `Step ${error.stepNumber}: ` : ""}${error.error}`, error.context?.hint);
  return make("div", {}, ...lines.map(line));
}

/** The parts of a run's view, in order; each is made anew only when what it shows has changed. */
function makeParts(view) {
  const slots = new Map();
  const steps = make("ol", { class: "steps", "aria-label": "Steps" });
  const places = ["bar", "facts", "error"].map((name) => [name, make("div")]);
  const ends = ["errors", "logs"].map((name) => [name, make("div")]);
  view.replaceChildren(...places.map(([, at]) => at), steps, ...ends.map(([, at]) => at));
  for (const [name, at] of [...places, ...ends]) slots.set(name, { at, key: null });
  return {
    put(name, value, build, list) {
      const key = JSON.stringify(value);
      let slot = slots.get(name);
      if (slot?.key === key) return;
      const made = build();
      if (list === "steps") {
        if (slot) slot.at.replaceWith(made);
        else steps.append(made);
        slots.set(name, { at: made, key });
        return;
      }
      slot.key = key;
      const wasOpen = slot.at.querySelector("details")?.open;
      slot.at.replaceChildren(...(made ? [made] : []));
      if (wasOpen) slot.at.querySelector("details")?.setAttribute("open", "");
    },
    drop(name) {
      slots.get(name)?.at.remove();
      slots.delete(name);
    },
  };
}

function showFault(error) {
  byId("view").replaceChildren(failure(error.message, error.hint));
}

let stopShowing = () => {};

async function show(id) {
  stopShowing();
  let frame = 0;
  const stops = [() => cancelAnimationFrame(frame)];
  let current = true;
  stopShowing = () => {
    current = false;
    stops.forEach((stop) => stop());
  };
  if (!id) {
    byId("view").replaceChildren(make("p", { class: "hint" }, "Send a chain, or pick a run from the list."));
    return;
  }
  const model = emptyModel(id);
  const parts = makeParts(byId("view"));
  // However much comes in, the page is drawn once a frame.
  const draw = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => render(model, parts));
  };
  const path = `runs/${encodeURIComponent(id)}`;
  const look = async () => {
    const detail = await fetchJson(path);
    if (!current) return true;
    foldDetail(model, detail);
    draw();
    return detail.status !== "running";
  };
  try {
    const detail = await fetchJson(path);
    if (!current) return;
    model.isChain = detail.dialect === "instructions";
    foldDetail(model, detail);
  } catch (error) {
    if (current) showFault(error);
    return;
  }
  draw();
  stops.push(repeat(look, DETAIL_MS));
  if (!model.isChain) return;
  stops.push(watchChain(id, {
    onStatus(reply) {
      foldStatus(model, reply);
      draw();
      announce(model);
      if (hasEnded(model.status)) {
        look().catch(() => {});
        refreshRecent().catch(() => {});
      }
    },
    onToken(token) {
      foldToken(model, token);
      draw();
    },
    onError: showFault,
  }));
}

/** Tells those who do not see the page how the run goes. */
function announce(model) {
  const line = `${model.status}, ${model.steps.length} steps done`;
  if (byId("announcement").textContent !== line) byId("announcement").textContent = line;
}

function start() {
  askWho();
  fillExamples();
  byId("chain").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  byId("definition").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      byId("chain").requestSubmit();
    }
  });
  const open = () => {
    show(location.hash.slice(1)).catch(showFault);
    refreshRecent().catch(() => {});
  };
  window.addEventListener("hashchange", open);
  open();
  repeat(refreshRecent, RECENT_MS);
}

start();
