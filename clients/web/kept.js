// What the browser keeps for us; a browser that refuses (private windows, full) keeps nothing.

export const DURING_TAB = "sessionStorage";
export const FOR_GOOD = "localStorage";

export function recall(where, key) {
  try {
    return JSON.parse(window[where].getItem(key));
  } catch {
    return null;
  }
}

export function keep(where, key, value) {
  try {
    window[where].setItem(key, JSON.stringify(value));
  } catch {
    // Then a reload begins anew.
  }
}
