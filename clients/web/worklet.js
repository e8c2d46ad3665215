// In the audio thread: samples to frames of 20 ms, 16-bit, each with its peak.

const FRAMES_PER_S = 50;

class PcmFrames extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = new Int16Array(Math.round(sampleRate / FRAMES_PER_S)); // of the frame begun
    this.filled = 0;
    this.peak = 0;
    this.running = true;
    this.port.onmessage = () => (this.running = false); // the only thing ever said to it
  }

  process([input]) {
    const channel = input[0]; // the node mixes down to one; absent while nothing is connected
    for (let i = 0; channel && i < channel.length; i++) {
      const sample = Math.max(-1, Math.min(1, channel[i]));
      this.peak = Math.max(this.peak, Math.abs(sample));
      this.samples[this.filled++] = sample < 0 ? sample * 32768 : sample * 32767;
      if (this.filled === this.samples.length) this.post();
    }
    return this.running;
  }

  post() {
    const { samples, peak } = this;
    this.samples = new Int16Array(samples.length);
    this.filled = this.peak = 0;
    this.port.postMessage({ pcm: samples.buffer, samples: samples.length, peak }, [samples.buffer]);
  }
}

registerProcessor("pcm-frames", PcmFrames);
