// Lines of a transcript as cues: the layout of `streamer/captions.py`, where its rules are told.

const LINE_LENGTH = 42; // characters that a reader takes in at a glance
const LINES = 2;
const CHARACTERS_PER_S = 17; // that people read
const MIN_CUE_MS = 1000;
const MAX_CUE_MS = 7000;
const PAUSE_MS = 1500; // between two words; they are not in one cue
const HOLD_MS = 500; // that a cue may stay behind its utterance
const SHORTEST_MS = 1;

/** What stands before the text of a channel, from 1 as people count. */
export function speaker(channel) {
  return channel === undefined ? "" : `Channel ${channel + 1}: `;
}

/**
 * `{start_ms, end_ms, lines, channel}` of all that was said, in the order of their beginning; those
 * of a channel do not overlap. `named`: the first line leaves room for the speaker.
 */
export function cues(lines, named) {
  const spoken = lines.filter(({ kind }) => kind === "speech");
  const found = spoken.flatMap((line) => cuesOf(line, named ? speaker(line.channel).length : 0));
  found.sort((one, other) => one.start_ms - other.start_ms); // keeps the order of equals
  const until_ms = new Map(); // by channel
  let latest_ms = 0;
  return found.map((cue) => {
    const start_ms = Math.max(cue.start_ms, until_ms.get(cue.channel) ?? 0, latest_ms);
    const end_ms = Math.max(cue.end_ms, start_ms + SHORTEST_MS);
    until_ms.set(cue.channel, end_ms);
    latest_ms = start_ms;
    return { ...cue, start_ms, end_ms };
  });
}

function cuesOf({ words, reason, channel }, indent) {
  const pieces = words.flatMap((word) => cut(word, LINE_LENGTH - indent));
  const blocks = runs(pieces).flatMap((run) => even(run, indent));
  const hold_ms = reason === "endpoint" || reason === "end" ? HOLD_MS : 0;
  return blocks.map((block, i) => {
    const lines = broken(block, indent);
    const start_ms = ms(block[0].start);
    const next = blocks[i + 1];
    const limit_ms = next ? ms(next[0].start) : ms(block.at(-1).end) + hold_ms;
    const characters = lines.reduce((sum, line) => sum + length(line), 0);
    const reading_ms = Math.max(MIN_CUE_MS, Math.floor((characters * 1000) / CHARACTERS_PER_S));
    const read_ms = Math.min(start_ms + reading_ms, limit_ms);
    const end_ms = Math.max(ms(block.at(-1).end), read_ms, start_ms + SHORTEST_MS);
    return { start_ms, end_ms, lines, channel };
  });
}

function ms(time_s) {
  return Math.floor(time_s * 1000 + 0.5);
}

/** In characters, where JavaScript counts halves of some. */
function length(text) {
  return [...text].length;
}

/** The word, or its pieces of `width` characters, one after another in its time. */
function cut({ word, start, end }, width) {
  const characters = [...word.trim().replace(/\s+/g, " ")];
  const count = Math.ceil(characters.length / width);
  const each_s = (end - start) / Math.max(count, 1);
  return Array.from({ length: count }, (_, i) => ({
    word: characters.slice(i * width, (i + 1) * width).join(""),
    start: start + i * each_s,
    end: start + i * each_s + each_s,
  }));
}

/** Words without a pause between them. */
function runs(words) {
  const found = [];
  let until_ms = -Infinity;
  for (const word of words) {
    if (found.length === 0 || ms(word.start) - until_ms >= PAUSE_MS) found.push([]);
    found.at(-1).push(word);
    until_ms = ms(word.end);
  }
  return found;
}

/** As few blocks as a run needs, and none longer than it must be for that. */
function even(run, indent) {
  const fewest = filled(run, LINES * LINE_LENGTH + 1, indent).length;
  const characters = run.reduce((sum, { word }) => sum + length(word), 0);
  for (let capacity = Math.floor(characters / fewest); ; capacity++) {
    const blocks = filled(run, capacity, indent);
    if (blocks.length === fewest) return blocks;
  }
}

/** Blocks of as many words as `capacity` characters, the lines and the time have room for. */
function filled(run, capacity, indent) {
  const blocks = [];
  for (const word of run) {
    const block = [...(blocks.at(-1) ?? []), word];
    const text = block.map((each) => each.word).join(" ");
    const fits = indent + length(text) <= capacity && broken(block, indent) !== null;
    if (blocks.length > 0 && fits && ms(word.end) - ms(block[0].start) <= MAX_CUE_MS) {
      blocks[blocks.length - 1] = block;
    } else {
      blocks.push([word]);
    }
  }
  return blocks;
}

/** One line if it fits, else two of about the same length, null if they do not fit. */
function broken(block, indent) {
  const texts = block.map(({ word }) => word);
  const whole = texts.join(" ");
  if (indent + length(whole) <= LINE_LENGTH) return [whole];
  let best = null;
  let least = LINE_LENGTH + 1;
  for (let at = 1; at < texts.length; at++) {
    const lines = [texts.slice(0, at).join(" "), texts.slice(at).join(" ")];
    const widest = Math.max(indent + length(lines[0]), length(lines[1]));
    if (widest < least) [best, least] = [lines, widest];
  }
  return best;
}
