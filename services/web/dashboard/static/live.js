// Server-sent events: parts that the server has drawn anew take the place of those on the page.
import { catchUp, newer, row } from "./list.js";
import { localTimes } from "./times.js";

const LONGEST_WAIT = 30_000;
const MOST_ROWS = 200;

export function follow(place) {
  let source, timer, wait = 2000, behind = false, busy = false;

  function connect() {
    const address = new URL(place.dataset.events, location.href);
    const shown = place.querySelector("[data-revision]");
    // What the page shows by now need not be sent again.
    if (address.searchParams.has("seen")) address.searchParams.set("seen", shown.dataset.revision);
    source = new EventSource(address);
    source.onopen = () => { wait = 2000; behind = !address.searchParams.has("seen"); };
    source.addEventListener("batch", (event) => patch(place, event.data));
    source.addEventListener("row", (event) => {
      if (place.tBodies) row(place, event.data);
      // The page before the first batch has no table yet. Left open, one would grow with each batch.
      if (!place.tBodies || place.tBodies[0].rows.length > MOST_ROWS) behind = true;
      begun();
    });
    source.addEventListener("alive", begun);
    source.addEventListener("end", () => source.close());
    source.addEventListener("signed-out", () => { source.close(); location.reload(); });
    // A connection that broke is made again by the browser; one that was refused is not.
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) again(); };
  }

  // A watch of all batches begins with those that run: what ended before it is on a new page only.
  async function begun() {
    if (!behind || busy) return;
    [behind, busy] = [false, true];
    try {
      place = await catchUp(place);
    } catch {
      await new Promise((over) => { setTimeout(over, LONGEST_WAIT); });
      behind = true;
    }
    busy = false;
  }

  async function again() {
    timer = setTimeout(connect, wait);
    wait = Math.min(2 * wait, LONGEST_WAIT);
    try {
      const answer = await fetch(location.pathname, { method: "HEAD", redirect: "manual" });
      // The session has ended: the page leads to the sign-in page.
      if (answer.status === 401 || answer.type === "opaqueredirect") location.reload();
    } catch { /* not reached: the next try says more */ }
  }

  const stop = () => { clearTimeout(timer); source.close(); };
  connect();
  // Pages that are left hold no connection.
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

function patch(place, html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("[data-revision]");
  const shown = place.querySelector("[data-revision]");
  if (!newer(fresh, shown)) return;
  localTimes(fresh);
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = shown.querySelector(`[data-live="${part.dataset.live}"]`);
    // What has not changed stays as it is, with its focus and selection.
    if (old.innerHTML !== part.innerHTML) replace(old, part);
  }
  if (shown.dataset.spoken !== fresh.dataset.spoken) {
    document.getElementById("spoken").textContent = `The batch is now: ${fresh.dataset.spoken}`;
  }
  shown.dataset.spoken = fresh.dataset.spoken;
  shown.dataset.revision = fresh.dataset.revision;
}

function replace(old, part) {
  const active = document.activeElement;
  const focused = old.contains(active) ? leadsTo(active) : null;
  old.replaceChildren(...part.childNodes);
  if (focused === null) return;
  const same = [...old.querySelectorAll("a[href], button")].find((each) => leadsTo(each) === focused);
  (same ?? document.getElementById("main")).focus();
}

function leadsTo(control) {
  return control.getAttribute("href") ?? control.form?.getAttribute("action") ?? "";
}
