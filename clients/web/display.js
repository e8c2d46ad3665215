// Transcript lines and live text in the page. What was said is always text, never markup.

import { speaker } from "./cues.js";
import { clock, lineText } from "./formats.js";

/** Adds list items for lines, each with its time; of more than `total` the oldest go. */
export function addLines(list, lines, total) {
  list.append(...lines.map(lineItem));
  while (list.children.length > total) list.firstElementChild.remove();
}

function lineItem(line) {
  const item = document.createElement("li");
  item.className = line.kind;
  const time = document.createElement("time");
  time.textContent = clock(line.start);
  const text = document.createElement("span");
  text.textContent = lineText(line);
  item.append(time, " ", text);
  return item;
}

/** Shows `{channel, committed, tail}` of each channel, in a paragraph for each or an empty one. */
export function showLive(element, live) {
  const said = live.length > 0 ? live : [{ committed: "", tail: "" }];
  const paragraphs = element.children; // grows and shrinks with them
  while (paragraphs.length < said.length) element.append(paragraphs[0].cloneNode(true));
  while (paragraphs.length > said.length) paragraphs[0].remove();
  said.forEach(({ channel, committed, tail }, i) => {
    const [name, standing, open] = paragraphs[i].children;
    name.textContent = speaker(channel);
    standing.textContent = committed;
    open.textContent = committed && tail ? ` ${tail}` : tail;
  });
}

/** Runs `change`; who was reading at the end of `element` stays there, who was above is left. */
export function keepingEnd(element, change) {
  const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  change();
  if (atEnd) element.scrollTop = element.scrollHeight;
}
