// Times are drawn in UTC by the server, and shown in the reader's own zone here.
const near = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const text = near.format(new Date(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}
