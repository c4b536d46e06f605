// The list of batches: rows that the server has drawn anew, and what was missed between two watches.
import { localTimes } from "./times.js";

export function newer(fresh, shown) {
  return Number(fresh.dataset.revision) > Number(shown.dataset.revision);
}

export function row(table, html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.querySelector("tr");
  localTimes(holder.content);
  const shown = document.getElementById(fresh.id);
  if (!shown) {
    if ("known" in table.dataset) return;
    // Ids rise with time: an older batch than those of this page belongs on a later one.
    // One of the same moment may be told of first.
    [...table.tBodies[0].rows].find((each) => each.id < fresh.id)?.before(fresh);
  } else if (newer(fresh, shown)) {
    keepingFocus(() => shown.replaceWith(fresh));
  }
}

// The page as it is now, but for what a watch has told meanwhile; returns what is to be followed.
export async function catchUp(place) {
  const known = new Set([...place.querySelectorAll("tbody tr")].map((each) => each.id));
  const answer = await fetch(location.href);
  if (!answer.ok) throw new Error(answer.statusText);
  // The session has ended: the events lead to the sign-in page.
  if (answer.redirected) return place;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const table = page.querySelector("table.list");
  if (!place.tBodies || !table) {
    if (place.tBodies || table) anew(page);
    return document.querySelector("[data-events]") ?? place;
  }
  localTimes(table);
  const rows = [...table.tBodies[0].rows].map((fresh) => {
    const shown = document.getElementById(fresh.id);
    return shown && !newer(fresh, shown) ? shown : fresh;
  });
  const body = place.tBodies[0];
  const made = [...body.rows].filter((each) => !known.has(each.id) && !rows.includes(each));
  keepingFocus(() => body.replaceChildren(...made, ...rows));
  document.querySelector(".pager").replaceWith(page.querySelector(".pager"));
  return place;
}

// Not by loading it: that would undo a click that is under way.
function anew(page) {
  const main = document.getElementById("main");
  const focused = main.contains(document.activeElement);
  localTimes(page);
  main.replaceChildren(...page.getElementById("main").childNodes);
  if (focused) main.focus();
}

function keepingFocus(change) {
  const held = document.activeElement.closest("tr")?.id;
  change();
  if (!held) return;
  // A row may have had to go.
  (document.getElementById(held)?.querySelector("a") ?? document.getElementById("main")).focus();
}
