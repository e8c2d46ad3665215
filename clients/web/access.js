// The page's token, where the server asks for one, and websockets that are opened with it.

import { DURING_TAB, keep, recall } from "./kept.js";

const KEY = "streamer.token";
const SUBPROTOCOL = "streamer.v1";
const TIMEOUT_MS = 5000;

const form = document.getElementById("access");
const field = form.querySelector("input");
const note = form.querySelector("output");
let token = fromAddress() ?? recall(DURING_TAB, KEY);
let asking = null; // a promise of the token that the reader types

/** A token behind # in the address: it is sent to no server, and taken out of sight. */
function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return null;
  history.replaceState(null, "", location.pathname + location.search);
  keep(DURING_TAB, KEY, given);
  return given;
}

function ask(why) {
  note.textContent = why;
  form.hidden = false;
  asking ??= new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      token = field.value.trim();
      keep(DURING_TAB, KEY, token);
      field.value = "";
      form.hidden = true;
      asking = null;
      resolve();
    };
  });
  return asking;
}

/** What to offer the server, after as many tokens as it takes; throws if it cannot be reached. */
async function subprotocols(scope) {
  for (;;) {
    if (asking !== null) await asking;
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(`/v1/ticket?scope=${scope}`, { method: "POST", headers, signal });
    if (answer.status === 204) return []; // nobody is asked
    if (answer.ok) return [SUBPROTOCOL, `ticket.${(await answer.json()).ticket}`];
    if (answer.status !== 401 && answer.status !== 403) throw new Error(await answer.text());
    await ask(token ? (await answer.text()).trim() : "");
  }
}

/** A websocket, as far as these pages use one, for a scope: "speak" or "view". */
export class Socket {
  binaryType = "blob";
  onopen = null;
  onmessage = null;
  onclose = null;
  #socket = null;
  #isClosed = false;

  constructor(url, scope) {
    this.#open(url, scope);
  }

  async #open(url, scope) {
    let offered;
    try {
      offered = await subprotocols(scope);
    } catch {
      offered = null;
    }
    if (this.#isClosed) return;
    if (offered === null) {
      this.onclose?.();
      return;
    }
    const socket = (this.#socket = new WebSocket(url, offered));
    socket.binaryType = this.binaryType;
    socket.onopen = () => this.onopen?.();
    socket.onmessage = (event) => this.onmessage?.(event);
    socket.onclose = (event) => this.onclose?.(event);
  }

  send(data) {
    this.#socket.send(data);
  }

  close(code = 1000) {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#socket !== null) this.#socket.close(code);
    else this.onclose?.();
  }

  get readyState() {
    return this.#socket?.readyState ?? WebSocket.CONNECTING;
  }

  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }
}
