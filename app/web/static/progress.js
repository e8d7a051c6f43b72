// Follows a run: events as long as the server has room for them, else asking again and again.

const place = document.getElementById("progress");
const address = `/runs/${encodeURIComponent(place.dataset.run)}`;
const parts = Object.fromEntries(["state", "bar", "done", "left", "said"].map((id) => [id, document.getElementById(id)]));
const WAIT = 2000;
let last = "";

/** Show how far the run is; the page of an ended run is another one. */
function show(progress) {
  parts.state.textContent = progress.title;
  parts.bar.value = progress.fraction;
  parts.done.textContent = progress.done;
  parts.left.textContent = progress.left;
  document.title = document.title.replace(/^[^:]*/, progress.fraction ? `${Math.floor(100 * progress.fraction)}%` : progress.title);
  if (progress.state !== last) parts.said.textContent = progress.said; // read out once a change
  last = progress.state;
  if (progress.ended) window.location.reload();
}

/** Ask, wait, ask. */
async function poll() {
  try {
    const answer = await fetch(`${address}/progress`, { headers: { Accept: "application/json" } });
    if (answer.ok) show(await answer.json());
    else if (answer.status === 404) { window.location.reload(); return; }
  } catch {
    parts.said.textContent = "The server cannot be reached now; this page goes on asking.";
    last = "";
  }
  setTimeout(poll, WAIT);
}

if ("EventSource" in window) {
  const events = new EventSource(`${address}/events`);
  events.addEventListener("progress", (event) => show(JSON.parse(event.data)));
  events.addEventListener("end", (event) => { events.close(); show(JSON.parse(event.data)); });
  events.addEventListener("error", () => {
    // a stream that ended is opened again by the browser; one that was refused is not
    if (events.readyState === EventSource.CLOSED) setTimeout(poll, WAIT);
  });
} else {
  poll();
}
