// The page at /captions: one session's captions, to read along or as an overlay.

import { Socket } from "./access.js";
import { keepingEnd, lineItem, showLive } from "./display.js";
import { Retry } from "./retry.js";
import { offerThemes } from "./theme.js";
import { Transcript } from "./transcript.js";

const OVERLAY_CHARACTERS = 600; // of past text: more than any overlay shows
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
let past = ""; // the end of what was said, for the overlay
let following = ""; // the session that is shown
let nextUtterance = 0; // finals before it are shown already
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
      if (message.utterance < nextUtterance) return; // of a snapshot after a lost connection
      nextUtterance = message.utterance + 1;
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
  nextUtterance = 0;
}

// --- what is shown -------------------------------------------------------------------------------

function show(line) {
  if (isOverlay) {
    showOverlay(line);
    return;
  }
  showLive(live, transcript.live);
  if (line === null) return;
  keepingEnd(element("transcript"), () => {
    element("lines").append(lineItem(line));
    while (element("lines").children.length > transcript.lines.length) {
      element("lines").firstChild.remove();
    }
  });
}

/** The past flows into the present, and all of it fades when nothing new is said. */
function showOverlay(line) {
  if (line?.kind === "speech") past = `${past} ${line.text}`.slice(-OVERLAY_CHARACTERS).trimStart();
  const { committed, tail } = transcript.live;
  showLive(live, { committed: [past, committed].filter(Boolean).join(" "), tail });
  live.classList.remove("faded");
  clearTimeout(fading);
  if (fade_s > 0) fading = setTimeout(fadeOut, fade_s * 1000);
}

function fadeOut() {
  live.classList.add("faded");
  past = ""; // what is said next begins on an empty line
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
