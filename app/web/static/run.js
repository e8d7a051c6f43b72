// The browser of a run: igv.js over the run's own sequence, kept in step with the address.

const place = document.getElementById("igv");
const config = JSON.parse(place.dataset.config);
const base = place.dataset.base;
const drawn = document.getElementById("drawn");
const locus = document.getElementById("locus");
const failed = document.getElementById("igv-failed");
const COLORS = ["0, 114, 178", "213, 94, 0", "0, 158, 115", "204, 121, 167", "230, 159, 0", "86, 180, 233"];
const MAX = 20;
let browser = null;

/** Names of the drawn features, in their order. */
const features = config.tracks.filter((track) => track.type === "wig" && track.url.includes("/signal.bw"))
  .map((track) => track.name.replace("feature ", ""));

/** Tracks that come with each signal where the run compares alleles: ends of their names. */
const BESIDE = config.alleles ? { alternative: " alt", difference: " alt - ref" } : {};

/** Write what is seen into the address and into the forms, so that both restore it. */
function remember() {
  const address = new URL(window.location.href);
  address.searchParams.set("features", features.join(","));
  address.searchParams.set("locus", locus.value);
  window.history.replaceState(null, "", address);
  for (const input of document.querySelectorAll('input[type="hidden"][name="features"]')) input.value = features.join(",");
  for (const input of document.querySelectorAll('input[type="hidden"]:is([name="locus"], [name="region"])')) input.value = locus.value;
  drawn.textContent = features.join(", ") || "no feature; choose some below";
  for (const link of document.querySelectorAll("a.figure")) {
    link.search = new URLSearchParams({ region: locus.value, features: features.slice(0, MAX).join(",") });
    link.hidden = !features.length;
  }
  mark();
}

/** Say on each button of the list whether its feature is drawn. */
function mark() {
  for (const button of document.querySelectorAll("a.draw")) {
    const on = features.includes(button.dataset.feature);
    button.setAttribute("role", "button");
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Drawn" : "Draw";
    button.setAttribute("aria-label", `${button.textContent}: feature ${button.dataset.feature}`);
    button.classList.toggle("main", on);
  }
}

/** Draw a feature, or take it away. */
async function toggle(button) {
  const name = button.dataset.feature;
  const at = features.indexOf(name);
  if (at >= 0) {
    features.splice(at, 1);
    for (const said of ["", ...Object.values(BESIDE)]) browser.removeTrackByName(`feature ${name}${said}`);
  } else if (features.length < MAX) {
    features.push(name);
    const track = {
      name: `feature ${name}`, type: "wig", format: "bigwig", min: 0, autoscale: true, height: 60, order: 10 + features.length,
      color: `rgb(${COLORS[(features.length - 1) % COLORS.length]})`,
      url: `${base}/features/${button.dataset.number}/signal.bw?strand=${encodeURIComponent(button.dataset.strand)}`,
    };
    if (config.alleles) Object.assign(track, { graphType: "dynseq", order: 10 * track.order, autoscaleGroup: `feature-${name}` });
    await browser.loadTrack(track);
    for (const [kind, said] of Object.entries(BESIDE)) {
      track.order += 1;
      const beside = { ...track, name: track.name + said, url: track.url.replace("/signal.bw", `/${kind}.bw`) };
      if (kind === "difference") { delete beside.min; delete beside.autoscaleGroup; }
      await browser.loadTrack(beside);
    }
  } else {
    window.alert(`At most ${MAX} features are drawn at once.`);
  }
  remember();
}

/** Fetch another part of the list and put it in the place of this one. */
async function turn(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const list = page.getElementById("list");
  if (!list) { window.location.assign(address); return; }
  const focused = document.activeElement && document.activeElement.id;
  document.getElementById("list").replaceWith(document.adoptNode(list));
  window.history.replaceState(null, "", address);
  remember();
  (document.getElementById(focused) || document.querySelector("#list .scroll") || document.getElementById("list")).focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("a.draw, a.turn");
  if (!button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (button.matches(".draw") && browser) { event.preventDefault(); toggle(button); }
  if (button.matches(".turn")) { event.preventDefault(); turn(button.href); }
});
document.addEventListener("keydown", (event) => {
  if (event.key === " " && event.target.matches("a.draw")) { event.preventDefault(); event.target.click(); }
});
document.addEventListener("submit", (event) => {
  if (event.target.id !== "find") return;
  event.preventDefault();
  const query = new URLSearchParams(new FormData(event.target));
  turn(`${event.target.action}?${query}`);
});
document.addEventListener("change", (event) => {
  if (event.target.matches("#sort, #find [name=all]")) event.target.form.requestSubmit();
});

document.getElementById("jump").addEventListener("submit", (event) => {
  if (!browser) return;
  event.preventDefault();
  browser.search(locus.value.trim().replaceAll(",", "")).then((found) => {
    failed.hidden = found !== false;
    failed.textContent = "There is no such place; give the name of a sequence, or name:start-end.";
  });
});

const copy = document.getElementById("copy");
copy.hidden = !navigator.clipboard;
copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(window.location.href);
  document.getElementById("copied").textContent = "Copied.";
});

try {
  const { default: igv } = await import("./igv.esm.min.js");
  browser = await igv.createBrowser(place, config);
  browser.on("locuschange", (frames) => {
    const frame = Array.isArray(frames) ? frames[0] : frames;
    if (!frame) return;
    locus.value = `${frame.chr}:${Math.floor(frame.start) + 1}-${Math.ceil(frame.end)}`;
    remember();
  });
  browser.on("trackremoved", (tracks) => {
    for (const track of [tracks].flat()) {
      const at = features.indexOf(String(track.name).replace("feature ", ""));
      if (at >= 0) features.splice(at, 1);
    }
    remember();
  });
  place.dataset.ready = "yes";
  mark();
} catch (error) {
  failed.hidden = false;
  failed.textContent = `The browser could not be opened: ${error.message || error}. The tables and files below are complete.`;
}
