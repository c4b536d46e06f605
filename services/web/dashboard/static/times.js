// Times are drawn in UTC by the server, and shown in the reader's own zone here.
const parts = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const format = (parts) => new Intl.DateTimeFormat(undefined, parts);
const minutes = { near: format(parts), far: format({ ...parts, year: "numeric" }) };
const precise = { ...parts, second: "2-digit" };
const seconds = { near: format(precise), far: format({ ...precise, year: "numeric" }) };
const clock = format({ hour: parts.hour, minute: parts.minute });

export function localTimes(root) {
  const now = new Date();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    const short = "clock" in time.dataset && moment.toDateString() === now.toDateString();
    const { near, far } = "second" in time.dataset ? seconds : minutes;
    // A day of another year has its year.
    const day = moment.getFullYear() === now.getFullYear() ? near : far;
    time.textContent = (short ? clock : day).format(moment);
  }
}
