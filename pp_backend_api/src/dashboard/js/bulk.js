// One act on all works that match: counted first, done work by work with the public API, and stopped at any moment.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { change, get, query } from "./api.js";
import { Dialog, Failure, count, works } from "./parts.js";

const AT_ONCE = 6;
const PAGE = 1000;
/** Errors that are the works' own: they ended, moved on or are gone. */
const OVERTAKEN = [404, 409, 412];

export const DEEDS = {
  cancel: { name: "Cancel", past: "cancelled", statuses: ["pending", "running"], send: (id) => change("POST", `work/${id}/cancel`) },
  retry: { name: "Run again", past: "started again", statuses: ["failed", "cancelled"], send: (id) => change("POST", `work/${id}/retry`) },
  delete: { name: "Delete", past: "deleted", statuses: ["pending", "running", "done", "failed", "cancelled"], danger: true, send: (id) => change("DELETE", `work/${id}`) },
};

const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));

/** Sends one act, and waits as long as the API asks for. */
async function patiently(send, isStopped) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await send();
    } catch (error) {
      const later = error.status === 429 || error.status === 503;
      if (!later || tries >= 20 || isStopped()) throw error;
      await pause((error.retryAfter ?? 1) * 1000);
    }
  }
}

/** Does it to every work that matches now, newest first, and tells of its progress. */
async function actOnAll({ deed, filter, statuses, tell, isStopped }) {
  for (const status of statuses) {
    let before;
    for (;;) {
      const page = await patiently(() => get(query("work/search", { ...filter, status, before, limit: PAGE })), isStopped);
      if (page.length === 0) break;
      before = page.at(-1).id;
      const rest = page.map((work) => work.id);
      await Promise.all(Array.from({ length: AT_ONCE }, async () => {
        while (rest.length > 0 && !isStopped()) {
          const id = rest.shift();
          try {
            await patiently(() => deed.send(id), isStopped);
            tell("done");
          } catch (error) {
            if (!OVERTAKEN.includes(error.status)) throw error;
            tell("overtaken");
          }
        }
      }));
      if (isStopped()) return;
    }
  }
}

function words({ kind, status, work_code, since }) {
  const parts = [kind && `kind ${kind}`, status && `status ${status}`, work_code && `code ${work_code}…`, since && `created in the last ${since}`];
  return parts.filter(Boolean).join(", ") || "No filter: all works.";
}

export function Bulk({ deed, filter, params, onClose }) {
  const statuses = params.status ? [params.status] : deed.statuses;
  const [total, setTotal] = useState(null);
  const [state, setState] = useState("asking");
  const [error, setError] = useState(null);
  const [told, setTold] = useState({ done: 0, overtaken: 0 });
  const stopped = useRef(false);
  useEffect(() => {
    const counted = Promise.all(statuses.map((status) => get(query("work/count", { ...filter, status }))));
    counted.then(
      (counts) => setTotal({ works: counts.reduce((sum, { works }) => sum + works, 0), more: counts.some(({ more }) => more) }),
      setError,
    );
    return () => (stopped.current = true);
  }, []);
  const start = async () => {
    const so_far = { done: 0, overtaken: 0 };
    const drawing = setInterval(() => setTold({ ...so_far }), 100);
    const tell = (what) => (so_far[what] += 1);
    setState("acting");
    try {
      await actOnAll({ deed, filter, statuses, tell, isStopped: () => stopped.current });
    } catch (failure) {
      stopped.current = true;
      setError(failure);
    }
    clearInterval(drawing);
    setTold({ ...so_far });
    setState("ended");
  };
  const handled = told.done + told.overtaken;
  const number = total && `${total.more ? "more than " : ""}${works(total.works)}`;
  return html`<${Dialog} title=${`${deed.name} all that match`} busy=${state === "acting"} onClose=${onClose}>
    <p>${words(params)}</p>
    ${state === "asking" && html`<p role="status">${total ? html`<strong>${number}</strong> ${total.works === 1 && !total.more ? "is" : "are"} to be ${deed.past}.` : !error && "Counting…"}</p>`}
    ${state !== "asking" && html`<p role="status">
        <progress max=${Math.max(total.works, handled, 1)} value=${handled} aria-label="Progress"></progress>
        ${count(told.done)} of ${number} ${deed.past}${told.overtaken > 0 && `, ${count(told.overtaken)} ended or changed meanwhile`}${state === "ended" && (stopped.current ? ". Stopped." : ". Finished.")}
      </p>`}
    <${Failure} error=${error} />
    <div class="actions end">
      ${state === "asking" && html`
        <button type="button" onClick=${onClose}>Back</button>
        <button type="button" class=${deed.danger ? "danger" : "main"} disabled=${!total?.works} onClick=${start}>${deed.name}${total ? ` ${number}` : ""}</button>`}
      ${state === "acting" && html`<button type="button" onClick=${() => (stopped.current = true)}>Stop</button>`}
      ${state === "ended" && html`<button type="button" class="main" onClick=${onClose}>Close</button>`}
    </div>
  <//>`;
}
