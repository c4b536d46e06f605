// Which uploads this browser has begun: the same file, chosen again, goes on.
import { amount } from "./pace.js";

const PREFIX = "polybatch.upload ";
// As long as the server keeps what nobody goes on with.
const DAY = 86_400_000;

function read(key) {
  try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
}

export function memory(file) {
  const key = `${PREFIX}${file.size} ${file.lastModified} ${file.name}`;
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  const id = read(key)?.id ?? btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
  return {
    id,
    // Without room, or where it is forbidden, the file is begun anew after a reload.
    keep(committed) {
      const value = { id, name: file.name, size: file.size, committed, at: Date.now() };
      try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* see above */ }
    },
    forget() { localStorage.removeItem(key); },
  };
}

function keys() { return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)); }

export function forgetAll() { for (const key of keys()) localStorage.removeItem(key); }

export function unfinished(place) {
  const list = place.querySelector("ul");
  for (const key of keys()) {
    const found = read(key);
    if (!found || Date.now() - found.at > DAY) { localStorage.removeItem(key); continue; }
    const item = document.createElement("li");
    const name = document.createElement("strong");
    name.textContent = found.name;
    item.append(name, ` ${amount(found.committed)} of ${amount(found.size)} `);
    list.append(item);
  }
  place.hidden = !list.children.length;
}
