// A conversation with the recogniser that survives lost connections.

import { Socket } from "./access.js";
import { Retry } from "./retry.js";

const MAX_QUEUED_S = 10; // of audio the server has not acknowledged; older audio is given up
const MAX_UNANSWERED_S = 8; // of audio sent without a word from the server: it is taken for gone
const CONNECT_TIMEOUT_MS = 5000;
const FINISH_TIMEOUT_MS = 5000;

/**
 * `start(sampleRate)`, then `push(frame)` as frames come, then `stop()`.
 *
 * Each connection is a new session whose times begin at 0; `onMessage(message, offset_s)` says
 * where that is on the page's clock. After a lost connection the frames that the old server did
 * not acknowledge are sent again, at most MAX_QUEUED_S of them; `onResumed({start, end})` says
 * between which times audio was lost, `onLost()` that what was on display will get no final.
 *
 * States: idle, connecting, live, waiting (to try again), finishing, refused.
 */
export class Recognition {
  #url;
  #on;
  #retry = new Retry(() => this.#connect());
  #socket = null;
  #timer = null; // of connecting or finishing
  #state = "idle";
  #sampleRate = 0;
  #queue = []; // frames not acknowledged, oldest first
  #queued_s = 0;
  #unsent = 0; // of these, the ones that this connection was not given
  #unanswered_s = 0;
  #offset_s = null; // where this session begins on the page's clock
  #heard_s = null; // up to where the server has acknowledged, on the page's clock
  #serverRate = 16000;
  #fault = null; // a fatal error of the server

  constructor(url, handlers) {
    this.#url = url;
    this.#on = handlers;
  }

  get state() {
    return this.#state;
  }

  start(sampleRate) {
    if (this.#state === "finishing") this.#lose("started again");
    this.#sampleRate = sampleRate;
    this.#queue = [];
    this.#queued_s = 0;
    this.#heard_s = null;
    this.#retry.worked();
    this.#connect();
  }

  push(frame) {
    if (this.#state === "idle" || this.#state === "refused" || this.#state === "finishing") return;
    this.#queue.push(frame);
    this.#queued_s += frame.duration_s;
    this.#unsent += 1;
    while (this.#queued_s > MAX_QUEUED_S) this.#forgetOldest();
    if (this.#state !== "live") return;
    this.#sendQueued();
    this.#unanswered_s += frame.duration_s;
    if (this.#unanswered_s > MAX_UNANSWERED_S) this.#lose("the server does not answer");
  }

  stop() {
    this.#retry.cancel();
    if (this.#state !== "live") {
      this.#leave();
      this.#become("idle");
      return;
    }
    this.#socket.send(JSON.stringify({ type: "stop" }));
    this.#become("finishing");
    this.#limit(FINISH_TIMEOUT_MS, "the server did not finish");
  }

  #connect() {
    this.#fault = this.#offset_s = null;
    this.#unanswered_s = 0;
    this.#unsent = this.#queue.length;
    const socket = (this.#socket = new Socket(this.#url, "speak"));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify(this.#startMessage()));
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = () => socket === this.#socket && this.#lose("the connection is lost");
    this.#become("connecting");
    this.#limit(CONNECT_TIMEOUT_MS, "the server does not answer");
  }

  #startMessage() {
    const audio = { encoding: "pcm_s16le", sample_rate: this.#sampleRate, channels: 1 };
    return { type: "start", audio };
  }

  #receive(message) {
    this.#unanswered_s = 0;
    switch (message.type) {
      case "ready":
        clearTimeout(this.#timer);
        this.#serverRate = message.sample_rate;
        this.#retry.worked();
        this.#become("live", message);
        this.#sendQueued();
        break;
      case "ack":
        this.#acknowledge(message.received);
        break;
      case "closed":
        this.#acknowledge(message.received);
        this.#on.onMessage(message, this.#offset_s ?? 0);
        break;
      case "error":
        if (message.fatal) this.#fault = message;
        else this.#on.onMessage(message, this.#offset_s ?? 0);
        break;
      default:
        this.#on.onMessage(message, this.#offset_s ?? 0);
    }
  }

  #sendQueued() {
    for (; this.#unsent > 0; this.#unsent--) {
      const frame = this.#queue[this.#queue.length - this.#unsent];
      if (this.#offset_s === null) this.#begin(frame.start_s);
      this.#socket.send(frame.pcm);
    }
  }

  #begin(offset_s) {
    this.#offset_s = offset_s;
    if (this.#heard_s !== null) {
      this.#on.onResumed({ start: Math.min(this.#heard_s, offset_s), end: offset_s });
    }
    this.#heard_s = offset_s;
  }

  #acknowledge(received) {
    if (this.#offset_s === null) return;
    this.#heard_s = this.#offset_s + received / this.#serverRate;
    const isHeard = (frame) => frame.start_s + frame.duration_s <= this.#heard_s + 0.001;
    while (this.#queue.length > this.#unsent && isHeard(this.#queue[0])) this.#forgetOldest();
  }

  #forgetOldest() {
    this.#queued_s -= this.#queue.shift().duration_s;
    this.#unsent = Math.min(this.#unsent, this.#queue.length);
  }

  /** The connection has ended, or is given up. */
  #lose(why) {
    const wasFinishing = this.#state === "finishing";
    this.#leave();
    this.#on.onLost();
    if (wasFinishing) {
      this.#become("idle");
    } else if (this.#fault?.code === "bad_request" || this.#fault?.code === "unsupported") {
      this.#become("refused", this.#fault);
    } else {
      const pause_s = this.#retry.later(this.#fault?.retry_after_s);
      this.#become("waiting", { why: this.#fault?.message ?? why, pause_s });
    }
  }

  #leave() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #limit(limit_ms, why) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lose(why), limit_ms);
  }

  #become(state, detail = {}) {
    this.#state = state;
    this.#on.onState(state, detail);
  }
}
