// A run as it goes: over a stream where one can be had, by asking again and again where not.

const ENDED = new Set(["complete", "errored", "terminated"]);
const POLL_MS = 1000;
// A stream that breaks off this often in a row is given up.
const BREAKS_MAX = 3;

export const hasEnded = (status) => ENDED.has(status);

/** What the server knows the user by, if it asks. It is gone with the tab. */
export const credential = {
  get: () => sessionStorage.getItem("credential"),
  set: (value) => sessionStorage.setItem("credential", value),
};

/** The JSON of an answer; an error in its own words where it is none. */
export async function fetchJson(path, options = {}) {
  const headers = { ...options.headers };
  if (credential.get()) headers.authorization = `Bearer ${credential.get()}`;
  const response = await fetch(path, { ...options, headers });
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) {
    document.dispatchEvent(new CustomEvent("asked", { detail: body.error }));
  }
  if (!response.ok) {
    const error = new Error(body.error ?? `The server answered with status ${response.status}`);
    Object.assign(error, { status: response.status, problems: body.errors, hint: body.hint });
    throw error;
  }
  return body;
}

/** Follows a chain until it has ended. Gives a function that stops it earlier. */
export function watchChain(id, { onStatus, onToken, onError }) {
  const path = `?instanceId=${encodeURIComponent(id)}`;
  let [stopped, timer, breaks] = [false, 0, 0];
  const take = (reply) => {
    if (stopped) return;
    onStatus(reply);
    if (hasEnded(reply.status.status)) stop();
  };
  const poll = async () => {
    if (stopped) return;
    try {
      take(await fetchJson(path, { headers: { accept: "application/json" } }));
    } catch (error) {
      if (!stopped) onError(error);
      if (error.status === 404) stop();
    }
    if (!stopped) timer = setTimeout(poll, POLL_MS);
  };
  // An event source cannot send headers.
  const shown = credential.get() ? `&token=${encodeURIComponent(credential.get())}` : "";
  const source = new EventSource(path + shown);
  source.addEventListener("status", (event) => {
    breaks = 0;
    take(JSON.parse(event.data));
  });
  source.addEventListener("token", (event) => {
    if (!stopped) onToken(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    breaks += 1;
    // A refusal closes the stream for good; anything else is tried again by the browser.
    if (stopped || (source.readyState !== EventSource.CLOSED && breaks < BREAKS_MAX)) return;
    source.close();
    poll();
  });
  function stop() {
    stopped = true;
    source.close();
    clearTimeout(timer);
  }
  return stop;
}

/** Asks for something again and again until it says that it is enough. Gives a function that stops it. */
export function repeat(ask, everyMs) {
  let [stopped, timer] = [false, 0];
  const turn = async () => {
    const enough = document.hidden ? false : await ask().catch(() => false);
    if (!stopped && !enough) timer = setTimeout(turn, everyMs);
  };
  turn();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
