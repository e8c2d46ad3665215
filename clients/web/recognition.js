// A conversation with the recogniser that survives lost connections.

import { Socket } from "./access.js";
import { Outbox } from "./outbox.js";
import { Retry } from "./retry.js";

const MAX_UNANSWERED_S = 8; // of audio sent without a word from the server: it is taken for gone
const CONNECT_TIMEOUT_MS = 5000;
const FINISH_TIMEOUT_MS = 15000;
const [DONE, COMES_BACK] = [1000, 4408]; // close codes: the first ends a session for good
const CONFIRMED_EVENTS = 16; // are confirmed at once

/**
 * `start(sampleRate)`, then `push(frame)` as frames come, then `stop()`.
 *
 * After a lost connection the same session goes on where it was, with every event it has said
 * meanwhile. When it cannot, a new one hears everything again that is in no final:
 * `onRestarted(lost)` says so, with what audio was given up, `{start, end}`, or null. Times of a
 * session begin at 0; `onMessage(message, offset_s)` says where that is on the page's clock.
 * `onLost()` says that what is on display will get no final.
 *
 * States: idle, connecting, live, waiting (to try again), finishing, refused.
 */
export class Recognition {
  #url;
  #on;
  #retry = new Retry(() => this.#connect());
  #outbox = new Outbox();
  #socket = null;
  #timer = null; // of connecting or finishing
  #state = "idle";
  #sampleRate = 0;
  #session = null; // the `ready` of a session that may be resumed
  #ready = null; // of the newest session
  #hasBegun = false; // there was a session since `start`
  #endedBy = ""; // why the last utterance was over
  #seq = 0; // of the last event
  #confirmed = 0;
  #isStopping = false;
  #hasStopped = false; // this connection's server knows
  #unanswered_s = 0;
  #fault = null; // a fatal error of the server, or why it ends the session

  constructor(url, handlers) {
    this.#url = url;
    this.#on = handlers;
  }

  get state() {
    return this.#state;
  }

  start(sampleRate) {
    if (this.#state === "finishing") this.#giveUp();
    this.#sampleRate = sampleRate;
    this.#session = null;
    this.#isStopping = false;
    this.#outbox.clear();
    this.#retry.worked();
    this.#connect();
  }

  push(frame) {
    if (this.#state === "idle" || this.#state === "refused" || this.#isStopping) return;
    this.#outbox.push(frame);
    if (this.#state !== "live") return;
    this.#sendAll();
    this.#unanswered_s += frame.duration_s;
    if (this.#unanswered_s > MAX_UNANSWERED_S) this.#lose("the server does not answer");
  }

  stop() {
    if (this.#state === "idle") return;
    if (this.#state === "refused") return this.#finish();
    const isLive = this.#state === "live";
    this.#isStopping = true;
    this.#become("finishing");
    this.#limit(FINISH_TIMEOUT_MS, () => this.#giveUp());
    if (isLive) this.#sendAll();
  }

  #connect() {
    this.#fault = null;
    this.#unanswered_s = 0;
    this.#hasStopped = false;
    const socket = (this.#socket = new Socket(this.#url, "speak"));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#tell(this.#greeting());
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = () => socket === this.#socket && this.#lose("the connection is lost");
    if (this.#isStopping) return;
    this.#become("connecting");
    this.#limit(CONNECT_TIMEOUT_MS, () => this.#lose("the server does not answer"));
  }

  #greeting() {
    if (this.#session !== null && !this.#outbox.isBroken) {
      const { session, token } = this.#session;
      return { type: "resume", session, token, seq: this.#seq };
    }
    this.#session = null;
    const audio = { encoding: "pcm_s16le", sample_rate: this.#sampleRate, channels: 1 };
    return { type: "start", audio, resume: true };
  }

  #receive(message) {
    this.#unanswered_s = 0;
    if (message.seq !== undefined) {
      if (message.seq <= this.#seq) return;
      this.#seq = message.seq;
      this.#confirm();
    }
    switch (message.type) {
      case "ready":
        return this.#begin(message);
      case "resumed":
        this.#outbox.resume(message.audio_bytes);
        this.#hasStopped = message.messages > 0;
        if (this.#outbox.isBroken) return this.#lose("the session is lost");
        return this.#goOn();
      case "ack":
        return this.#outbox.taken(message.audio_bytes ?? 0);
      case "error":
        if (!message.fatal) break;
        if (!message.resume) this.#session = null;
        this.#fault = message;
        return;
      case "goaway": // `closed` follows
        this.#fault = message;
        return;
      case "final":
        this.#outbox.final(message.end);
        this.#endedBy = message.reason;
        break;
      case "closed":
        this.#session = null; // there is no more to come
        if (this.#endedBy === "end") this.#outbox.final(message.received / this.#ready.sample_rate);
        break;
    }
    this.#on.onMessage(message, this.#outbox.offset_s ?? 0);
    if (message.type === "closed" && this.#isStopping && this.#hasStopped) this.#finish();
  }

  #begin(ready) {
    this.#session = ready.token === undefined ? null : ready;
    this.#seq = this.#confirmed = 0;
    this.#endedBy = "";
    const lost = this.#outbox.restart();
    if (this.#hasBegun) this.#on.onRestarted(lost);
    this.#hasBegun = true;
    this.#ready = ready;
    this.#goOn();
  }

  #goOn() {
    this.#retry.worked();
    if (!this.#isStopping) {
      clearTimeout(this.#timer);
      this.#become("live", this.#ready);
    }
    this.#sendAll();
  }

  #sendAll() {
    for (let pcm = this.#outbox.next(); pcm !== null; pcm = this.#outbox.next()) {
      this.#socket.send(pcm);
    }
    if (!this.#isStopping || this.#hasStopped) return;
    this.#hasStopped = true;
    this.#tell({ type: "stop" });
  }

  #confirm() {
    if (this.#seq < this.#confirmed + CONFIRMED_EVENTS) return;
    this.#confirmed = this.#seq;
    this.#tell({ type: "confirm", seq: this.#seq });
  }

  #tell(message) {
    this.#socket.send(JSON.stringify(message));
  }

  /** The connection has ended, or is given up: there will be another, unless the server refuses. */
  #lose(why) {
    this.#leave(COMES_BACK);
    if (this.#fault !== null && isRefusal(this.#fault)) {
      this.#on.onLost();
      this.#become("refused", this.#fault);
      return;
    }
    const pause_s = this.#retry.later(this.#fault?.retry_after_s);
    if (this.#isStopping) return;
    clearTimeout(this.#timer);
    this.#become("waiting", { why: this.#fault?.message ?? why, pause_s });
  }

  /** What was said last gets no final. */
  #giveUp() {
    this.#on.onLost();
    this.#finish();
  }

  #finish() {
    clearTimeout(this.#timer);
    this.#retry.cancel();
    this.#leave(DONE);
    this.#session = null;
    this.#hasBegun = this.#isStopping = false;
    this.#become("idle");
  }

  #leave(code) {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(code);
  }

  #limit(limit_ms, what) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(what, limit_ms);
  }

  #become(state, detail = {}) {
    this.#state = state;
    this.#on.onState(state, detail);
  }
}

/** Whether it is in vain to try again; who is not known may have another token. */
function isRefusal({ code, retryable, resume }) {
  return !retryable && !resume && code !== "unauthorized";
}
