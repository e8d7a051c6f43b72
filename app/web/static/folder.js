// The browser of a result folder. A classic script: modules are not loaded from a disk (file://).
"use strict";
(() => {
  const place = document.getElementById("igv");
  const config = JSON.parse(place.dataset.config);
  const embedded = new Set(JSON.parse(place.dataset.embedded));
  const locus = document.getElementById("locus");
  const failed = document.getElementById("igv-failed");
  const buttons = new Map([...document.querySelectorAll("button.draw")].map((button) => [button.dataset.feature, button]));
  const MAX = 20;
  const SERVERS = "Put the folder on a static host, or serve it here with a program that answers byte ranges: npx http-server, or python -m RangeHTTPServer (pip install rangehttpserver); python -m http.server does not.";
  let browser = null;
  let files = null; // what page/data.js holds, where the page reads no files

  /** Names of the drawn features, in their order. */
  let features = [...buttons.values()].filter((button) => button.getAttribute("aria-pressed") === "true").map((button) => button.dataset.feature);

  /** What the part of the address behind # asks for. */
  function asked() {
    return new URLSearchParams(window.location.hash.slice(1));
  }

  function say(text) {
    failed.hidden = !text;
    failed.textContent = text || "";
  }

  /** Whether files are read by ranges here: never on a disk, and not on every server. */
  async function hasRanges() {
    if (window.location.protocol === "file:") return false;
    // not from the cache: it answers ranges of a file that it has whole
    const answer = await fetch(config.reference.twoBitURL, { headers: { Range: "bytes=1-4" }, cache: "no-store" });
    return answer.status === 206 && (await answer.arrayBuffer()).byteLength === 4;
  }

  /** Load page/data.js. */
  function loadData() {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = "page/data.js";
      script.addEventListener("load", () => resolve(window.saetrackFiles));
      script.addEventListener("error", () => reject(new Error("page/data.js cannot be read")));
      document.head.append(script);
    });
  }

  /** A file as igv.js takes it: its address, or what page/data.js holds of it. */
  function source(name) {
    if (files === null) return name;
    const content = files[name];
    if (typeof content === "string") {
      const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
      files[name] = new File([bytes], name.replaceAll("/", "_"));
    }
    return files[name];
  }

  /** The tracks of a feature: its signal, and its peaks below; a file that is not here has no url. */
  function tracksOf(name) {
    return JSON.parse(buttons.get(name).dataset.tracks).map((track) => ({ ...track, url: source(track.url) }));
  }

  /** Whether all of a feature's tracks can be read here. */
  function isHere(name) {
    return tracksOf(name).every((track) => track.url);
  }

  /** Say on each button whether its feature is drawn. */
  function mark() {
    for (const [name, button] of buttons) {
      const on = features.includes(name);
      button.hidden = !browser || !isHere(name);
      button.setAttribute("aria-pressed", String(on));
      button.textContent = on ? "Drawn" : "Draw";
      button.setAttribute("aria-label", `${button.textContent} feature ${name}`);
      button.classList.toggle("main", on);
    }
    document.getElementById("drawn").textContent = features.join(", ") || "no feature";
  }

  /** Write what is seen into the address, so that a copy of it restores the view. */
  function remember() {
    const seen = new URLSearchParams({ locus: locus.value, features: features.join(",") });
    window.history.replaceState(null, "", `#${seen}`);
    mark();
  }

  /** Draw a feature, or take it away. */
  async function toggle(name) {
    if (features.includes(name)) {
      features = features.filter((other) => other !== name);
      for (const track of tracksOf(name)) browser.removeTrackByName(track.name);
    } else if (features.length < MAX) {
      features.push(name);
      await browser.loadTrackList(tracksOf(name));
    } else {
      say(`At most ${MAX} features are drawn at once.`);
    }
    remember();
  }

  /** Go to a place or a gene; igv.js looks genes up in upper case. */
  async function go(text) {
    const found = await browser.search(text.trim().replaceAll(",", ""));
    say(found === false ? "There is no such place; give the name of a sequence, or name:start-end." : "");
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.draw");
    if (button && browser) toggle(button.dataset.feature);
  });
  document.getElementById("jump").addEventListener("submit", (event) => {
    event.preventDefault();
    if (browser) go(locus.value);
  });
  window.addEventListener("hashchange", () => {
    const where = asked().get("locus");
    if (!browser || !where) return;
    place.scrollIntoView({ block: "nearest" });
    go(where);
  });

  async function open() {
    if (!(await hasRanges())) {
      const why = window.location.protocol === "file:" ? "A browser reads no tracks from a disk" : "This server answers no byte ranges";
      if (!embedded.size) throw new Error(`${why}, and these are too large to stand in the page. ${SERVERS}`);
      files = await loadData();
    }
    const query = asked();
    if (query.has("features")) features = query.get("features").split(",").filter((name) => buttons.has(name)).slice(0, MAX);
    features = features.filter(isHere);
    for (const name of ["twoBitURL", "chromSizesURL"]) config.reference[name] = source(config.reference[name]);
    config.tracks = config.tracks.map((track) => ({ ...track, url: source(track.url) })).filter((track) => track.url);
    config.tracks.push(...features.flatMap(tracksOf));
    browser = await window.igv.createBrowser(place, config);
    browser.on("locuschange", (frames) => {
      const frame = Array.isArray(frames) ? frames[0] : frames;
      if (!frame) return;
      locus.value = `${frame.chr}:${Math.floor(frame.start) + 1}-${Math.ceil(frame.end)}`;
      remember();
    });
    browser.on("trackremoved", (tracks) => {
      const gone = [tracks].flat().map((track) => String(track.name));
      features = features.filter((name) => !gone.includes(tracksOf(name)[0].name));
      remember();
    });
    // a place that does not exist is said, and hides nothing
    if (query.get("locus")) await go(query.get("locus"));
    document.getElementById("jump").hidden = false;
    place.dataset.ready = files === null ? "ranges" : "embedded";
    mark();
    if (files !== null && buttons.size > [...buttons.values()].filter((button) => !button.hidden).length) {
      document.getElementById("drawn").after("; of the others the tracks are too large to stand in the page");
    }
  }

  open().catch((error) => {
    place.dataset.ready = "failed";
    say(`The browser could not be opened: ${error.message || error} The tables and files below are complete.`);
  });
})();
