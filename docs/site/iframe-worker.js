// Browsers start no worker from a page that was opened as a file, and the site's search runs in one. Here, and only
// there, a hidden frame takes its place: the worker's script runs inside of it, and messages go to and fro.
// The name is the one that the site's generator looks for; it would load the same from another server otherwise.
"use strict";

if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.frame = frame;
      const inside = frame.contentWindow;
      inside.postMessage = (data) => this.answer(data);
      this.ready = this.load(url);
      inside.importScripts = (...urls) => urls.forEach((more) => (this.ready = this.ready.then(() => this.load(more))));
    }

    load(url) {
      const inside = this.frame.contentDocument;
      const script = inside.createElement("script");
      script.src = new URL(url, document.baseURI);
      const loaded = new Promise((resolve, reject) => {
        script.onload = resolve;
        script.onerror = reject;
      });
      inside.body.append(script);
      return loaded;
    }

    // As between a page and a worker: what arrives is a copy, and it arrives later.
    answer(data) {
      const message = new MessageEvent("message", { data: structuredClone(data) });
      setTimeout(() => {
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      });
    }

    postMessage(data) {
      const copy = structuredClone(data);
      this.ready.then(() => {
        const inside = this.frame.contentWindow;
        inside.dispatchEvent(new inside.MessageEvent("message", { data: copy }));
      });
    }

    terminate() {
      this.frame.remove();
    }
  };
}
