// The page at /captions: one session's captions, to read along or as an overlay.

import { Socket } from "./access.js";
import { addLines, keepingEnd, showLive } from "./display.js";
import { Retry } from "./retry.js";
import { offerThemes } from "./theme.js";
import { Transcript, joined } from "./transcript.js";

const OVERLAY_CHARACTERS = 600; // of a paragraph: more than any overlay shows
const OVERLAY_PARAGRAPHS = 20;
const CONNECT_TIMEOUT_MS = 5000;

const query = new URLSearchParams(location.search);
const session = query.get("session") ?? "";
const source = query.get("source") ?? ""; // an MQTT source or a Hermes site
const isOneSession = session !== "latest" && !source; // else the newest, and then the next
const isOverlay = query.get("view") === "overlay";
const fade_s = number("fade", 0, 0, 3600);
const element = (id) => document.getElementById(id);
const live = element("live");
const transcript = new Transcript();
const retry = new Retry(connect);
let past = []; // the end of what was said, in paragraphs, for the overlay
let following = ""; // the session that is shown
const nextUtterance = new Map(); // by channel; finals before it are shown already
let fading = null; // timer
let connecting = null; // timer

function number(name, fallback, low, high) {
  const given = Number.parseFloat(query.get(name));
  return Number.isFinite(given) ? Math.min(Math.max(given, low), high) : fallback;
}

// --- the connection ------------------------------------------------------------------------------

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const path = `/v1/captions?${new URLSearchParams(source ? { source } : { session })}`;
  const socket = new Socket(`${scheme}://${location.host}${path}`, "view");
  let fault = null;
  let isOver = false;
  say("connecting", "Connecting…");
  connecting = setTimeout(() => socket.close(), CONNECT_TIMEOUT_MS);
  socket.onopen = () => {
    clearTimeout(connecting);
    retry.worked();
    say("connecting", "Waiting for a session to begin…");
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "error") fault = message;
    if (message.type === "closed") isOver = isOneSession;
    take(message);
  };
  socket.onclose = () => {
    clearTimeout(connecting);
    leave(fault?.code === "no_session" || isOver);
  };
}

function leave(isOver) {
  show(transcript.cut());
  if (isOver) {
    say("idle", "This session is over.");
    return;
  }
  const pause_s = retry.later();
  const why = isOneSession ? "" : "; only the server's own machine may follow without an id";
  say("waiting", `No connection; trying again in ${pause_s.toFixed(1)} s${why}`);
}

function take(message) {
  switch (message.type) {
    case "ready":
      begin(message.session);
      break;
    case "closed":
      say("idle", isOneSession ? "This session is over." : "Waiting for the next session");
      show(transcript.cut());
      break;
    case "final":
      if (isShown(message)) return; // of a snapshot after a lost connection
      show(transcript.accept(message, 0));
      break;
    default:
      show(transcript.accept(message, 0));
  }
}

function begin(name) {
  say("live", "Live");
  if (name === following) return;
  following = name;
  nextUtterance.clear();
}

function isShown({ utterance, channel }) {
  if (utterance < (nextUtterance.get(channel) ?? 0)) return true;
  nextUtterance.set(channel, utterance + 1);
  return false;
}

// --- what is shown -------------------------------------------------------------------------------

function show(lines) {
  if (isOverlay) {
    showOverlay(lines);
    return;
  }
  showLive(live, transcript.live);
  const list = element("lines");
  keepingEnd(element("transcript"), () => addLines(list, lines, transcript.lines.length));
}

/** The past flows into the present, and all of it fades when nothing new is said. */
function showOverlay(lines) {
  for (const { kind, channel, text } of lines) {
    if (kind === "speech") past = appended(past, { channel, committed: text, tail: "" });
  }
  showLive(live, transcript.live.reduce(appended, past));
  live.classList.remove("faded");
  clearTimeout(fading);
  if (fade_s > 0) fading = setTimeout(fadeOut, fade_s * 1000);
}

/** A paragraph goes on for as long as one channel speaks; of the oldest text nothing is seen. */
function appended(paragraphs, said) {
  const last = paragraphs.at(-1);
  const goesOn = last !== undefined && last.channel === said.channel;
  const committed = joined(goesOn && last.committed, said.committed).slice(-OVERLAY_CHARACTERS);
  const kept = goesOn ? paragraphs.slice(0, -1) : paragraphs.slice(-OVERLAY_PARAGRAPHS);
  return [...kept, { ...said, committed: committed.trimStart() }];
}

function fadeOut() {
  live.classList.add("faded");
  past = []; // what is said next begins on an empty line
}

function say(state, text) {
  element("state").textContent = text;
  element("state").dataset.state = state;
}

document.documentElement.dataset.view = isOverlay ? "overlay" : "page";
live.style.setProperty("--size", `${number("size", 48, 8, 400)}px`);
live.style.setProperty("--lines", String(Math.round(number("lines", 2, 1, 20))));
offerThemes(element("theme"));
if (session || source) {
  connect();
} else {
  element("help").hidden = false;
  live.hidden = element("transcript").hidden = true;
  say("idle", "No session is named");
}
