// How fast bytes go, and how people read bytes and times.
const SPAN = 10_000;
const number = (value, digits) => value.toLocaleString(undefined, { maximumFractionDigits: digits });

export function amount(bytes) {
  if (bytes >= 1e9) return `${number(bytes / 1e9, 2)} GB`;
  return bytes >= 1e6 ? `${number(bytes / 1e6, 1)} MB` : `${number(bytes / 1e3, 1)} KB`;
}

export function duration(seconds) {
  const left = Math.ceil(seconds);
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.ceil(left / 60)} min`;
  return `${Math.floor(left / 3600)} h ${Math.ceil(left % 3600 / 60)} min`;
}

// Of the last seconds: a start that was slow is soon forgotten.
export class Pace {
  constructor(bytes) { this.seen = [[performance.now(), bytes]]; }

  add(bytes) {
    const now = performance.now();
    this.seen.push([now, bytes]);
    while (this.seen.length > 2 && now - this.seen[0][0] > SPAN) this.seen.shift();
  }

  get rate() {
    const [[began, first], [ended, last]] = [this.seen[0], this.seen.at(-1)];
    return ended > began ? (last - first) / (ended - began) * 1000 : 0;
  }

  left(bytes) { return this.rate ? bytes / this.rate : 0; }
}
