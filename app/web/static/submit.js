// The form: says what was given before it is sent, and how far the sending is.

const form = document.getElementById("submit");
const text = document.getElementById("sequence");
const file = document.getElementById("file");
const checked = document.getElementById("checked");
const estimate = document.getElementById("estimate");
const failed = document.getElementById("failed");
const limits = JSON.parse(form.dataset.limits);
const speeds = JSON.parse(form.dataset.speeds);
const waiting = Number(form.dataset.waiting);
const atFirst = estimate.textContent;
const LETTERS = /[^ACGTURYSWKMBDHVN.\-*\s]/i;
const PASTED = "pasted.txt";
const MAX_SCAN = 400e6;

/** Time in words. */
function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} seconds`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${(seconds / 3600).toPrecision(2)} hours`;
}

/** A length in words. */
function length(bases) {
  for (const [size, unit] of [[1e9, "Gb"], [1e6, "Mb"], [1e3, "kb"]]) {
    if (bases >= size) return `${(bases / size).toFixed(1).replace(/\.0$/, "")} ${unit}`;
  }
  return `${bases} bases`;
}

/** Reads FASTA or GenBank piece by piece: counts bases and records, finds what is wrong. */
class Reader {
  constructor() {
    this.rest = ""; this.lines = 0; this.bases = 0; this.records = 0; this.names = new Set();
    this.kind = ""; this.inOrigin = false; this.problem = ""; this.own = 0;
  }

  add(piece) {
    const lines = (this.rest + piece).split(/\r\n|\n|\r/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  end() {
    if (this.rest) this.line(this.rest);
    this.closeRecord();
    if (!this.problem && !this.records) this.problem = "There is no sequence in it.";
  }

  line(line) {
    this.lines += 1;
    if (this.problem) return;
    if (!this.kind) {
      if (!line.trim()) return;
      this.kind = line.startsWith("LOCUS") ? "GenBank" : line.startsWith(">") || line.startsWith(";") ? "FASTA" : "bare";
      if (this.kind === "bare") { this.records = 1; this.name = "pasted"; }
    }
    if (this.kind === "GenBank") this.genbank(line); else this.fasta(line);
  }

  fasta(line) {
    if (line.startsWith(">")) {
      this.closeRecord();
      this.name = line.slice(1).trim().split(/\s+/)[0];
      if (!this.name) this.problem = `Line ${this.lines}: the record has no name after ">".`;
      else if (this.names.has(this.name)) this.problem = `Line ${this.lines}: two records have the same name.`;
      this.names.add(this.name);
      this.records += 1;
    } else if (!line.startsWith(";")) this.sequence(line);
  }

  genbank(line) {
    if (line.startsWith("LOCUS")) { this.closeRecord(); this.records += 1; this.inOrigin = false; this.name = line.split(/\s+/)[1]; }
    else if (line.startsWith("ORIGIN")) this.inOrigin = true;
    else if (line.startsWith("//")) this.inOrigin = false;
    else if (this.inOrigin) this.sequence(line.replace(/[\d]/g, ""));
  }

  sequence(line) {
    const wrong = LETTERS.exec(line);
    if (wrong) {
      const protein = /[EFILPQZ]/i.test(wrong[0]) ? " It looks like protein; DNA is read here." : "";
      this.problem = `Line ${this.lines}: "${wrong[0]}" stands for no base.${protein}`;
      return;
    }
    const count = line.replace(/\s+/g, "").length;
    this.bases += count;
    this.own += count;
  }

  closeRecord() {
    if (this.name !== undefined && this.records && !this.own && !this.problem) this.problem = `The record "${this.name.slice(0, 40)}" has no bases.`;
    this.own = 0;
    if (!this.problem && this.bases > limits.max_bases) this.problem = `There are more than ${length(limits.max_bases)}, the most this server takes.`;
    if (!this.problem && this.records > limits.max_records) this.problem = `There are more than ${limits.max_records} records, the most this server takes.`;
  }
}

/** Say something about the input: a sentence, and whether it is a problem. */
function say(sentence, bad = false) {
  checked.replaceChildren();
  if (sentence) {
    const note = document.createElement("p");
    note.className = bad ? "note bad" : "note";
    note.textContent = sentence;
    checked.append(note);
  }
  const invalid = bad ? "true" : "false";
  text.setAttribute("aria-invalid", String(bad && !file.files.length));
  file.setAttribute("aria-invalid", file.files.length ? invalid : "false");
}

/** Say how long a number of bases takes. */
function tell(bases) {
  const speed = speeds[form.elements.dictionary.value];
  if (!bases || !speed) { estimate.textContent = atFirst; return; }
  const share = form.elements.strands.value === "forward" ? 0.5 : 1;
  const seconds = share * bases / speed.rate + speed.overhead;
  const first = waiting ? `, after ${duration(waiting)} of work that is there already` : "";
  estimate.textContent = `Your ${length(bases)} take about ${duration(seconds)}${first} (${speed.said}).`;
}

let round = 0;
let bases = 0;

/** What was given, as a File; none if nothing was. */
function given() {
  if (file.files.length) return file.files[0];
  const pasted = text.value.trim();
  if (!pasted) return null;
  const isBare = !/^(>|;|LOCUS)/.test(pasted);
  return new File([isBare ? ">pasted\n" : "", pasted, "\n"], PASTED, { type: "text/plain" });
}

/** Read what was given to its end, and say what it is. */
async function check() {
  const mine = ++round;
  const source = given();
  bases = 0;
  tell(0);
  if (!source) { say(""); return true; }
  if (source.size > limits.max_upload_bytes) { say(`The file has ${Math.round(source.size / 1e6)} MB; this server takes ${Math.round(limits.max_upload_bytes / 1e6)} MB. Compress it with gzip, or send fewer records.`, true); return false; }
  const head = new Uint8Array(await source.slice(0, 2).arrayBuffer());
  const zipped = head[0] === 0x1f && head[1] === 0x8b;
  let stream = source.stream();
  if (zipped) {
    if (!("DecompressionStream" in window)) { say("A gzip file; the server will check what is in it."); return true; }
    stream = stream.pipeThrough(new DecompressionStream("gzip"));
  }
  const reader = new Reader();
  const pieces = stream.pipeThrough(new TextDecoderStream()).getReader();
  let seen = 0;
  try {
    for (;;) {
      const { done, value } = await pieces.read();
      if (mine !== round) { pieces.cancel(); return true; }
      if (done) break;
      reader.add(value);
      seen += value.length;
      if (reader.problem || seen > MAX_SCAN) { pieces.cancel(); break; }
    }
    if (seen <= MAX_SCAN) reader.end();
  } catch {
    // a gzip file of several parts, as bgzip writes it, is no error: the server reads it
    say("A compressed file that this browser cannot read to its end; the server will check it.");
    return true;
  }
  if (reader.problem) { say(reader.problem, true); return false; }
  bases = reader.bases;
  const more = seen > MAX_SCAN ? "at least " : "";
  const what = reader.kind === "bare" ? "Bare bases" : reader.kind;
  say(`${what}: ${more}${reader.records.toLocaleString("en")} record${reader.records === 1 ? "" : "s"}, ${more}${bases.toLocaleString("en")} bases.`);
  tell(bases);
  return true;
}

let timer = 0;
text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(check, 250); });
file.addEventListener("change", check);
form.elements.dictionary.addEventListener("change", () => tell(bases));
form.elements.strands.addEventListener("change", () => tell(bases));

const drop = document.getElementById("drop");
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  file.files = event.dataTransfer.files;
  text.value = "";
  check();
});

/** Send the form and show how far it is; the answer is the run, or a problem in words. */
function send(body) {
  const sending = document.getElementById("sending");
  const sent = document.getElementById("sent");
  const request = new XMLHttpRequest();
  request.open("POST", "/v1/runs");
  request.setRequestHeader("Accept", "application/json");
  request.responseType = "json";
  request.upload.addEventListener("progress", (event) => {
    sending.hidden = false;
    sent.max = event.total;
    sent.value = event.loaded;
  });
  const finish = (said) => {
    sending.hidden = true;
    failed.hidden = false;
    failed.textContent = `Nothing was submitted. ${said}`;
    for (const button of form.querySelectorAll("button")) button.disabled = false;
  };
  request.addEventListener("load", () => {
    const answer = request.response;
    if (answer && answer.id) window.location.assign(`/runs/${encodeURIComponent(answer.id)}`);
    else finish(answer && answer.detail ? answer.detail : "The server gave no reason.");
  });
  request.addEventListener("error", () => finish("The server could not be reached."));
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  request.send(body);
}

form.addEventListener("submit", async (event) => {
  if (event.submitter && event.submitter.value === "example") return;
  event.preventDefault();
  failed.hidden = true;
  const source = given();
  const genome = form.elements.genome ? form.elements.genome.value : "";
  if (genome && source) { say("There is a genome and a sequence; leave one of them out.", true); form.elements.genome.focus(); return; }
  if (!source && !genome) { say("There is no sequence; paste one, choose a file, or run the example.", true); text.focus(); return; }
  if (file.files.length && text.value.trim()) { say("There is pasted text and a file; leave one of them out.", true); text.focus(); return; }
  if (!(await check())) { (file.files.length ? file : text).focus(); return; }
  const body = new FormData();
  if (genome) body.append("genome", genome);
  else if (source.name === PASTED && !file.files.length) body.append("file", source, "");
  else body.append("file", source);
  for (const name of ["genes", "motifs_file", "variants", "regions"]) {
    const chosen = form.elements[name] ? form.elements[name].files : [];
    if (chosen.length) body.append(name, chosen[0]);
  }
  for (const name of ["dictionary", "taxon", "strands", "release", "held_out", "title", "alleles", "region", "gene", "flank"]) {
    const value = form.elements[name] ? form.elements[name].value.trim() : "";
    if (value) body.append(name, value);
  }
  if (form.elements.expectation.checked) body.append("expectation", "true");
  send(body);
});

if (text.value || file.files.length) check();
