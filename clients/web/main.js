// The page at /: the microphone, what it hears, and the transcript.

import { addLines, keepingEnd, showLive } from "./display.js";
import { FORMATS, toText } from "./formats.js";
import { DURING_TAB, keep, recall } from "./kept.js";
import { Microphone, devices } from "./microphone.js";
import { Recognition } from "./recognition.js";
import { offerThemes } from "./theme.js";
import { Transcript } from "./transcript.js";

const KEY = "streamer.transcript";
const LATENCIES = 9; // the median of so many is shown
const SILENT_FRAMES = 150; // 3 s without a single sample that is not zero

const element = (id) => document.getElementById(id);
const page = Object.fromEntries(
  ["state", "talk", "device", "processed", "level", "trouble", "live", "latency", "model"]
    .concat(["copy", "clear", "note", "transcript", "lines", "share", "audience", "overlay"])
    .map((id) => [id, element(id)]),
);

const before = recall(DURING_TAB, KEY) ?? { lines: [], position_s: 0 }; // a reload goes on from it
const transcript = new Transcript(before.lines);
const microphone = new Microphone({
  onFrame: hear,
  onEnd: () => stop("The microphone is gone: plug it in, then start again."),
  start_s: before.position_s,
});
const socketUrl = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`;
const recognition = new Recognition(socketUrl, {
  onState: showState,
  onMessage: take,
  onLost: () => show(transcript.cut()),
  onRestarted: (lost) => restart(lost),
});
let isListening = false; // as the button has it
let isOpening = false; // the browser is asking for the microphone
let latencies_ms = [];
let silentFrames = 0;

// --- listening -----------------------------------------------------------------------------------

async function start() {
  trouble("");
  isOpening = true;
  try {
    await microphone.open(page.device.value, page.processed.checked);
  } catch (error) {
    trouble(error.message);
    return;
  } finally {
    isOpening = false;
  }
  setListening(true);
  silentFrames = 0;
  recognition.start(microphone.sampleRate);
  await listDevices(); // they have names now
}

async function stop(why = "") {
  setListening(false);
  trouble(why);
  await microphone.close();
  page.level.value = 0;
  recognition.stop();
}

function setListening(on) {
  isListening = on;
  page.talk.textContent = on ? "Stop listening" : "Start listening";
}

function hear(frame) {
  page.level.value = frame.peak;
  recognition.push(frame);
  if (frame.peak > 0 && silentFrames >= SILENT_FRAMES) trouble("");
  silentFrames = frame.peak > 0 ? 0 : silentFrames + 1;
  if (silentFrames === SILENT_FRAMES) {
    trouble("The microphone gives nothing at all: is it muted, or is another one meant?");
  }
}

async function changeMicrophone() {
  if (!isListening) return;
  try {
    await microphone.change(page.device.value, page.processed.checked);
    silentFrames = 0;
    trouble("");
  } catch (error) {
    trouble(error.message);
  }
}

async function listDevices() {
  const chosen = page.device.value;
  const found = await devices();
  const others = found.filter(({ deviceId }) => deviceId !== "default");
  const options = others.map(({ deviceId, label }) => new Option(label || "Microphone", deviceId));
  page.device.replaceChildren(new Option("Default", ""), ...options);
  page.device.value = chosen;
  if (page.device.selectedIndex < 0) page.device.value = "";
}

// --- what comes back -----------------------------------------------------------------------------

const STATES = {
  idle: () => "Not listening",
  connecting: () => "Connecting…",
  live: () => "Listening",
  waiting: ({ why, pause_s }) => `No connection (${why}); trying again in ${pause_s.toFixed(1)} s`,
  finishing: () => "Finishing…",
  refused: ({ message }) => `The server refuses: ${message}`,
};

function showState(state, detail) {
  page.state.textContent = STATES[state](detail);
  page.state.dataset.state = state;
  page.share.hidden = state !== "live";
  if (state === "live") showSession(detail);
  if (state === "refused") stop(STATES.refused(detail));
}

function showSession({ session, model, latency_ms }) {
  page.model.textContent = `${model} (${latency_ms} ms by itself)`;
  const query = `/captions?session=${encodeURIComponent(session)}`;
  page.audience.href = query;
  page.overlay.href = `${query}&view=overlay&size=48&lines=2&fade=6`;
}

function take(message, offset_s) {
  if (message.type === "error") return trouble(message.message);
  const lines = transcript.accept(message, offset_s);
  if (message.type === "partial" || message.type === "final") measure(message, offset_s);
  return show(lines);
}

/** What is on display will be heard again, or its audio is lost. */
function restart(lost) {
  if (lost !== null) return show(transcript.lose(lost));
  transcript.takeBack();
  return show([]);
}

/** Shows what is on display now, and lines that came to stand. */
function show(lines) {
  showLive(page.live, transcript.live);
  keepingEnd(page.transcript, () => addLines(page.lines, lines, transcript.lines.length));
}

/** How long after its end in the audio the last piece of text is here; only partials are fresh. */
function measure(message, offset_s) {
  const last = message.words?.at(-1);
  if (message.type !== "partial" || last === undefined) return;
  latencies_ms.push((microphone.position_s - offset_s - last.end) * 1000);
  latencies_ms = latencies_ms.slice(-LATENCIES);
  const median = latencies_ms.toSorted((a, b) => a - b)[Math.floor(latencies_ms.length / 2)];
  page.latency.textContent = `${Math.max(0, Math.round(median))} ms`;
}

// --- the transcript ------------------------------------------------------------------------------

async function copy() {
  try {
    await navigator.clipboard.writeText(toText(transcript.lines));
    page.note.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(page.lines);
    page.note.textContent = "Selected: press Ctrl-C to copy.";
  }
}

function download(name) {
  const { type, write } = FORMATS[name];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([write(transcript.lines)], { type }));
  link.download = `transcript.${name}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function clear() {
  if (!confirm("Forget the whole transcript?")) return;
  transcript.clear();
  page.lines.replaceChildren();
  showLive(page.live, transcript.live);
}

function trouble(text) {
  page.trouble.textContent = text;
  page.trouble.hidden = text === "";
}

page.talk.addEventListener("click", () => isOpening || (isListening ? stop() : start()));
page.device.addEventListener("change", changeMicrophone);
page.processed.addEventListener("change", changeMicrophone);
page.copy.addEventListener("click", copy);
page.clear.addEventListener("click", clear);
for (const button of document.querySelectorAll("[data-format]")) {
  button.addEventListener("click", () => download(button.dataset.format));
}
navigator.mediaDevices?.addEventListener("devicechange", listDevices);
addEventListener("pagehide", () => {
  transcript.cut(); // what was said last is kept as it stands
  keep(DURING_TAB, KEY, { lines: transcript.lines, position_s: microphone.position_s });
});
offerThemes(element("theme"));
addLines(page.lines, transcript.lines, transcript.lines.length);
page.transcript.scrollTop = page.transcript.scrollHeight;
listDevices();
