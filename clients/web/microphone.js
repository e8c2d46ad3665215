// The microphone as 16-bit frames on the page's own clock.

const SAMPLE_RATE = 16000; // what the recogniser wants; the browser resamples

/** A microphone that cannot be used, in one sentence for the user. */
export class MicrophoneError extends Error {}

/**
 * `open()`, then `onFrame({pcm, start_s, duration_s, peak})` every 20 ms until `close()`.
 *
 * `start_s` is the page's clock: seconds of audio captured since the page was opened (or since
 * `start_s` given here), whatever happens to connections meanwhile.
 */
export class Microphone {
  #context = null;
  #stream = null;
  #source = null;
  #node = null;
  #position_s;

  constructor({ onFrame, onEnd, start_s = 0 }) {
    this.onFrame = onFrame;
    this.onEnd = onEnd; // it was unplugged, or its permission was taken back
    this.#position_s = start_s;
  }

  get position_s() {
    return this.#position_s;
  }

  get sampleRate() {
    return this.#context.sampleRate;
  }

  /** Opens a device ("": the default). `processed`: the browser's noise and echo filters are on. */
  async open(deviceId, processed) {
    this.#stream = await capture(deviceId, processed);
    try {
      await this.#listen();
    } catch (error) {
      await this.close();
      throw new MicrophoneError(`The microphone does not start: ${error.message}`);
    }
  }

  /** Another device for the same run; the clock goes on. The old one stays if this fails. */
  async change(deviceId, processed) {
    const stream = await capture(deviceId, processed);
    let source;
    try {
      source = this.#context.createMediaStreamSource(stream);
    } catch (error) {
      stop(stream);
      throw new MicrophoneError("This device needs a new start: stop, then start.");
    }
    this.#source.disconnect();
    stop(this.#stream);
    this.#use(stream, source);
  }

  async close() {
    this.#node?.port.postMessage("stop");
    this.#node?.disconnect();
    this.#source?.disconnect();
    stop(this.#stream);
    const context = this.#context;
    this.#context = this.#stream = this.#source = this.#node = null;
    await context?.close();
  }

  async #listen() {
    let source;
    try {
      this.#context = new AudioContext({ sampleRate: SAMPLE_RATE });
      source = this.#context.createMediaStreamSource(this.#stream);
    } catch (error) {
      // Some browsers do not resample a microphone: then the recogniser does.
      await this.#context?.close();
      this.#context = new AudioContext();
      source = this.#context.createMediaStreamSource(this.#stream);
    }
    await this.#context.audioWorklet.addModule("/web/worklet.js");
    this.#node = new AudioWorkletNode(this.#context, "pcm-frames", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.#node.port.onmessage = ({ data }) => this.#frame(data);
    this.#use(this.#stream, source);
    await this.#context.resume();
  }

  #use(stream, source) {
    this.#stream = stream;
    this.#source = source;
    source.connect(this.#node);
    stream.getAudioTracks()[0].onended = () => this.onEnd(); // not for our own stop
  }

  #frame({ pcm, samples, peak }) {
    if (this.#context === null) return; // one that was on its way when the microphone was closed
    const start_s = this.#position_s;
    const duration_s = samples / this.#context.sampleRate;
    this.#position_s += duration_s;
    this.onFrame({ pcm, start_s, duration_s, peak });
  }
}

/** Microphones by id and name; names are empty until the user has allowed one. */
export async function devices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return all.filter((device) => device.kind === "audioinput" && device.deviceId !== "");
}

async function capture(deviceId, processed) {
  if (!navigator.mediaDevices) {
    const why = "Browsers give the microphone only to https pages and to this machine's own";
    throw new MicrophoneError(`${why}: open this page as http://localhost, or through https.`);
  }
  const audio = {
    channelCount: 1,
    echoCancellation: processed,
    noiseSuppression: processed,
    autoGainControl: processed,
    ...(deviceId && { deviceId: { exact: deviceId } }),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new MicrophoneError(REASONS[error.name] ?? `No microphone: ${error.message}`);
  }
}

const REASONS = {
  NotAllowedError: "The microphone is not allowed: allow it in the browser, then start again.",
  NotFoundError: "There is no microphone: plug one in, then start again.",
  NotReadableError: "The microphone is in use by another program.",
  OverconstrainedError: "This microphone is not there any more: choose another.",
};

function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
