// A file is dropped or chosen, and sent from where the server stands: after a break, and after the
// page was loaded again. Without this the form sends it whole.
import { amount, duration, Pace } from "./pace.js";
import { memory } from "./unfinished.js";

const ASK_EVERY = 1500;
const LONGEST_WAIT = 15_000;
const PATIENCE = 10_000;
const QUIET = 3000;
const STALLED = 120_000;

// What may be gone the next time. `told`: by the server, which was reached.
class Passing extends Error {
  constructor(message, told = false) { super(message); this.told = told; }
}

class Upload {
  constructor(file, csrf, view) {
    Object.assign(this, { file, csrf, view, committed: 0, stopped: false, broken: false });
    this.memory = memory(file);
    this.id = this.memory.id;
  }

  get address() { return `/uploads/${this.id}`; }

  async run() {
    let wait = 1000;
    while (!this.stopped) {
      const before = this.committed;
      try {
        const at = await this.ask();
        if (at.next) return this.end(at.next);
        // What is committed is never taken back, but of an upload that was given up.
        if (at.offset < before) throw new Error("The server has given this upload up: its file is over a limit, or it was cancelled elsewhere.");
        if (this.broken) this.view.say("The upload goes on.");
        this.broken = false;
        return this.end((await this.send(at.offset)).next);
      } catch (error) {
        if (this.stopped) return;
        if (!(error instanceof Passing)) return this.fail(error.message);
        const why = error.told ? error.message : "The connection is away.";
        if (!this.broken) this.view.say(`${why} What came is kept.`);
        this.broken = true;
        wait = this.committed > before ? 1000 : Math.min(2 * wait, LONGEST_WAIT);
        this.view.waiting(this.committed, this.file.size, why);
        await this.rest(wait);
      }
    }
  }

  // Where the server stands; it is shown what is wrong so far.
  async ask(method = "GET") {
    const headers = { accept: "application/json", "x-csrf-token": this.csrf };
    let answer;
    try {
      answer = await fetch(this.address, { method, headers, signal: AbortSignal.timeout(PATIENCE) });
    } catch (error) {
      throw new Passing(error.message);
    }
    const found = await this.read(answer.status, await answer.text().catch(() => ""), answer.headers.get("x-should-retry"));
    if (found.offset > this.committed) {
      this.committed = found.offset;
      this.memory.keep(found.offset);
    }
    if (found.problem_count) this.view.problems(found.problem_count, found.problems);
    return found;
  }

  async read(status, text, again) {
    let found = {};
    try { found = JSON.parse(text); } catch { /* what is no JSON has no message */ }
    if (status === 200) return found;
    if (status === 401) location.reload();
    const message = found.error?.message ?? `The upload failed with the status ${status}.`;
    // Somebody else's answer, such as a proxy's, may pass, too.
    const passes = again === null ? status >= 500 || status === 401 : again === "true";
    throw passes || found.error?.code === "write_offset_mismatch" ? new Passing(message, true) : new Error(message);
  }

  // The rest of the file, as one request: the browser reads it from the disk while it goes.
  send(offset) {
    const { file, view } = this;
    const pace = new Pace(offset);
    const request = this.request = new XMLHttpRequest();
    return new Promise((resolve, reject) => {
      let sent = offset, moved = performance.now();
      const give = (error) => { reject(error); request.abort(); };
      const watch = setInterval(async () => {
        try {
          const at = await this.ask();
          if (at.next) { resolve(at); request.abort(); return; }
        } catch (error) {
          // A request that hangs tells nothing: that others fail, too, does.
          if (performance.now() - moved > PATIENCE) give(new Passing(error.message));
        }
        const still = performance.now() - moved;
        if (sent < file.size && still > STALLED) give(new Passing("stalled"));
        // After a break the server reads again what it has.
        else show(still > QUIET);
      }, ASK_EVERY);
      const show = (waits = false) => view.progress(sent, file.size, pace, waits);
      request.upload.onprogress = (event) => {
        sent = offset + event.loaded;
        moved = performance.now();
        pace.add(sent);
        show();
      };
      request.onload = () => resolve(this.read(request.status, request.responseText, request.getResponseHeader("x-should-retry")));
      request.onerror = async () => {
        // The same is said of a file that cannot be read any more.
        try {
          await file.slice(0, 1).arrayBuffer();
          reject(new Passing("broken"));
        } catch {
          reject(new Error("The file was changed or moved while it was sent: choose it again."));
        }
      };
      request.onabort = () => reject(new Passing("aborted"));
      request.onloadend = () => clearInterval(watch);
      request.open("PATCH", this.address);
      const headers = {
        "accept": "application/json", "x-csrf-token": this.csrf, "content-type": "application/octet-stream",
        "upload-offset": offset, "upload-length": file.size, "upload-name": encodeURIComponent(file.name),
      };
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      show();
      this.memory.keep(offset);
      request.send(file.slice(offset));
    });
  }

  rest(wait) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.wake = () => { clearTimeout(timer); resolve(); };
      addEventListener("online", this.wake, { once: true });
    });
  }

  end(address) {
    this.stopped = true;
    this.memory.forget();
    location.assign(address);
  }

  fail(message) {
    this.stopped = true;
    this.view.fail(message);
  }

  async cancel() {
    this.stopped = true;
    this.request?.abort();
    this.wake?.();
    this.memory.forget();
    this.view.fail("Cancelled. Nothing was kept.");
    // What cannot be reached now is deleted by the server when nobody goes on with it.
    await this.ask("DELETE").catch(() => {});
  }
}

export function uploads(form) {
  const part = (name) => document.getElementById(name);
  const [input, drop, sending, problem, found] = ["file", "drop", "sending", "sending-problem", "found"].map(part);
  const show = (busy) => { drop.hidden = busy; sending.hidden = !busy; };
  let counted = 0;

  const view = {
    say(text) { part("spoken").textContent = text; },
    progress(sent, size, pace, waits) {
      part("sending-bar").value = size ? 100 * sent / size : 100;
      const left = pace.left(size - sent);
      const speed = waits ? ", waiting for the server" : left ? `, ${amount(pace.rate)}/s, ${duration(left)} left` : "";
      part("sending-text").textContent = sent < size
        ? `${amount(sent)} of ${amount(size)}${speed}`
        : "All of it is there. Checking the last lines ...";
    },
    waiting(committed, size, why) {
      part("sending-bar").value = 100 * committed / size;
      part("sending-text").textContent = `${amount(committed)} of ${amount(size)} are there. ${why} This goes on by itself.`;
    },
    problems(count, html) {
      // A stream that goes on finds the same ones again.
      if (count <= counted) return;
      if (!counted) view.say("Bad lines were found.");
      counted = count;
      part("found-count").textContent = count.toLocaleString();
      part("found-table").replaceChildren(new DOMParser().parseFromString(html, "text/html").querySelector("table"));
      found.hidden = false;
    },
    fail(text) {
      show(false);
      problem.textContent = text;
      problem.hidden = false;
      input.focus();
    },
  };

  function send(file) {
    const most = Number(form.dataset.maxBytes);
    problem.hidden = found.hidden = true;
    counted = 0;
    if (file.size > most) return view.fail(`The file has ${amount(file.size)}; at most ${amount(most)} are taken: split it.`);
    part("unfinished").hidden = true;
    part("sending-name").textContent = file.name;
    show(true);
    part("sending-stop").focus();
    const upload = new Upload(file, form.elements.csrf.value, view);
    part("sending-stop").onclick = () => upload.cancel();
    upload.run();
  }

  form.addEventListener("submit", (event) => {
    if (!input.files.length) return;
    event.preventDefault();
    send(input.files[0]);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
    });
  }
}
