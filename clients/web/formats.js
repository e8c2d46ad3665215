// Transcript lines as text, SubRip, WebVTT and JSON.

const LINE_LENGTH = 42; // characters that a reader takes in at a glance
const LINES = 2;

export const FORMATS = {
  txt: { type: "text/plain", write: toText },
  srt: { type: "application/x-subrip", write: (lines) => toCaptions(lines, "srt") },
  vtt: { type: "text/vtt", write: (lines) => toCaptions(lines, "vtt") },
  json: { type: "application/json", write: toJson },
};

export function toText(lines) {
  return lines.map((line) => `[${clock(line.start)}] ${lineText(line)}\n`).join("");
}

export function lineText(line) {
  if (line.kind === "speech") return line.text;
  const lost_s = line.end - line.start;
  return lost_s < 0.05
    ? "(connected again; no audio was lost)"
    : `(${lost_s.toFixed(1)} s of audio were lost)`;
}

/** Seconds as 1:02:03, or 2:03 in the first hour. */
export function clock(time_s) {
  const seconds = Math.floor(time_s);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (number) => String(number).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function toJson(lines) {
  const to_ms = (_, value) => (typeof value === "number" ? Math.round(value * 1000) / 1000 : value);
  return `${JSON.stringify({ lines }, to_ms, 1)}\n`;
}

/** Cues of at most two lines, timed by their words; none begins before its predecessor's end. */
function toCaptions(lines, kind) {
  let text = kind === "vtt" ? "WEBVTT\n\n" : "";
  let count = 0;
  let until_ms = 0;
  for (const cue of lines.flatMap(cues)) {
    const start_ms = Math.max(cue.start_ms, until_ms);
    until_ms = Math.max(cue.end_ms, start_ms + 1);
    count += 1;
    if (kind === "srt") text += `${count}\n`;
    text += `${cueTime(start_ms, kind)} --> ${cueTime(until_ms, kind)}\n`;
    text += cue.lines.map((line) => escaped(line, kind)).join("\n") + "\n\n";
  }
  return text;
}

function cues(line) {
  if (line.kind !== "speech") return [];
  const found = [];
  let spoken = [];
  for (const word of timedWords(line)) {
    if (spoken.length > 0 && broken([...spoken, word]).length > LINES) {
      found.push(cue(spoken));
      spoken = [];
    }
    spoken.push(word);
  }
  if (spoken.length > 0) found.push(cue(spoken));
  return found;
}

/** The words with their times; where the server gave none, they share the line's evenly. */
function timedWords(line) {
  if (line.words.length > 0) return line.words;
  const words = line.text.split(" ").filter(Boolean);
  const share_s = (line.end - line.start) / Math.max(words.length, 1);
  return words.map((word, i) => ({
    word,
    start: line.start + i * share_s,
    end: line.start + (i + 1) * share_s,
  }));
}

function cue(words) {
  return {
    start_ms: Math.round(words[0].start * 1000),
    end_ms: Math.round(words.at(-1).end * 1000),
    lines: broken(words),
  };
}

/** Greedy line breaking; a word longer than a line keeps a line of its own. */
function broken(words) {
  const lines = [];
  for (const { word } of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= LINE_LENGTH) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else {
      lines.push(word);
    }
  }
  return lines;
}

function cueTime(time_ms, kind) {
  const two = (number) => String(number).padStart(2, "0");
  const seconds = Math.floor(time_ms / 1000);
  const hms = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(two);
  return `${hms.join(":")}${kind === "srt" ? "," : "."}${String(time_ms % 1000).padStart(3, "0")}`;
}

function escaped(line, kind) {
  if (kind === "vtt") {
    return line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }
  // SubRip has no escapes: what players would take for a tag gets other brackets.
  return line.replaceAll("<", "‹").replaceAll(">", "›");
}
