// When to try again: soon, then more and more patiently.

const FIRST_S = 0.5;
const LONGEST_S = 5;

/** Calls `again` after a random part of a pause that doubles from 0.5 s to 5 s. */
export class Retry {
  #pause_s = FIRST_S;
  #timer = null;

  constructor(again) {
    this.again = again;
    // The network is back: no need to wait.
    addEventListener("online", () => this.#timer !== null && this.#fire());
  }

  /** Tries later, at the earliest after `atLeast_s`; gives the pause in seconds. */
  later(atLeast_s = 0) {
    // All is left to chance: a thousand pages must not come back at once.
    const pause_s = Math.max(atLeast_s, this.#pause_s * Math.random());
    this.#pause_s = Math.min(this.#pause_s * 2, LONGEST_S);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fire(), pause_s * 1000);
    return pause_s;
  }

  /** It worked: the next pause is short again. */
  worked() {
    this.#pause_s = FIRST_S;
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #fire() {
    this.cancel();
    this.again();
  }
}
