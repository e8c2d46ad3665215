// What was said: lines that stand, and the utterance in progress. Knows no page and no socket.

const MAX_LINES = 20000; // a day of talk; then the oldest line is forgotten, also in downloads

/**
 * A line is `{kind: "speech", start, end, text, confidence, words}` or, where audio was lost,
 * `{kind: "gap", start, end}`; times are seconds on one clock.
 */
export class Transcript {
  constructor(lines = []) {
    this.lines = lines;
    this.live = { committed: "", tail: "", start: 0, end: 0, words: [] };
  }

  /** Takes an event of the server; gives the line it completes, if it does. */
  accept(message, offset_s) {
    switch (message.type) {
      case "partial":
        this.live = moved(message, offset_s);
        return null;
      case "final":
        this.#clearLive();
        return this.#add(speech(moved(message, offset_s)));
      case "gap":
        return this.gap(message.start + offset_s, message.start + message.duration + offset_s);
      default:
        return null;
    }
  }

  /** No final will come for what is on display: it becomes a line as it is. */
  cut() {
    const { committed, tail, ...rest } = this.live;
    const text = [committed, tail].filter(Boolean).join(" ");
    this.#clearLive();
    return text ? this.#add(speech({ ...rest, text })) : null;
  }

  gap(start, end) {
    return this.#add({ kind: "gap", start, end });
  }

  clear() {
    this.lines = [];
    this.#clearLive();
  }

  #add(line) {
    this.lines.push(line);
    if (this.lines.length > MAX_LINES) this.lines.shift();
    return line;
  }

  #clearLive() {
    this.live = { committed: "", tail: "", start: 0, end: 0, words: [] };
  }
}

function speech({ start, end, text, confidence, words = [] }) {
  return { kind: "speech", start, end, text, confidence, words };
}

/** The message with its times on another clock. */
function moved(message, offset_s) {
  const words = (message.words ?? []).map((word) => ({
    ...word,
    start: word.start + offset_s,
    end: word.end + offset_s,
  }));
  return { ...message, start: message.start + offset_s, end: message.end + offset_s, words };
}
