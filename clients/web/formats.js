// Transcript lines as text, SubRip, WebVTT and JSON.

import { cues, speaker } from "./cues.js";

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
  return speaker(line.channel) + (line.kind === "speech" ? line.text : lost(line));
}

function lost({ start, end }) {
  return end - start < 0.05
    ? "(connected again; no audio was lost)"
    : `(${(end - start).toFixed(1)} s of audio were lost)`;
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

function toCaptions(lines, kind) {
  const found = cues(lines, kind === "srt");
  const texts = found.map(({ start_ms, end_ms, channel, lines: shown }, i) => {
    const number = kind === "srt" ? `${i + 1}\n` : "";
    const times = `${cueTime(start_ms, kind)} --> ${cueTime(end_ms, kind)}`;
    const text = shown.map((line) => escaped(line, kind)).join("\n");
    return `${number}${times}\n${voice(channel, kind)}${text}\n\n`;
  });
  return (kind === "vtt" ? "WEBVTT\n\n" : "") + texts.join("");
}

function voice(channel, kind) {
  if (channel === undefined || kind === "srt") return speaker(channel);
  return `<v ${speaker(channel).replace(": ", "")}>`;
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
