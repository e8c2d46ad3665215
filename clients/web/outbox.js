// Audio on its way to the recogniser, kept until nobody will ask for it again.

const MAX_KEPT_S = 60; // of audio that is in no final; older audio is given up

/**
 * Frames `{pcm, start_s, duration_s}` in order, to be read again from where a server says.
 *
 * A session is a run of frames without a hole; what was taken and is in a final is forgotten. When
 * a frame is given up that the server has not taken, the session cannot go on: `isBroken`.
 */
export class Outbox {
  #frames = [];
  #next = 0; // the first that was not sent
  #kept_s = 0;
  #first = 0; // bytes of the session before #frames
  #taken = 0; // bytes that the server has taken
  #final_s = -Infinity; // page's clock; what was said before is in finals
  #offset_s = null; // where the session begins on the page's clock
  #lost = null; // what was given up: {start, end} on the page's clock
  isBroken = false;

  /** The session's beginning on the page's clock; null before its first frame. */
  get offset_s() {
    return this.#offset_s;
  }

  push(frame) {
    this.#frames.push(frame);
    this.#kept_s += frame.duration_s;
    while (this.#kept_s > MAX_KEPT_S) this.#giveUpOldest();
  }

  /** The next frame to send, from now on sent; null if there is none. */
  next() {
    if (this.#next === this.#frames.length) return null;
    const frame = this.#frames[this.#next++];
    this.#offset_s ??= frame.start_s;
    return frame.pcm;
  }

  /** The server has so many bytes of this session. */
  taken(bytes) {
    this.#taken = bytes;
    this.#release();
  }

  /** All that was said until then, in seconds of the session, is in finals. */
  final(session_s) {
    this.#final_s = this.#offset_s + session_s;
    this.#release();
  }

  /** The session goes on behind so many bytes. */
  resume(bytes) {
    this.taken(bytes);
    this.#next = this.#framesBefore(bytes);
  }

  /** A new session begins with the oldest that is in no final; gives what is lost, or null. */
  restart() {
    while (this.#frames.length > 0 && this.#isFinal(this.#frames[0])) this.#forgetOldest();
    const lost = this.#lost;
    this.#next = this.#first = this.#taken = 0;
    this.#offset_s = this.#frames[0]?.start_s ?? null;
    this.isBroken = false;
    this.#lost = null;
    return lost;
  }

  clear() {
    this.#frames = [];
    this.#kept_s = 0;
    this.#final_s = -Infinity;
    this.#lost = null;
    this.restart();
  }

  #framesBefore(bytes) {
    let at = this.#first;
    let index = 0;
    while (index < this.#frames.length && at < bytes) at += this.#frames[index++].pcm.byteLength;
    if (at !== bytes) this.isBroken = true;
    return index;
  }

  #isFinal(frame) {
    return frame.start_s + frame.duration_s <= this.#final_s + 0.001;
  }

  #isTaken(frame) {
    return this.#next > 0 && this.#first + frame.pcm.byteLength <= this.#taken;
  }

  #release() {
    while (this.#next > 0 && this.#isFinal(this.#frames[0]) && this.#isTaken(this.#frames[0])) {
      this.#forgetOldest();
    }
  }

  /** What was taken a minute ago is in a final, or was silence; anything else is lost. */
  #giveUpOldest() {
    const { start_s, duration_s } = this.#frames[0];
    if (!this.#isTaken(this.#frames[0])) {
      this.#lost = { start: this.#lost?.start ?? start_s, end: start_s + duration_s };
      this.isBroken = true;
    }
    this.#forgetOldest();
  }

  #forgetOldest() {
    const frame = this.#frames.shift();
    this.#kept_s -= frame.duration_s;
    this.#first += frame.pcm.byteLength;
    this.#next = Math.max(0, this.#next - 1);
  }
}
