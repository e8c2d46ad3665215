// Transcript lines and live text in the page. What was said is always text, never markup.

import { clock, lineText } from "./formats.js";

/** A list item for a line, with its time. */
export function lineItem(line) {
  const item = document.createElement("li");
  item.className = line.kind;
  const time = document.createElement("time");
  time.textContent = clock(line.start);
  const text = document.createElement("span");
  text.textContent = lineText(line);
  item.append(time, " ", text);
  return item;
}

/** Shows `committed` and `tail` in an element's two spans. */
export function showLive(element, { committed, tail }) {
  const [standing, open] = element.querySelectorAll("span");
  standing.textContent = committed;
  open.textContent = committed && tail ? ` ${tail}` : tail;
}

/** Runs `change`; who was reading at the end of `element` stays there, who was above is left. */
export function keepingEnd(element, change) {
  const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  change();
  if (atEnd) element.scrollTop = element.scrollHeight;
}
