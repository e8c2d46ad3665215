// What was said: lines that stand, and the utterances in progress. Knows no page and no socket.

const MAX_LINES = 20000; // a day of talk; then the oldest line is forgotten, also in downloads

/**
 * A line is `{kind: "speech", start, end, text, confidence, words, reason, channel}` or, where
 * audio was lost, `{kind: "gap", start, end, channel}`; times are seconds on one clock. `channel`
 * is there where channels are heard apart, `reason` in what a final has said.
 */
export class Transcript {
  #live = new Map(); // what is on display, by channel

  constructor(lines = []) {
    this.lines = lines;
  }

  /** What is on display: `{channel, committed, tail, …}` of each channel in its order. */
  get live() {
    return [...this.#live.values()].sort((one, other) => one.channel - other.channel);
  }

  /** Takes an event of the server; gives the lines that it completes. */
  accept(message, offset_s) {
    const { type, channel } = message;
    switch (type) {
      case "partial":
        this.#live.set(channel, moved(message, offset_s));
        return [];
      case "final":
        this.#live.delete(channel);
        return [this.#add(speech(moved(message, offset_s)))];
      case "gap":
        return [this.#gap(message.start + offset_s, message.duration, channel)];
      default:
        return [];
    }
  }

  /** No final will come for what is on display: it becomes lines as it is. */
  cut() {
    const said = this.live.map((each) => ({ ...each, text: joined(each.committed, each.tail) }));
    this.#live.clear();
    return said.filter(({ text }) => text).map((each) => this.#add(speech(each)));
  }

  /** What is on display will be said again. */
  takeBack() {
    this.#live.clear();
  }

  /** As `cut`, and audio is lost, but for what is on display, which was heard. */
  lose({ start, end }) {
    const lines = this.cut();
    const from = Math.max(start, ...lines.map((line) => line.end));
    return [...lines, this.#gap(from, Math.max(0, end - from))];
  }

  clear() {
    this.lines = [];
    this.#live.clear();
  }

  #gap(start, duration, channel) {
    return this.#add({ kind: "gap", start, end: start + duration, channel });
  }

  #add(line) {
    this.lines.push(line);
    if (this.lines.length > MAX_LINES) this.lines.shift();
    return line;
  }
}

/** The texts that are not empty, with a space between them. */
export function joined(...texts) {
  return texts.filter(Boolean).join(" ");
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
