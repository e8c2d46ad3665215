// Light, dark, or as the system has it.

import { FOR_GOOD, keep, recall } from "./kept.js";

const KEY = "streamer.theme";
const ORDER = ["auto", "light", "dark"];

/** Makes a button go through the themes. */
export function offerThemes(button) {
  let theme = ORDER.includes(recall(FOR_GOOD, KEY)) ? recall(FOR_GOOD, KEY) : "auto";
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    keep(FOR_GOOD, KEY, theme);
    apply();
  });
  apply();
}
