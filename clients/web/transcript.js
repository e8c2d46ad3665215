// What was said: lines that stand, and the utterance in progress. Knows no page and no socket.

const MAX_LINES = 20000; // a day of talk; then the oldest line is forgotten, also in downloads

/**
 * A line is `{kind: "speech", start, end, text, confidence, words, reason, channel}` or, where audio
 * was lost, `{kind: "gap", start, end, channel}`; times are seconds on one clock. `channel` is there
 * where channels are heard apart, `reason` in what a final has said.
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
        return this.#gap(message.start + offset_s, message.duration, message.channel);
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

  /** What is on display will be said again. */
  takeBack() {
    this.#clearLive();
  }

  /** The same, and audio is lost, but for what is on display, which was heard; gives the lines. */
  lose({ start, end }) {
    const line = this.cut();
    const from = Math.max(start, line?.end ?? 0);
    return [line, this.#gap(from, Math.max(0, end - from))].filter(Boolean);
  }

  clear() {
    this.lines = [];
    this.#clearLive();
  }

  #gap(start, duration, channel) {
    return this.#add({ kind: "gap", start, end: start + duration, channel });
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

/** A line of a final or of what was on display: in written form where the server gives one. */
function speech(said) {
  const { start, end, confidence, reason, channel, text, words, display, display_words } = said;
  const shown = { text: display ?? text, words: display_words ?? words };
  return { kind: "speech", start, end, confidence, reason, channel, ...shown };
}

/** The message with its times on another clock. */
function moved(message, offset_s) {
  const onClock = (timed) => ({
    ...timed,
    start: timed.start + offset_s,
    end: timed.end + offset_s,
  });
  const words = (message.words ?? []).map(onClock);
  return { ...onClock(message), words, display_words: message.display_words?.map(onClock) };
}
