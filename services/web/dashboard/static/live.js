// Server-sent events: parts that the server has drawn anew take the place of those on the page.
import { localTimes } from "./times.js";

export function follow(place) {
  const source = new EventSource(place.dataset.events);
  source.addEventListener("batch", (event) => patch(place, event.data));
  source.addEventListener("row", (event) => row(place, event.data));
  source.addEventListener("end", () => source.close());
  source.addEventListener("signed-out", () => { source.close(); location.reload(); });
  // Pages that are left hold no connection.
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

function newer(fresh, shown) {
  return Number(fresh.dataset.revision) > Number(shown.dataset.revision);
}

function patch(place, html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("[data-revision]");
  const shown = place.querySelector("[data-revision]");
  if (!newer(fresh, shown)) return;
  localTimes(fresh);
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = shown.querySelector(`[data-live="${part.dataset.live}"]`);
    // What has the focus, or has not changed, stays as it is.
    if (old.innerHTML !== part.innerHTML) replace(old, part);
  }
  if (shown.dataset.spoken !== fresh.dataset.spoken) {
    document.getElementById("spoken").textContent = `The batch is now: ${fresh.dataset.spoken}`;
  }
  shown.dataset.spoken = fresh.dataset.spoken;
  shown.dataset.revision = fresh.dataset.revision;
}

function replace(old, part) {
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  old.replaceChildren(...part.childNodes);
  if (focused) {
    const again = [...old.querySelectorAll("a[href]")].find((each) => each.getAttribute("href") === focused);
    (again ?? document.getElementById("main")).focus();
  }
}

function row(table, html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.querySelector("tr");
  localTimes(holder.content);
  const shown = document.getElementById(fresh.id);
  if (!shown) table.tBodies[0].prepend(fresh);
  else if (newer(fresh, shown)) {
    const focused = shown.contains(document.activeElement);
    shown.replaceWith(fresh);
    if (focused) fresh.querySelector("a").focus();
  }
}
