// The page of `ctonnx serve`: sends scans to the server, two at a time, and shows what it answers.
// What comes from files and from the server goes into the page as text, never as HTML.

const AT_A_TIME = 2;
const AGAIN_AFTER = 3; // seconds, where the server is gone or does not say when
const PATIENCE = 180; // seconds for an answer; the server has limits of its own, which are shorter
const ALOUD = 3; // scans added at a time that a screen reader hears one by one; of more it hears the sums
const LITTER = /^(\..*|thumbs\.db|desktop\.ini|dicomdir)$/i; // what systems leave in folders
const NO_DICOM = "Not DICOM: for that, run pip install \"ctonnx[dicom]\" where the server runs, and start it again.";
const WORDS = {
  waiting: "Waiting", sending: "Reading…", busy: "Server busy, next try soon",
  suspicious: "Suspicious", below: "Not suspicious", clear: "Not suspicious", answered: "Answered", failed: "Not read",
};

const $ = (id) => document.getElementById(id);
const copyOf = (template) => $(template).content.firstElementChild.cloneNode(true);
const viewer = copyOf("viewer-template");
const part = (id) => viewer.querySelector(`#${id}`);

const scans = []; // in the order of their rows
const waiting = []; // those of them that are not sent yet
let model = null; // what /v1/model says
let shown = null; // the scan that is open
let lanes = 0; // requests under way
let key = ""; // in no storage
let keyAsked = null; // a promise, while the prompt is open
let counting = false;

// --- The server ---

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  const answer = await response.json().catch((error) => {
    if (!(error instanceof SyntaxError)) throw error;
    return null; // a proxy on the way has pages of its own
  });
  if (response.ok && answer) return answer;
  const { status } = response;
  const words = answer?.error ?? `the server answered with status ${status}${response.ok ? " and no JSON" : ""}`;
  throw Object.assign(new Error(words), { status, after: Number(response.headers.get("Retry-After")) || AGAIN_AFTER });
}

async function classify(scan) {
  const { signal } = scan.request;
  const headers = { "Content-Type": "application/octet-stream" };
  const request = { method: "POST", headers, body: scan.file };
  while (!signal.aborted) {
    const usedKey = key;
    tell(scan, "sending");
    try {
      const started = performance.now();
      request.signal = AbortSignal.any([signal, AbortSignal.timeout(1000 * PATIENCE)]);
      const answer = await ask("v1/classify?heatmap=true&scan=true", request);
      const milliseconds = performance.now() - started;
      if (answer.model.sha256 !== model.sha256) await load(); // the server was started anew with another one
      if (!signal.aborted) settle(scan, answer, milliseconds);
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 503) {
        tell(scan, "busy");
        await pause(error.after, signal);
      } else if (error.status === 401) {
        tell(scan, "waiting");
        await keyInsteadOf(usedKey);
      } else if (error.status) {
        return fail(scan, error.message, error.status === 408 || error.status >= 500);
      } else if (error.name === "TimeoutError") {
        return fail(scan, `the server did not answer within ${PATIENCE} seconds`, true);
      } else if (await reachable()) {
        return fail(scan, "it could not be sent: the file was moved or changed, or the connection was cut", true);
      } else {
        tell(scan, "waiting");
        await serverBack(signal);
        if (!signal.aborted) await load();
      }
    }
  }
}

async function reachable() {
  const there = await fetch("v1/model", { cache: "no-store" }).then(() => true, () => false);
  const words = "The server does not answer. Scans wait here, and go on as soon as it is back.";
  $("trouble").textContent = there ? "" : words;
  return there;
}

async function serverBack(signal) {
  while (!signal?.aborted && !(await reachable())) await pause(AGAIN_AFTER, signal);
}

function pause(seconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", resolve, { once: true });
  });
}

function keyInsteadOf(refused) {
  if (key !== refused) return null; // another request has asked for it meanwhile
  $("key-problem").hidden = !refused;
  keyAsked ??= new Promise((resolve) => {
    $("key-prompt").showModal();
    $("key-prompt").addEventListener("close", resolve, { once: true });
  }).then(() => { keyAsked = null; });
  return keyAsked;
}

// --- The list ---

function add(files) {
  const added = files.map((file) => {
    const row = copyOf("row-template");
    const scan = { name: file.name || "pasted image", file, size: file.size, row, aloud: files.length <= ALOUD };
    const [start, end] = row.querySelectorAll(".name > span");
    const cut = scan.name.length > 24 ? scan.name.length - 12 : scan.name.length; // long names differ at their ends
    [start.textContent, end.textContent] = [scan.name.slice(0, cut), scan.name.slice(cut)];
    row.querySelector(".remove").setAttribute("aria-label", `Remove ${scan.name}`);
    row.querySelector(".remove").addEventListener("click", () => remove(scan));
    row.querySelector(".open").addEventListener("click", () => show(scan === shown ? null : scan));
    return scan;
  });
  scans.push(...added);
  $("scans").append(...added.map((scan) => scan.row));
  added.forEach(enqueue);
  if (!shown && added.length) show(added[0]);
}

function enqueue(scan) {
  Object.assign(scan, { request: new AbortController(), results: null, by: null, caution: "" });
  tell(scan, "waiting");
  waiting.push(scan);
  if (lanes < AT_A_TIME) lane();
}

async function lane() {
  lanes += 1;
  await ready;
  let last = null;
  while ((last = waiting[0])) {
    waiting.shift();
    const most = model.limits.bytes;
    if (last.size > most) fail(last, `it has ${bytes(last.size)}, and this server takes ${bytes(most)} at most`);
    else await classify(last);
    if (!waiting.length && !last.aloud) announce($("summary").textContent);
  }
  lanes -= 1;
}

function settle(scan, answer, milliseconds) {
  const results = answer.results.map((one) => ({ ...one, scan: blob(one.scan), heatmap: blob(one.heatmap) }));
  const read = results.filter((one) => !one.error);
  if (!read.length) return fail(scan, results[0]?.error ?? "it holds no image");
  const most = read.reduce((before, one) => (one.score > before.score ? one : before)); // the frame to look at first
  const found = most.suspicious === null ? "" : `${read.filter((one) => one.suspicious).length} of `;
  const frames = results.length > 1 ? `${found}${results.length} frames · ` : "";
  const doubted = read.filter((one) => one.caution);
  const doubt = results.length > 1 ? `${doubted.length} of ${results.length} frames` : most.caution;
  const caution = doubted.length ? `Caution: ${doubt}` : "";
  Object.assign(scan, { file: null, results, frame: results.indexOf(most), by: answer.model, caution, milliseconds });
  drawThumbnail(scan.row.querySelector("canvas"), most.scan);
  return tell(scan, stateOf(scan, most), undefined, `${frames}${percent(most.probability)} ${most.label}`);
}

function fail(scan, reason, again = false) {
  Object.assign(scan, { reason, again });
  tell(scan, "failed", `${WORDS.failed}: ${reason}`);
}

function tell(scan, state, words = WORDS[state], most = "") {
  scan.state = scan.row.dataset.state = state;
  mark(scan.row.querySelector(".said"), state, words);
  scan.row.querySelector(".most").textContent = most;
  annotate(scan);
  if (scan.aloud && !isOpen(scan)) announce(`${scan.name}: ${[words, most, scan.caution].filter(Boolean).join(". ")}`);
  if (scan === shown) fill();
  count();
}

function annotate(scan) {
  scan.row.toggleAttribute("data-doubted", Boolean(scan.caution));
  putNotes(scan.row.querySelector(".notes"), earlier(scan), scan.caution && ["caution", scan.caution]);
}

function remove(scan) {
  const place = visibleRows().indexOf(scan.row);
  scan.request.abort();
  for (const all of [scans, waiting]) if (all.includes(scan)) all.splice(all.indexOf(scan), 1);
  if (scan === shown) show(null);
  scan.row.remove();
  count();
  const rows = visibleRows();
  (rows[Math.min(place, rows.length - 1)]?.querySelector(".open") ?? $("choose")).focus();
}

function removeAll() {
  scans.forEach((scan) => scan.request.abort());
  scans.length = waiting.length = 0;
  show(null);
  $("scans").replaceChildren();
  $("filter").value = $("scans").dataset.filter = "all";
  count();
  announce("All scans were removed");
  $("choose").focus();
}

function count() { // once, however many rows changed
  if (counting) return;
  counting = true;
  queueMicrotask(() => {
    counting = false;
    const of = (state) => scans.filter((scan) => scan.state === state).length;
    const done = scans.filter((scan) => !isOpen(scan)).length;
    const facts = [`${scans.length} scan${scans.length === 1 ? "" : "s"}`];
    if (done < scans.length) facts.push(`${done} answered`);
    const cautions = scans.filter((scan) => scan.caution).length;
    if (model?.operating_point || of("suspicious")) facts.push(`${of("suspicious")} suspicious`);
    if (cautions) facts.push(`${cautions} with a caution`);
    if (of("failed")) facts.push(`${of("failed")} not read`);
    $("summary").textContent = facts.join(" · ");
    Object.assign($("progress"), { max: scans.length || 1, value: done });
    $("progress").classList.toggle("done", done === scans.length);
    $("queue").hidden = !scans.length;
    $("page").classList.toggle("empty", !scans.length);
    $("nothing").hidden = $("filter").value === "all" || of($("filter").value) > 0;
    document.title = done < scans.length ? `${done} of ${scans.length} · ctonnx` : "ctonnx";
  });
}

const isOpen = (scan) => ["waiting", "sending", "busy"].includes(scan.state);
const visibleRows = () => [...$("scans").children].filter((row) => row.checkVisibility());
const announce = (words) => { $("announcement").textContent = words; };

function mark(element, state, words) {
  element.querySelector("use").setAttribute("href", `#icon-${state}`);
  element.querySelector(".words").textContent = words;
  return element;
}

function putNotes(place, ...notes) { // each an icon and words, or nothing
  place.replaceChildren(...notes.filter(Boolean).map((note) => mark(copyOf("note-template"), ...note)));
}

function earlier(scan) {
  if (!scan.by || scan.by.sha256 === model.sha256) return null;
  return ["earlier", `Answered by an earlier model: ${scan.by.run} · ${scan.by.precision}`];
}

async function drawThumbnail(canvas, data) {
  const picture = data && (await createImageBitmap(data).catch(() => null));
  if (!picture) return;
  const side = Math.min(picture.width, picture.height);
  const [left, top] = [(picture.width - side) / 2, (picture.height - side) / 2];
  canvas.getContext("2d").drawImage(picture, left, top, side, side, 0, 0, canvas.width, canvas.height);
  picture.close();
}

// --- The open scan ---

function show(scan) {
  shown?.row.querySelector(".open").setAttribute("aria-expanded", "false");
  shown = scan;
  if (!scan) {
    [part("scan"), part("heat")].forEach((image) => put(image, null));
    return viewer.remove();
  }
  scan.row.querySelector(".open").setAttribute("aria-expanded", "true");
  scan.row.append(viewer);
  scan.row.firstElementChild.scrollIntoView({ block: "nearest" }); // a viewer that was above it has gone
  part("zoom").value = 100;
  setZoom();
  if (waiting.includes(scan)) waiting.unshift(...waiting.splice(waiting.indexOf(scan), 1)); // what is looked at is next
  return fill();
}

function fill() {
  const result = shown.results?.[shown.frame] ?? {};
  const answer = result.label ? result : null;
  const state = answer ? stateOf(shown, answer) : result.error ? "failed" : shown.state;
  const frames = shown.results?.length ?? 1;
  viewer.dataset.state = state;
  part("viewer-name").textContent = shown.name;
  mark(part("verdict"), state, state === "answered" ? answer.label : WORDS[state]);
  const below = "is a suspicious class, but the sum stays below the operating point.";
  putNotes(
    part("notes"),
    state === "below" && ["below", `The most probable, ${answer.label}, ${below}`],
    earlier(shown),
    answer?.caution && ["caution", sentence(`Caution: ${answer.caution}`)],
  );
  part("problem").textContent = state === "failed" ? sentence(result.error ?? shown.reason) : "";
  part("again").hidden = !(shown.state === "failed" && shown.again);

  put(part("scan"), answer?.scan);
  put(part("heat"), answer?.heatmap);
  part("scan").alt = `The scan ${shown.name}`;
  part("heat").alt = `Heatmap: where the network found ${answer?.label}`;
  part("heat-of").textContent = `Heatmap of ${answer?.label}`;
  part("no-picture").textContent = answer ? "" : state === "failed" ? "No picture" : WORDS[state];
  part("zoom-tool").hidden = !answer?.scan;
  part("heat-tools").hidden = !answer?.heatmap;
  part("frame-tool").hidden = frames === 1;
  Object.assign(part("frame"), { max: frames, value: shown.frame + 1 });
  part("frame-said").textContent = `${shown.frame + 1} of ${frames}`;

  const isJudged = state !== "answered" && answer;
  part("compared").hidden = part("summed").hidden = !isJudged;
  if (isJudged) {
    part("summed").textContent = `The sum is that of ${list(shown.by.positive)}.`;
    [part("sum").textContent, part("threshold").textContent] = apart(answer.score, shown.by.threshold);
  }
  part("bars").hidden = part("details").hidden = !answer;
  part("bars").tBodies[0].replaceChildren(...Object.entries(answer?.probabilities ?? {}).map(bar));
  const [inside, outside] = [answer?.milliseconds, shown.milliseconds].map((time) => `${time?.toFixed(0)} ms`);
  const way = `${outside} from sending the file (${bytes(shown.size)}) to its answer`;
  part("details").textContent = `Answered in ${inside}; ${way}.`;
}

function bar([name, value]) {
  const row = copyOf("bar-template");
  row.cells[0].textContent = name;
  row.cells[1].textContent = percent(value);
  row.cells[2].firstChild.style.width = `${100 * value}%`;
  return row;
}

function put(image, data = null) { // and frees what stood there before
  if (image.data === data) return;
  URL.revokeObjectURL(image.src);
  Object.assign(image, { data, hidden: !data });
  if (data) image.src = URL.createObjectURL(data);
  else image.removeAttribute("src");
}

function setHeatmap() {
  const isOn = part("heat-on").checked;
  part("heat").style.opacity = isOn ? part("opacity").value / 100 : 0;
  part("opacity").disabled = !isOn;
  part("opacity-said").textContent = `${part("opacity").value} %`;
}

function setZoom() { // around the middle of what is seen
  const [stack, layers] = [part("stack"), part("layers")];
  const across = (stack.scrollLeft + stack.clientWidth / 2) / stack.scrollWidth;
  const down = (stack.scrollTop + stack.clientHeight / 2) / stack.scrollHeight;
  layers.style.width = layers.style.height = `${part("zoom").value}%`;
  stack.scrollLeft = across * stack.scrollWidth - stack.clientWidth / 2;
  stack.scrollTop = down * stack.scrollHeight - stack.clientHeight / 2;
  part("zoom-said").textContent = `${part("zoom").value} %`;
}

// --- Words and numbers ---

function stateOf(scan, { suspicious, label }) {
  if (suspicious === null) return "answered";
  return suspicious ? "suspicious" : scan.by.positive.includes(label) ? "below" : "clear";
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;
const list = (names) => new Intl.ListFormat("en-GB").format(names);
const bytes = (count) => (count < 2 ** 20 ? `${Math.ceil(count / 2 ** 10)} kB` : `${+(count / 2 ** 20).toFixed(1)} MB`);

function percent(value, digits = 1) { // nothing is 0 or 100 % that is not
  const least = 10 ** -digits;
  if (value > 0 && 100 * value < least) return `< ${least.toFixed(digits)} %`;
  if (value < 1 && 100 * value > 100 - least) return `> ${(100 - least).toFixed(digits)} %`;
  return `${(100 * value).toFixed(digits)} %`;
}

function apart(...values) { // with as many digits as it takes to see which is larger
  let digits = 2;
  while (digits < 6 && new Set(values.map((value) => percent(value, digits))).size === 1) digits += 1;
  return values.map((value) => percent(value, digits));
}

function blob(address) { // of what a data: address holds; a browser may keep it out of its memory
  if (!address) return null;
  const text = atob(address.slice(address.indexOf(",") + 1));
  const content = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) content[place] = text.charCodeAt(place);
  return new Blob([content], { type: "image/png" });
}

// --- The model ---

async function load() { // at first, and where the server may have another model than it had
  const usedKey = key;
  try {
    model = await ask("v1/model");
  } catch (error) {
    if (error.status === 401) await keyInsteadOf(usedKey);
    else {
      if (error.status) $("trouble").textContent = sentence(error.message);
      else await serverBack();
      await pause(error.after ?? 1);
    }
    return load();
  }
  $("trouble").textContent = "";
  $("model-line").textContent = `${model.run} · ${model.precision} · ${model.provider}`;
  $("notice").textContent = model.notice;
  $("synthetic").hidden = !model.synthetic;
  const terms = `${list(model.formats)}, up to ${bytes(model.limits.bytes)} each`;
  const lack = model.formats.includes("DICOM") ? "" : ` ${NO_DICOM}`;
  $("terms").textContent = `${terms}.${lack} Scans go to ${location.host} alone, which keeps none.`;
  const measured = Object.entries(model.metrics).map(([split, found]) => [`Measured, ${split}`, figures(found)]);
  const facts = {
    Model: `${model.run}, ${model.name}`,
    "Runs on": `${model.provider}, ${model.precision}`,
    "Trained on": model.trained_on,
    ...(model.leaks && { Leaks: sentence(model.leaks) }),
    Classes: list(model.classes),
    Input: `${model.image_size} × ${model.image_size} pixels`,
    "Operating point": sentence(model.operating_point?.text ?? "none: this model calls no scan suspicious"),
    ...Object.fromEntries(measured),
    ...(model.caveats.length && { Caveats: model.caveats.map(sentence).join(" ") }),
    Reads: `${terms}.${lack}`,
    "SHA-256": model.sha256,
    ctonnx: model.version,
  };
  $("facts-list").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const [term, fact] = ["dt", "dd"].map((kind) => document.createElement(kind));
    [term.textContent, fact.textContent] = [name, value];
    return [term, fact];
  }));
  $("about").disabled = false;
  scans.forEach(annotate);
  if (shown) fill();
  count();
}

function figures({ accuracy, macro, intervals, images }) {
  const figure = (name, value, interval) => {
    if (!Number.isFinite(value)) return null; // images without one of the classes have no AUROC
    return `${name} ${value.toFixed(3)}${interval ? ` [${interval.map((end) => end.toFixed(3)).join(", ")}]` : ""}`;
  };
  const right = figure("accuracy", accuracy, intervals?.accuracy);
  const auroc = figure("macro AUROC", macro?.auroc, intervals?.macro?.auroc);
  return sentence([right, auroc, `${images} images`].filter(Boolean).join(", "));
}

// --- What a person does ---

async function filesIn(entry) { // of a dropped folder, however deep
  if (entry.isFile) return [await new Promise((done) => entry.file(done, () => done(new File([], entry.name))))];
  const files = [];
  for (const reader = entry.createReader(); ;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!entries.length) return files.filter((file) => !LITTER.test(file.name));
    for (const inner of entries) files.push(...(await filesIn(inner)));
  }
}

for (const [button, input] of [["choose", $("files")], ["choose-folder", $("folder")]]) {
  $(button).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    add([...input.files].filter((file) => input === $("files") || !LITTER.test(file.name)));
    input.value = "";
  });
}
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const files = [...event.dataTransfer.files]; // both are empty after the first await
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  add(entries.some((entry) => entry.isDirectory) ? (await Promise.all(entries.map(filesIn))).flat() : files);
});
$("scans").addEventListener("keydown", (event) => {
  if (!event.target.matches(".open")) return;
  const rows = visibleRows();
  const place = rows.findIndex((row) => row.contains(event.target));
  const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: rows.length - 1 }[event.key];
  if (event.key === "Delete") remove(scans.find((scan) => scan.row === rows[place]));
  if (next === undefined) return;
  event.preventDefault();
  rows[next]?.querySelector(".open").focus();
});
$("clear").addEventListener("click", removeAll);
$("filter").addEventListener("change", () => {
  $("scans").dataset.filter = $("filter").value;
  if (shown && !shown.row.checkVisibility()) show(scans.find((scan) => scan.row.checkVisibility()) ?? null);
  count();
});
$("about").addEventListener("click", () => {
  $("facts").showModal();
  load();
});
$("key-prompt").addEventListener("cancel", (event) => event.preventDefault()); // nothing works without
$("key-prompt").addEventListener("submit", () => {
  key = $("key").value.trim();
  $("key").value = "";
});
part("again").addEventListener("click", () => {
  enqueue(shown);
  shown.row.querySelector(".open").focus();
});
part("frame").addEventListener("input", () => {
  shown.frame = part("frame").value - 1;
  fill();
});
part("heat-on").addEventListener("change", setHeatmap);
part("opacity").addEventListener("input", setHeatmap);
part("zoom").addEventListener("input", setZoom);
part("stack").addEventListener("pointermove", (event) => {
  if (event.buttons === 1 && event.pointerType === "mouse") part("stack").scrollBy(-event.movementX, -event.movementY);
});
setHeatmap();
const ready = load();
