// The page of `ctonnx serve`: sends scans to the server, two at a time, and shows the results.
// Text from files and from the server is inserted as text, never as HTML.

const AT_A_TIME = 2;
const RETRY_SECONDS = 3; // if the server is unavailable or sends no Retry-After
const TIMEOUT_SECONDS = 180; // for a response; the limits of the server are shorter
const MOST_ANNOUNCED = 3; // scans added at a time that are announced one by one; for more, the summary is
// Names that are skipped in folders, as in ctonnx.prediction.inputs; a test compares them.
const SKIPPED_FILES = /^(\..*|thumbs\.db(:encryptable)?|ehthumbs(_vista)?\.db|desktop\.ini|autorun\.inf|icon\r|dicomdir|~\$.*|.*@syno(resource|eastream))$/i;
const SKIPPED_FOLDERS = /^(\..*|@eadir|@tmp|@recycle|@recently-snapshot|@__thumb|@sharebin|[#~]snapshot|#recycle|\$recycle\.bin|recycle[rd]|system volume information|found\.\d{3}|__macosx|network trash folder|temporary items|thevolumesettingsfolder|lost\+found|__pycache__)$/i;
const NO_DICOM = "DICOM is not supported: run pip install \"ctonnx[dicom]\" on the server and restart it.";
const WORDS = {
  waiting: "Waiting", sending: "Reading…", busy: "Server busy, retrying soon",
  suspicious: "Suspicious", refer: "Refer", below: "Not suspicious", clear: "Not suspicious", classified: "Classified", failed: "Not read",
};

const RANKS = { positive: 2, refer: 1, negative: 0 }; // of the frames of a file, the first to show
const LIMIT_AT = 70; // percent of the novelty scale's width where its threshold is
const OCTAVES = 4; // doublings of the threshold that the rest of the scale has room for

const $ = (id) => document.getElementById(id);
const copyOf = (template) => $(template).content.firstElementChild.cloneNode(true);
const viewer = copyOf("viewer-template");
const part = (id) => viewer.querySelector(`#${id}`);

const scans = []; // in the order of their rows
const waiting = []; // scans that are not sent yet
let model = null; // the response of /v1/model
let shown = null; // the open scan
let lanes = 0; // requests in progress
let key = ""; // never stored
let keyPrompt = null; // a promise, while the prompt is open
let counting = false;

// --- The server ---

async function fetchJson(path, options = {}) {
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  const content = await response.json().catch((error) => {
    if (!(error instanceof SyntaxError)) throw error;
    return null; // an error page of a proxy
  });
  if (response.ok && content) return content;
  const { status } = response;
  const words = content?.error ?? `the server responded with status ${status}${response.ok ? " and no JSON" : ""}`;
  throw Object.assign(new Error(words), { status, after: Number(response.headers.get("Retry-After")) || RETRY_SECONDS });
}

async function classify(scan) {
  const { signal } = scan.request;
  const headers = { "Content-Type": "application/octet-stream" };
  const request = { method: "POST", headers, body: scan.file };
  while (!signal.aborted) {
    const usedKey = key;
    setState(scan, "sending");
    try {
      const started = performance.now();
      request.signal = AbortSignal.any([signal, AbortSignal.timeout(1000 * TIMEOUT_SECONDS)]);
      const response = await fetchJson("v1/classify?heatmap=true&scan=true", request);
      const milliseconds = performance.now() - started;
      if (response.model.sha256 !== model.sha256) await load(); // the server was restarted with another one
      if (!signal.aborted) finish(scan, response, milliseconds);
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 503) {
        setState(scan, "busy");
        await pause(error.after, signal);
      } else if (error.status === 401) {
        setState(scan, "waiting");
        await keyInsteadOf(usedKey);
      } else if (error.status) {
        return fail(scan, error.message, error.status === 408 || error.status >= 500);
      } else if (error.name === "TimeoutError") {
        return fail(scan, `the server did not respond within ${TIMEOUT_SECONDS} seconds`, true);
      } else if (await reachable()) {
        return fail(scan, "the file could not be sent: it was moved or changed, or the connection was lost", true);
      } else {
        setState(scan, "waiting");
        await serverBack(signal);
        if (!signal.aborted) await load();
      }
    }
  }
}

async function reachable() {
  const isThere = await fetch("v1/model", { cache: "no-store" }).then(() => true, () => false);
  const words = "The server does not respond. Waiting scans are sent when it is available again.";
  $("trouble").textContent = isThere ? "" : words;
  return isThere;
}

async function serverBack(signal) {
  while (!signal?.aborted && !(await reachable())) await pause(RETRY_SECONDS, signal);
}

function pause(seconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", resolve, { once: true });
  });
}

function keyInsteadOf(rejected) {
  if (key !== rejected) return null; // another request has prompted for it
  $("key-problem").hidden = !rejected;
  keyPrompt ??= new Promise((resolve) => {
    $("key-prompt").showModal();
    $("key-prompt").addEventListener("close", resolve, { once: true });
  }).then(() => { keyPrompt = null; });
  return keyPrompt;
}

// --- The list ---

function add(files) {
  const added = files.map((file) => {
    const row = copyOf("row-template");
    const scan = { name: file.name || "pasted image", file, size: file.size, row, isAnnounced: files.length <= MOST_ANNOUNCED };
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
  Object.assign(scan, { request: new AbortController(), results: null, by: null, warning: "" });
  setState(scan, "waiting");
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
    if (last.size > most) fail(last, `the file has ${bytes(last.size)}, and the server accepts at most ${bytes(most)}`);
    else await classify(last);
    if (!waiting.length && !last.isAnnounced) announce($("summary").textContent);
  }
  lanes -= 1;
}

function finish(scan, response, milliseconds) {
  const results = response.results.map((one) => ({ ...one, scan: blob(one.scan), heatmap: blob(one.heatmap) }));
  const read = results.filter((one) => !one.error);
  if (!read.length) return fail(scan, results[0]?.error ?? "the file contains no image");
  const most = read.reduce((before, one) => (isBefore(one, before) ? one : before)); // the frame to show first
  const number = (decision) => read.filter((one) => one.decision === decision).length;
  const referred = number("refer") ? `, ${number("refer")} to refer` : "";
  const found = most.decision ? `${number("positive")} of ` : "";
  const frames = results.length > 1 ? `${found}${results.length} frames${referred} · ` : "";
  const warned = read.filter((one) => one.caution);
  const reason = results.length > 1 ? `${warned.length} of ${results.length} frames` : most.caution;
  const warning = warned.length ? `Warning: ${reason}` : "";
  Object.assign(scan, { file: null, results, frame: results.indexOf(most), by: response.model, warning, milliseconds });
  drawThumbnail(scan.row.querySelector("canvas"), most.scan);
  const words = most.decision === "refer" ? `${WORDS.refer}: ${most.reason.split(/[:;]/)[0]}` : undefined;
  return setState(scan, stateOf(scan, most), words, `${frames}${percent(most.probability)} ${most.label}`);
}

function fail(scan, reason, again = false) {
  Object.assign(scan, { reason, again });
  setState(scan, "failed", `${WORDS.failed}: ${reason}`);
}

function setState(scan, state, words = WORDS[state], result = "") {
  scan.state = scan.row.dataset.state = state;
  mark(scan.row.querySelector(".status"), state, words);
  scan.row.querySelector(".result").textContent = result;
  annotate(scan);
  if (scan.isAnnounced && !isOpen(scan)) announce(`${scan.name}: ${[words, result, scan.warning].filter(Boolean).join(". ")}`);
  if (scan === shown) fill();
  count();
}

function annotate(scan) {
  scan.row.toggleAttribute("data-warned", Boolean(scan.warning));
  const isNoted = scan.warning && (scan.state !== "refer" || scan.results.length > 1); // else it is the reason to refer
  putNotes(scan.row.querySelector(".notes"), earlier(scan), isNoted && ["warning", scan.warning]);
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

function count() { // once for all rows that changed
  if (counting) return;
  counting = true;
  queueMicrotask(() => {
    counting = false;
    const number = (condition) => scans.filter(condition).length;
    const [all, done, warned] = [scans.length, number((scan) => !isOpen(scan)), number((scan) => scan.warning)];
    const [suspicious, refer, failed] = ["suspicious", "refer", "failed"].map((state) => number((scan) => scan.state === state));
    const facts = [`${all} scan${all === 1 ? "" : "s"}`];
    if (done < all) facts.push(`${done} processed`);
    if (model?.operating_point || suspicious) facts.push(`${suspicious} suspicious`);
    if (refer) facts.push(`${refer} to refer`);
    if (warned) facts.push(`${warned} with a warning`);
    if (failed) facts.push(`${failed} not read`);
    $("summary").textContent = facts.join(" · ");
    Object.assign($("progress"), { max: all || 1, value: done });
    $("progress").classList.toggle("done", done === all);
    $("queue").hidden = !all;
    $("page").classList.toggle("empty", !all);
    $("nothing").hidden = { all, warned, suspicious, refer, failed }[$("filter").value] > 0;
    document.title = done < all ? `${done} of ${all} · ctonnx` : "ctonnx";
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

function putNotes(place, ...notes) { // each an icon and words, or null
  place.replaceChildren(...notes.filter(Boolean).map((note) => mark(copyOf("note-template"), ...note)));
}

function earlier(scan) {
  if (!scan.by || scan.by.sha256 === model.sha256) return null;
  return ["earlier", `Classified by an earlier model: ${scan.by.run} · ${scan.by.precision}`];
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
  scan.row.firstElementChild.scrollIntoView({ block: "nearest" }); // the viewer of a scan above it was removed
  part("zoom").value = 100;
  setZoom();
  if (waiting.includes(scan)) waiting.unshift(...waiting.splice(waiting.indexOf(scan), 1)); // it is sent next
  return fill();
}

function fill() {
  const result = shown.results?.[shown.frame] ?? {};
  const prediction = result.label ? result : null;
  const state = prediction ? stateOf(shown, prediction) : result.error ? "failed" : shown.state;
  const frames = shown.results?.length ?? 1;
  viewer.dataset.state = state;
  part("viewer-name").textContent = shown.name;
  mark(part("verdict"), state, state === "classified" ? prediction.label : WORDS[state]);
  part("reason").textContent = prediction?.reason ? sentence(prediction.reason) : "";
  const below = "is a suspicious class, but the sum is below the threshold.";
  putNotes(
    part("notes"),
    state === "below" && ["below", `The predicted class, ${prediction.label}, ${below}`],
    earlier(shown),
    state !== "refer" && prediction?.caution && ["warning", sentence(`Warning: ${prediction.caution}`)],
  );
  part("problem").textContent = state === "failed" ? sentence(result.error ?? shown.reason) : "";
  part("again").hidden = !(shown.state === "failed" && shown.again);

  put(part("scan"), prediction?.scan);
  put(part("heat"), prediction?.heatmap);
  part("scan").alt = `The scan ${shown.name}`;
  part("heat").alt = `Heatmap: regions that support the class ${prediction?.label}`;
  part("heat-of").textContent = `Heatmap of ${prediction?.label}`;
  part("no-picture").textContent = prediction ? "" : state === "failed" ? "No picture" : WORDS[state];
  part("zoom-tool").hidden = !prediction?.scan;
  part("heat-tools").hidden = !prediction?.heatmap;
  part("frame-tool").hidden = frames === 1;
  Object.assign(part("frame"), { max: frames, value: shown.frame + 1 });
  part("frame-value").textContent = `${shown.frame + 1} of ${frames}`;

  const isJudged = prediction?.decision;
  part("compared").hidden = part("summed").hidden = !isJudged;
  if (isJudged) {
    part("summed").textContent = `Suspicious classes: ${list(shown.by.positive)}.`;
    [part("sum").textContent, part("threshold").textContent] = distinct(prediction.score, shown.by.threshold);
  }
  part("bars").hidden = part("details").hidden = !prediction;
  part("bars").tBodies[0].replaceChildren(...Object.entries(prediction?.probabilities ?? {}).map(bar));
  part("set").textContent = prediction?.set ? setOf(prediction, shown.by) : "";
  fillNovelty(prediction);
  part("known").hidden = !prediction;
  const names = Object.keys(prediction?.probabilities ?? {}).sort();
  part("known").textContent = `The model knows only ${list(names)}. It was never shown anything else, and names one of these for any picture.`;
  const [inside, outside] = [prediction?.milliseconds, shown.milliseconds].map((time) => `${time?.toFixed(0)} ms`);
  const total = `${outside} from sending the file (${bytes(shown.size)}) to the result`;
  part("details").textContent = `Classified in ${inside}; ${total}.`;
}

function setOf({ set: names, probabilities }, { coverage, coverage_not_promised: without, fitted_on: images }) {
  const set = new Intl.ListFormat("en-GB", { type: "disjunction" }).format(names);
  if (without.length === Object.keys(probabilities).length) return `Prediction set: ${set}. It promises no coverage: each class has too few ${images}.`;
  const but = without.length ? ` Not promised for ${list(without)}: too few images.` : "";
  return `Prediction set: ${set}. Of new scans like the ${images}, at least ${tenths(100 * coverage)} % of each class have their class in it.${but}`;
}

function fillNovelty(prediction) { // up to the threshold by percentiles, beyond it by doublings
  const [limit, unlike] = [shown.by?.novelty, prediction?.unlike_training];
  part("novelty").hidden = !limit || typeof unlike !== "boolean";
  if (part("novelty").hidden) return;
  const { novelty, novelty_percentile: percentile } = prediction;
  const times = novelty === null ? Infinity : novelty / limit.threshold;
  const beyond = Math.min(1, Math.max(0.08, Math.log2(times) / OCTAVES));
  const place = unlike ? LIMIT_AT + (100 - LIMIT_AT) * beyond : LIMIT_AT * Math.min(1, percentile / limit.percentile);
  part("here").style.left = `${place}%`;
  part("novelty").dataset.unlike = unlike;
  const many = times < 10 ? times.toFixed(1) : times.toFixed(0);
  part("novelty-words").textContent = unlike
    ? `Unlike the training scans${Number.isFinite(times) ? `: ${many} times the limit` : ""}.`
    : `More unusual than ${Math.floor(percentile)} % of the ${shown.by.fitted_on}; flagged above ${limit.percentile < 100 ? `${tenths(limit.percentile)} %` : "all of them"}.`;
}

function bar([name, value]) {
  const row = copyOf("bar-template");
  row.cells[0].textContent = name;
  row.cells[1].textContent = percent(value);
  row.cells[2].firstChild.style.width = `${100 * value}%`;
  return row;
}

function put(image, data = null) { // and releases the previous image
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
  part("opacity-value").textContent = `${part("opacity").value} %`;
}

function setZoom() { // around the center of the visible part
  const [stack, layers] = [part("stack"), part("layers")];
  const across = (stack.scrollLeft + stack.clientWidth / 2) / stack.scrollWidth;
  const down = (stack.scrollTop + stack.clientHeight / 2) / stack.scrollHeight;
  layers.style.width = layers.style.height = `${part("zoom").value}%`;
  stack.scrollLeft = across * stack.scrollWidth - stack.clientWidth / 2;
  stack.scrollTop = down * stack.scrollHeight - stack.clientHeight / 2;
  part("zoom-value").textContent = `${part("zoom").value} %`;
}

// --- Words and numbers ---

const isBefore = (one, other) => {
  const [rank, otherRank] = [one, other].map(({ decision }) => RANKS[decision] ?? 0);
  return rank === otherRank ? one.score > other.score : rank > otherRank;
};

function stateOf(scan, { decision, label }) {
  if (!decision) return "classified";
  if (decision === "refer") return "refer";
  return decision === "positive" ? "suspicious" : scan.by.positive.includes(label) ? "below" : "clear";
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;
const tenths = (number) => Math.floor(10 * number + 1e-9) / 10; // never more than the number
const list = (names) => new Intl.ListFormat("en-GB").format(names);
const bytes = (count) => (count < 2 ** 20 ? `${Math.ceil(count / 2 ** 10)} kB` : `${+(count / 2 ** 20).toFixed(1)} MB`);

function percent(value, digits = 1) { // only 0 and 1 are shown as 0 and 100 %
  const least = 10 ** -digits;
  if (value > 0 && 100 * value < least) return `< ${least.toFixed(digits)} %`;
  if (value < 1 && 100 * value > 100 - least) return `> ${(100 - least).toFixed(digits)} %`;
  return `${(100 * value).toFixed(digits)} %`;
}

function distinct(...values) { // with as many digits as distinguish them
  let digits = 2;
  while (digits < 6 && new Set(values.map((value) => percent(value, digits))).size === 1) digits += 1;
  return values.map((value) => percent(value, digits));
}

function blob(address) { // of a data: URL; a browser can store blobs outside its memory
  if (!address) return null;
  const text = atob(address.slice(address.indexOf(",") + 1));
  const content = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) content[place] = text.charCodeAt(place);
  return new Blob([content], { type: "image/png" });
}

// --- The model ---

async function load() { // at the start, and whenever the server may have another model
  const usedKey = key;
  try {
    model = await fetchJson("v1/model");
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
  const hint = model.formats.includes("DICOM") ? "" : ` ${NO_DICOM}`;
  $("terms").textContent = `${terms}.${hint} Scans are sent to ${location.host} only, and are not stored there.`;
  const measured = Object.entries(model.metrics).map(([split, found]) => [`Metrics, ${split}`, metrics(found)]);
  const facts = {
    Model: `${model.run}, ${model.name}`,
    "Runs on": `${model.provider}, ${model.precision}`,
    "Trained on": model.trained_on,
    ...(acquired(model) && { "Training scans": acquired(model) }),
    ...(model.leaks && { Leakage: sentence(model.leaks) }),
    ...(model.shortcuts && { Shortcuts: sentence(model.shortcuts) }),
    Classes: list(model.classes),
    Input: `${model.image_size} × ${model.image_size} pixels`,
    "Never shown": `Anything but ${list(model.classes)}: the model names one of these for any picture.`,
    "Operating point": sentence(model.operating_point?.text ?? "none: this model does not classify scans as suspicious"),
    ...(model.decision && { Decision: sentence(model.decision) }),
    ...(model.history.length && { History: model.history.map(sentence).join("\n") }),
    ...Object.fromEntries(measured),
    ...(model.caveats.length && { Caveats: model.caveats.map(sentence).join("\n") }),
    Formats: `${terms}.${hint}`,
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

function acquired({ acquisition }) { // facts of the training scans, if the model has them
  const middle = acquisition?.middle_90 ?? {};
  const named = { width: "width", height: "height", mean: "mean grey level" };
  const facts = Object.entries(named).filter(([name]) => middle[name]);
  const ends = facts.map(([name, words]) => `${words} ${middle[name].map((end) => end.toFixed(0)).join(" to ")}`);
  return ends.length ? sentence(`${list(ends)} in the middle 90 %`) : "";
}

function metrics({ accuracy, macro, intervals, images }) {
  const metric = (name, value, interval) => {
    if (!Number.isFinite(value)) return null; // images without one of the classes have no AUROC
    return `${name} ${value.toFixed(3)}${interval ? ` [${interval.map((end) => end.toFixed(3)).join(", ")}]` : ""}`;
  };
  const overall = metric("accuracy", accuracy, intervals?.accuracy);
  const auroc = metric("macro AUROC", macro?.auroc, intervals?.macro?.auroc);
  return sentence([overall, auroc, `${images} images`].filter(Boolean).join(", "));
}

// --- Input of the user ---

const isSkipped = (name, isFolder) => (isFolder ? SKIPPED_FOLDERS : SKIPPED_FILES).test(name);

function isBelowSkipped(file) { // the chosen folder itself is never skipped
  const names = file.webkitRelativePath.split("/").slice(1);
  return names.some((name, place) => isSkipped(name, place < names.length - 1));
}

async function filesIn(entry) { // all files of a dropped folder
  if (entry.isFile) return [await new Promise((done) => entry.file(done, () => done(new File([], entry.name))))];
  const files = [];
  for (const reader = entry.createReader(); ;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!entries.length) return files;
    for (const inner of entries) if (!isSkipped(inner.name, inner.isDirectory)) files.push(...(await filesIn(inner)));
  }
}

for (const [button, input] of [["choose", $("files")], ["choose-folder", $("folder")]]) {
  $(button).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    add([...input.files].filter((file) => !isBelowSkipped(file)));
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
$("key-prompt").addEventListener("cancel", (event) => event.preventDefault()); // nothing works without a key
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
