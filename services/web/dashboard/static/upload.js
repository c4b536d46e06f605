// A file is dropped or chosen, and sent with its progress; without this the form does the same.
const sizes = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const megabytes = (bytes) => `${sizes.format(bytes / 1e6)} MB`;

export function uploads(form) {
  const part = (id) => document.getElementById(id);
  const [input, drop, sending, problem] = ["file", "drop", "sending", "sending-problem"].map(part);

  const show = (busy) => { drop.hidden = busy; sending.hidden = !busy; };
  const fail = (text) => { show(false); problem.textContent = text; problem.hidden = false; input.focus(); };

  function send(file) {
    problem.hidden = true;
    part("sending-name").textContent = file.name;
    show(true);
    const data = new FormData();
    // The token goes first: nothing is read before it.
    data.append("csrf", form.elements.csrf.value);
    data.append("file", file);
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    const began = performance.now();
    request.upload.onprogress = (event) => {
      part("sending-bar").value = 100 * event.loaded / event.total;
      const rate = event.loaded / (performance.now() - began) * 1000;
      const left = Math.ceil((event.total - event.loaded) / rate);
      part("sending-text").textContent = event.loaded < event.total
        ? `${megabytes(event.loaded)} of ${megabytes(event.total)}, ${megabytes(rate)}/s, ${left} s left`
        : "Checking the last lines ...";
    };
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* what is no JSON has no message */ }
      if (request.status === 200) location.assign(answer.next);
      else if (request.status === 401) location.reload();
      else fail(answer.error?.message ?? `The upload failed with the status ${request.status}.`);
    };
    request.onerror = () => fail("The connection broke. Nothing was kept: send the file again.");
    request.onabort = () => fail("Stopped. Nothing was kept.");
    part("sending-stop").onclick = () => request.abort();
    request.send(data);
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
