// What every page gets: local times, buttons that copy, live parts, uploads with progress.
import { localTimes } from "./times.js";
import { follow } from "./live.js";
import { saving } from "./saving.js";
import { forgetAll, unfinished } from "./unfinished.js";
import { uploads } from "./upload.js";

document.documentElement.classList.add("live-page");
localTimes(document);

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
    document.getElementById("spoken").textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  // Only pages over TLS, and of this machine, may write to the clipboard.
  if (!navigator.clipboard) button.hidden = true;
}

// The newest days are at the right, out of sight where a chart is wider than the screen.
for (const chart of document.querySelectorAll(".drawn")) chart.scrollLeft = chart.scrollWidth;
for (const place of document.querySelectorAll("[data-events]")) follow(place);
for (const each of document.querySelectorAll("[data-saves]")) saving(each);
const form = document.getElementById("upload");
if (form) {
  uploads(form);
  unfinished(document.getElementById("unfinished"));
}
// What this browser knows of files is its user's.
document.querySelector("form.out")?.addEventListener("submit", forgetAll);
