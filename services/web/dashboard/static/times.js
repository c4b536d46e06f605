// Times are drawn in UTC by the server, and shown in the reader's own zone here.
const parts = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const minutes = new Intl.DateTimeFormat(undefined, parts);
const seconds = new Intl.DateTimeFormat(undefined, { ...parts, second: "2-digit" });

const clock = new Intl.DateTimeFormat(undefined, { hour: parts.hour, minute: parts.minute });

export function localTimes(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    const short = "clock" in time.dataset && moment.toDateString() === today;
    time.textContent = (short ? clock : "second" in time.dataset ? seconds : minutes).format(moment);
  }
}
