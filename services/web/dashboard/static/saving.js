// Forms whose answer is a secret: it is saved as a file, and the page behind it is shown anew.
// Without this the browser saves it by itself, and the page stays.
export function saving(form) {
  const problem = form.querySelector("[data-problem]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    let text, answer;
    try {
      const body = new URLSearchParams(new FormData(form));
      answer = await fetch(form.action, { method: "POST", body, headers: { accept: "application/json" } });
      text = await answer.text();
    } catch {
      text = '{"error": {"message": "The server was not reached: look whether it was made before trying again."}}';
    }
    if (!answer?.ok) {
      let told;
      try { told = JSON.parse(text).error.message; } catch { told = `It failed with the status ${answer.status}.`; }
      problem.textContent = told;
      problem.hidden = false;
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = answer.headers.get("content-disposition").match(/filename="([^"]+)"/)[1];
    link.click();
    location.assign(form.dataset.saves);
  });
}
