// Times are drawn in UTC by the server, and shown in the reader's own zone here.
const parts = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const minutes = new Intl.DateTimeFormat(undefined, parts);
const seconds = new Intl.DateTimeFormat(undefined, { ...parts, second: "2-digit" });

export function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const format = "second" in time.dataset ? seconds : minutes;
    time.textContent = format.format(new Date(time.dateTime));
  }
}
