// The live page: follows /v1/stream and draws what it tells; where there is no stream it asks for
// /v1/stats once a second. Whatever comes from the endpoint is set as text, never as markup: topics
// and addresses are chosen by others.

const PERIOD_MS = 1000;
// Time without a word after which a stream counts as lost.
const SILENCE_MS = 5000;
// Time after which the stream is tried again where it could not be had.
const RETRY_MS = 10000;
// Events that are kept: what the endpoint keeps itself.
const EVENTS_MAX = 256;
// Five minutes of rates.
const HISTORY = 300;
// Rows drawn at once; the search finds the others.
const ROWS_MAX = 300;
// Peers in the picture; more would be a blot.
const DRAWN_MAX = 48;
// Endpoints that are no peers in it.
const BEYOND_MAX = 8;
// Topics asked for: as many pages as that takes.
const TOPICS_MAX = 10000;
// Topics change seldom and may be many.
const TOPICS_PERIOD_MS = 5000;
// Principals asked for, and how often they and denials are while they are looked at.
const PRINCIPALS_MAX = 1000;
const PERMISSIONS_PERIOD_MS = 2000;
// Entries of a store that is looked at again when it changes; a larger one would be walked through
// all the time.
const WATCHED_MAX = 10000;
const WATCH_PERIOD_MS = 1000;
// Messages of a sample that are kept, and the time between two of them.
const SAMPLED_MAX = 50;
const SAMPLE_PAUSE_MS = 500;

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
// For places that have no room for many digits.
const brief = (value) => value >= 100000 ? compact.format(value) : rate(value);
const whole = (value) => number.format(Math.round(value));
const some = (value) => value >= 100000 ? compact.format(value) : whole(value);
const rate = (value) => value >= 100 || value === 0 ? whole(value) : value.toFixed(1);

function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < 4) { value /= 1024; unit += 1; }
  return `${unit ? value.toFixed(1) : value} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

function age(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).map(([size, unit]) => {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    return `${count} ${unit}`;
  }).join(" ");
}

let token = sessionStorage.getItem("broker-token");
let view = "Peers";
let order = null;
let before = null;
let topics = { at: 0, list: [], total: 0 };
let permissions = { at: 0, principals: [], total: 0, denials: [], note: "" };
let events = [];
// The last number of an event that was seen.
let lastEvent = 0;
const past = { in: [], out: [] };
// Rates by prefix of a topic.
const pastOfTopics = new Map();

async function ask(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
  if (answer.status === 401 || answer.status === 403) throw new Refused(answer.status);
  if (!answer.ok && answer.status !== 503 && answer.status !== 404) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// There is no valid token (401), or the policy does not permit it (403).
class Refused extends Error {
  constructor(status) {
    super(`refused: ${status}`);
    this.status = status;
  }
}

// What may be forbidden while the rest is not.
const unlessForbidden = (instead) => (error) => {
  if (error instanceof Refused && error.status === 403) return instead;
  throw error;
};

async function askPermissions() {
  const forbidden = Symbol("forbidden");
  const [some, last] = await Promise.all([`v1/principals?limit=${PRINCIPALS_MAX}`, "v1/denials"]
    .map((path) => ask(path).catch(unlessForbidden(forbidden))));
  const isForbidden = { Principals: some, Denials: last }[view] === forbidden;
  permissions = {
    at: Date.now(),
    principals: some.principals ?? [],
    total: some.total ?? 0,
    denials: last.denials?.reverse() ?? [],
    note: isForbidden ? "The policy does not permit to see this." : "",
  };
}

async function askTopics() {
  const list = [];
  let cursor = null;
  let total = 0;
  do {
    const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page = await ask(`v1/topics?limit=1000${after}`);
    list.push(...page.topics);
    ({ cursor, total } = page);
  } while (cursor !== null && list.length < TOPICS_MAX);
  topics = { at: Date.now(), list, total };
}

// --- what is drawn ------------------------------------------------------------------------------

function text(id, value, isBad = false) {
  const place = $(id);
  if (place.textContent !== value) place.textContent = value;
  place.classList.toggle("bad", isBad);
}

function svg(name, attributes, content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (content !== undefined) made.textContent = content;
  return made;
}

function spark(place, values) {
  const top = Math.max(1, ...values);
  // One value alone would be a dot.
  const drawn = values.length === 1 ? [values[0], values[0]] : values;
  const points = drawn.map((value, at) => `${HISTORY - drawn.length + at},${30 - 28 * value / top}`).join(" ");
  if (!place.firstChild) {
    place.setAttribute("viewBox", `0 0 ${HISTORY} 32`);
    place.setAttribute("preserveAspectRatio", "none");
    place.append(svg("polyline", {}));
  }
  place.firstChild.setAttribute("points", points);
}

function sum(list, value) {
  return list.reduce((all, one) => all + value(one), 0);
}

// Per second since the stats before, by the key of each thing.
function rates(list, old, key, value, seconds) {
  const known = new Map(old.map((one) => [one[key], value(one)]));
  return new Map(list.map((one) => {
    const past = known.get(one[key]);
    const risen = past === undefined ? 0 : Math.max(0, value(one) - past);
    return [one[key], seconds > 0 ? risen / seconds : 0];
  }));
}

// A column: title, the text, what it is sorted by, and how it looks.
const words = (title, value) => ({ title, show: value, by: value, kind: "long" });
// What is long and tells little at a glance: all of it is in the tip.
const name = (title, value) => ({ title, show: value, by: value, kind: "id" });
const figure = (title, value, show = whole, isBad = () => false) =>
  ({ title, show: (row) => show(value(row)), by: value, kind: "number", isBad });

// Operations on a store that change nothing.
const READS = ["get", "exists", "keys", "snapshot", "size"];

const queue = (of) => [
  figure("waiting", (row) => of(row)["waiting-messages"], whole, (row) => of(row).stalled),
  figure("most", (row) => of(row)["waiting-messages-max"]),
  figure("lost", (row) => of(row).dropped, whole, (row) => of(row).dropped > 0),
];

const VIEWS = {
  Peers: {
    none: "Nobody is connected.",
    rows: (now) => now.peers,
    // What needs somebody to look comes first.
    first: (row) => row.sent.stalled ? 2 : row.sent.dropped > 0 ? 1 : 0,
    columns: [
      words("address", (row) => row.transport === "native" ? `${row.address}:${row.port}` : row.address),
      name("id", (row) => row.id),
      { ...words("transport", (row) => row.transport), kind: "short" },
      { ...words("direction", (row) => row.direction), kind: "short" },
      figure("in/s", (row) => row.in, rate),
      figure("out/s", (row) => row.out, rate),
      figure("received", (row) => row.received.messages),
      figure("sent", (row) => row.sent.messages),
      figure("bytes in", (row) => row.received.bytes, bytes),
      figure("bytes out", (row) => row.sent.bytes, bytes),
      ...queue((row) => row.sent),
      figure("reconnects", (row) => row.reconnects),
      figure("topics", (row) => row.topics),
      figure("round trip", (row) => row["round-trip"] ?? -1, (value) => value < 0 ? "" : `${(value * 1000).toFixed(1)} ms`),
    ],
  },
  Topics: {
    none: "No message yet.",
    rows: (now) => now.topics,
    columns: [
      { ...words("topics that begin with", (row) => row.prefix), open: (row) => openSample(row.prefix) },
      { title: "five minutes", show: () => "", by: (row) => row.in + row.out, kind: "sparks", values: (row) => pastOfTopics.get(row.prefix) ?? [] },
      figure("in/s", (row) => row.in, rate),
      figure("out/s", (row) => row.out, rate),
      figure("received", (row) => row.received.messages),
      figure("published", (row) => row.published.messages),
      figure("bytes in", (row) => row.received.bytes, bytes),
      figure("bytes out", (row) => row.published.bytes, bytes),
    ],
  },
  Wanted: {
    none: "No peer is subscribed to anything.",
    rows: () => topics.list,
    columns: [words("topic", (row) => row.topic), figure("peers that want it", (row) => row.peers)],
  },
  Subscribers: {
    none: "Nothing is subscribed here.",
    rows: (now) => now.subscribers,
    columns: [
      figure("number", (row) => row.number),
      words("kind", (row) => row.kind),
      words("name", (row) => row.name ?? ""),
      words("topics", (row) => row.topics.join(", ")),
      figure("taken/s", (row) => row.taken, rate),
      figure("taken", (row) => row.queue.messages),
      ...queue((row) => row.queue),
      figure("most bytes", (row) => row.queue["waiting-bytes-max"], bytes),
    ],
  },
  Stores: {
    none: "There are no data stores here.",
    rows: (now) => now.stores,
    columns: [
      { ...words("name", (row) => row.name), open: (row) => openStore(row) },
      { ...words("role", (row) => row.role), kind: "short" },
      name("master", (row) => row.role === "master" ? "here" : row.master ?? "none"),
      words("state", (row) => row.working === undefined ? "busy" : row.working ? "works" : "does not work"),
      figure("entries", (row) => row.entries ?? -1, (value) => value < 0 ? "not counted" : whole(value)),
      figure("clones", (row) => row.role === "master" ? row.outputs ?? 0 : 0),
      figure("behind", (row) => row.lag ?? 0, whole, (row) => row.lag > 0),
      figure("for", (row) => row["lag-time"] ?? 0, (value) => value > 0 ? age(value) : ""),
      figure("changes", (row) => row.updates ?? 0),
      figure("reads", (row) => sum(READS, (kind) => row.operations?.[kind] ?? 0)),
      figure("not acknowledged", (row) => row.unacknowledged ?? 0),
      figure("file", (row) => row["file-bytes"] ?? -1, (value) => value < 0 ? "" : bytes(value)),
    ],
  },
  Clients: {
    none: "No WebSocket client has been here.",
    rows: (now) => now.clients,
    columns: [
      words("application", (row) => row.application),
      figure("connected", (row) => row.clients),
      figure("ever", (row) => row.subscribed),
      figure("received", (row) => row.received),
      figure("sent", (row) => row.sent),
      figure("refused", (row) => row.refused),
      figure("cut off", (row) => row.overflowed, whole, (row) => row.overflowed > 0),
      figure("lost", (row) => row.dropped, whole, (row) => row.dropped > 0),
    ],
  },
  Principals: {
    isThere: (now) => Boolean(now.policy),
    isOfPolicy: true,
    get none() { return permissions.note || "The policy has no principals."; },
    rows: () => permissions.principals,
    first: (row) => row.denied + row.limited,
    columns: [
      words("principal", (row) => row.name),
      words("roles", (row) => row.roles.join(", ") || "none"),
      figure("allowed", (row) => row.allowed),
      figure("denied", (row) => row.denied, whole, (row) => row.denied > 0),
      figure("over limits", (row) => row.limited, whole, (row) => row.limited > 0),
    ],
  },
  Denials: {
    isThere: (now) => Boolean(now.policy),
    isOfPolicy: true,
    get none() { return permissions.note || "Nothing has been denied."; },
    rows: () => permissions.denials,
    columns: [
      words("last time", (row) => row.time.replace("T", " ").slice(0, 19)),
      words("principal", (row) => row.principal || "none"),
      { ...words("from", (row) => row.address), kind: "short" },
      { ...words("what", (row) => row.action), kind: "short" },
      words("of", (row) => row.event ? `${row.resource} ${row.event}` : row.resource),
      words("why", (row) => row.rule),
      figure("times", (row) => row.count),
    ],
  },
  Events: {
    none: "Nothing has happened yet.",
    rows: () => events,
    columns: [
      words("time", (row) => row.time.replace("T", " ").slice(0, 19)),
      { ...words("what", (row) => row.code), isBad: (row) => row.kind === "error" },
      words("with", (row) => row.address ?? row.peer ?? ""),
      words("in words", (row) => row.text),
    ],
  },
  Links: {
    none: "There is no link here.",
    // Few endpoints have one.
    isThere: (now) => now.links?.length > 0,
    rows: (now) => now.links ?? [],
    first: (row) => row.peer ? 0 : 1,
    columns: [
      { ...words("link", (row) => row.address), kind: "short" },
      { ...words("state", (row) => row.peer ? "connected" : "cut"), isBad: (row) => !row.peer },
      words("import", (row) => row.import.map((it) => it || "everything").join(", ")),
      words("export", (row) => row.export.map((it) => it || "everything").join(", ")),
      figure("in/s", (row) => row.in, rate),
      figure("out/s", (row) => row.out, rate),
      figure("received", (row) => row.received.messages),
      figure("sent", (row) => row.sent.messages),
      figure("bytes in", (row) => row.received.bytes, bytes),
      figure("bytes out", (row) => row.sent.bytes, bytes),
      figure("lost", (row) => row.dropped, whole, (row) => row.dropped > 0),
      figure("connects", (row) => row.connects),
    ],
  },
  Forwarder: {
    none: "There is no forwarder here.",
    // Few endpoints have one.
    isThere: (now) => now.forwarders?.length > 0,
    rows: (now) => now.outlets,
    columns: [
      { ...words("connection", (row) => row.place), kind: "short" },
      { ...words("side", (row) => row.side), kind: "short" },
      figure("messages/s", (row) => row.rate, rate),
      figure("messages", (row) => row.messages),
      figure("bytes", (row) => row.bytes, bytes),
      figure("waiting", (row) => row["waiting-messages"], whole, (row) => row["waiting-messages"] > 0 && row.dropped > 0),
      figure("waiting bytes", (row) => row["waiting-bytes"], bytes),
      figure("lost", (row) => row.dropped, whole, (row) => row.dropped > 0),
      { ...words("more", (row) => row.note), kind: "note" },
    ],
  },
};

const hasView = (name) => !VIEWS[name].isThere || name === view || Boolean(before && VIEWS[name].isThere(before));

function drawTabs() {
  const buttons = Object.keys(VIEWS).map((name) => {
    const button = document.createElement("button");
    button.textContent = name;
    button.type = "button";
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", "scroll");
    button.addEventListener("click", () => choose(name));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const names = Object.keys(VIEWS).filter(hasView);
      const next = (names.indexOf(name) + step + names.length) % names.length;
      choose(names[next]);
      [...$("tabs").children].find((one) => one.textContent === names[next]).focus();
    });
    return button;
  });
  $("tabs").replaceChildren(...buttons);
}

// A view has an address: it can be sent to others and outlives a reload.
function choose(name) {
  view = name;
  sample = null;
  history.replaceState(null, "", `#${name}`);
  order = null;
  permissions.at = 0;
  draw();
}

function fromAddress() {
  const name = decodeURIComponent(location.hash.slice(1));
  if (name in VIEWS && name !== view) choose(name);
}

function drawTable(now) {
  const { columns, rows, none, first } = VIEWS[view];
  for (const button of $("tabs").children) {
    const isChosen = button.textContent === view;
    button.setAttribute("aria-selected", isChosen);
    button.tabIndex = isChosen ? 0 : -1;
    button.hidden = !hasView(button.textContent);
  }
  drawHead(columns);
  const wanted = $("search").value.toLowerCase();
  const found = rows(now).filter((row) =>
    !wanted || columns.some(({ kind, show }) => kind !== "number" && show(row).toLowerCase().includes(wanted)));
  if (order) {
    const { by } = columns[order.column];
    found.sort((a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0) * order.way);
  } else if (first) {
    found.sort((a, b) => first(b) - first(a));
  }
  drawRows(columns, found.slice(0, ROWS_MAX), wanted ? "Nothing here has that in it." : none);
  const shown = Math.min(found.length, ROWS_MAX);
  const all = { Wanted: topics.total, Principals: permissions.total }[view] ?? rows(now).length;
  text("count", all === 0 ? "" : shown === all ? `${whole(all)}` : `${whole(shown)} of ${whole(all)}`);
}

// Lines are kept and their cells written anew where they differ, so that the focus stays where it is
// and a thousand lines cost little.
function drawRows(columns, rows, none) {
  const body = $("body");
  if (body.dataset.view !== view || !rows.length) body.replaceChildren();
  body.dataset.view = view;
  if (!rows.length) {
    const line = document.createElement("tr");
    const cell = Object.assign(document.createElement("td"), { className: "empty", colSpan: columns.length, textContent: none });
    line.append(cell);
    body.append(line);
    body.dataset.view = "";
    return;
  }
  while (body.children.length > rows.length) body.lastElementChild.remove();
  rows.forEach((row, at) => {
    let line = body.children[at];
    if (!line) {
      line = document.createElement("tr");
      line.append(...columns.map((column) => {
        const cell = document.createElement("td");
        if (column.open) {
          const button = Object.assign(document.createElement("button"), { type: "button" });
          button.addEventListener("click", () => column.open(line.row));
          cell.append(button);
        }
        if (column.values) cell.append(svg("svg", { class: "spark", "aria-hidden": "true" }));
        return cell;
      }));
      body.append(line);
    }
    line.row = row;
    columns.forEach((column, place) => {
      const cell = line.children[place];
      if (column.values) {
        cell.className = column.kind;
        spark(cell.firstElementChild, column.values(row));
        return;
      }
      const text = column.show(row);
      if (column.kind === "id" && cell.title !== text) cell.title = text;
      const target = column.open ? cell.firstElementChild : cell;
      if (target.textContent !== text) target.textContent = text;
      const look = column.isBad?.(row) ? `${column.kind} bad` : column.kind;
      if (cell.className !== look) cell.className = look;
    });
  });
}

function drawHead(columns) {
  const head = $("head");
  const drawn = `${view} ${order?.column} ${order?.way}`;
  // Kept while nothing changes, so that the focus stays on it.
  if (head.dataset.drawn === drawn) return;
  head.dataset.drawn = drawn;
  const focused = [...head.querySelectorAll("button")].indexOf(document.activeElement);
  const line = document.createElement("tr");
  columns.forEach((column, at) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = column.kind === "number" ? "number" : "";
    const isSorted = order?.column === at;
    cell.setAttribute("aria-sort", !isSorted ? "none" : order.way > 0 ? "ascending" : "descending");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.title + (!isSorted ? "" : order.way > 0 ? " ▲" : " ▼");
    button.addEventListener("click", () => {
      const first = column.kind === "number" ? -1 : 1;
      order = { column: at, way: isSorted ? -order.way : first };
      draw();
    });
    cell.append(button);
    line.append(cell);
  });
  head.replaceChildren(line);
  if (focused >= 0) head.querySelectorAll("button")[focused]?.focus();
}

// Everything that messages come from and go to: peers, those who read at this endpoint itself, and
// endpoints that are known although they are no peers, as they have the master of a store.
function ends(now) {
  const traffic = (peer) => peer.in + peer.out;
  const peers = [...now.peers]
    .sort((a, b) => b.sent.stalled - a.sent.stalled || traffic(b) - traffic(a) || (a.id < b.id ? -1 : 1))
    .slice(0, DRAWN_MAX)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const stores = (id) => now.stores.filter((one) => one.role === "clone" && one.master === id).map((one) => one.name);
  const drawn = peers.map((peer) => {
    const name = peer.transport === "native" ? `${peer.address}:${peer.port}` : peer.address;
    const masters = stores(peer.id);
    const isBad = peer.sent.stalled;
    const took = peer["round-trip"] ? `${(peer["round-trip"] * 1000).toFixed(1)} ms` : "";
    return {
      name, isBad, took, in: peer.in, out: peer.out, kind: peer.direction,
      shape: peer.transport === "native" ? "circle" : "square",
      note: masters.length ? `master of ${masters.join(", ")}` : "",
      tells: `${name}, ${peer.transport}, ${peer.direction}: ${rate(peer.in)} in/s, ${rate(peer.out)} out/s` +
        (took && `, ${took}`) + (masters.length ? `, master of ${masters.join(", ")}` : "") + (isBad ? ", takes nothing" : ""),
    };
  });
  for (const [kind, one, many] of [["subscriber", "subscriber", "subscribers"], ["client", "WebSocket client", "WebSocket clients"]]) {
    const readers = now.subscribers.filter((it) => it.kind === kind);
    if (!readers.length) continue;
    const name = `${whole(readers.length)} ${readers.length === 1 ? one : many}`;
    const [isBad, out] = [readers.some((it) => it.queue.stalled), sum(readers, (it) => it.taken)];
    drawn.push({
      name: `${name} here`, isBad, took: "", in: 0, out, kind: "here", shape: "diamond", note: "",
      tells: `${name} here: ${rate(out)} out/s${isBad ? ", not all take something" : ""}`,
    });
  }
  const known = new Set(now.peers.map((peer) => peer.id));
  const beyond = new Set(now.stores.map((one) => one.master).filter((id) => id && !known.has(id)));
  for (const id of [...beyond].sort().slice(0, BEYOND_MAX)) {
    const note = `master of ${stores(id).join(", ")}`;
    drawn.push({
      name: id.slice(0, 8), isBad: false, took: "", in: 0, out: 0, kind: "beyond", shape: "circle", note,
      tells: `${id}, behind a peer: ${note}`,
    });
  }
  return drawn;
}

// What stands for an end of that shape.
function knot({ shape, isBad, kind }, x, y) {
  const look = { class: `${isBad ? "bad" : ""} ${kind}` };
  switch (shape) {
    case "circle": return svg("circle", { cx: x, cy: y, r: 7, ...look });
    case "square": return svg("rect", { x: x - 6, y: y - 6, width: 12, height: 12, ...look });
    default: return svg("path", { d: `M${x} ${y - 8}l8 8l-8 8l-8 -8z`, ...look });
  }
}

// An arrow's head on a line, where it goes on to.
function arrow(x, y, angle) {
  const turn = (180 * angle / Math.PI).toFixed(1);
  return svg("path", { d: "M8 0l-13 6.5v-13z", class: "flow", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${turn})` });
}

const short = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;

function drawGraph(now) {
  const drawn = view === "Peers" ? ends(now) : [];
  $("graph").hidden = !drawn.length;
  if ($("graph").hidden) return;
  // Few ends stand side by side and need less room than a ring of many.
  const isRow = drawn.length <= 5;
  const [height, middle] = isRow ? [170, 140] : [340, 168];
  const picture = svg("svg", { viewBox: `0 0 800 ${height}` });
  const lines = [];
  const knots = [];
  drawn.forEach((end, at) => {
    const turn = 2 * Math.PI * at / drawn.length - Math.PI / 2;
    const [x, y] = isRow
      ? [800 * (at + 0.5) / drawn.length, 50]
      : [400 + 310 * Math.cos(turn), middle + 118 * Math.sin(turn)];
    // As thick as there is traffic: each step is ten times as much.
    const flow = end.in + end.out;
    const width = Math.min(6, 1.5 + Math.log10(1 + flow)).toFixed(1);
    const look = end.isBad ? "bad" : flow > 0 ? "busy" : "";
    lines.push(svg("line", { x1: 400, y1: middle, x2: x, y2: y, class: `${look} ${end.kind}`, "stroke-width": width }));
    const on = (part) => [400 + (x - 400) * part, middle + (y - middle) * part];
    const away = Math.atan2(y - middle, x - 400);
    if (end.out > 0) lines.push(arrow(...on(0.72), away));
    if (end.in > 0) lines.push(arrow(...on(0.4), away + Math.PI));
    const mark = knot(end, x, y);
    mark.append(svg("title", {}, end.tells));
    knots.push(mark);
    if (drawn.length > 16) return;
    const below = y > middle ? 22 : -14;
    knots.push(svg("text", { x, y: y + below }, short(end.name, 28)));
    if (end.note) knots.push(svg("text", { x, y: y + (below > 0 ? 36 : -28), class: "note" }, short(end.note, 28)));
    if (end.took) {
      const [nearX, nearY] = on(0.56);
      knots.push(svg("text", { x: nearX, y: nearY - 6, class: "note" }, end.took));
    }
  });
  text("legend", "Arrows: where messages go, thicker with more of them. Line: connected from here; dashes: from there; " +
    "dots: behind a peer. Circle: native; square: WebSocket, ZeroMQ or NATS; diamond: in this process. Red: takes nothing. " +
    (now.forwarding ? "This endpoint passes messages of one peer on to others that want them."
      : "This endpoint passes nothing on from one peer to another."));
  const self = svg("circle", { cx: 400, cy: middle, r: 11, class: "self" });
  self.append(svg("title", {}, `this endpoint, ${now.id}, ${now.forwarding ? "passes messages on" : "passes nothing on"}`));
  picture.append(...lines, ...knots, self);
  if (now.peers.length > DRAWN_MAX) {
    picture.append(svg("text", { x: 400, y: height - 5 }, `the busiest ${DRAWN_MAX} of ${whole(now.peers.length)} peers`));
  }
  $("picture").replaceChildren(picture);
}

function drawFigures(now) {
  const stalled = now.peers.filter((peer) => peer.sent.stalled).length;
  $("who").dataset.uptime = now.uptime;
  text("who", `${now.id} · ${now.version} · up ${age(now.uptime)}`);
  text("n-peers", whole(now.peers.length), stalled > 0);
  const clients = sum(now.clients, (one) => one.clients);
  text("n-peers-note", stalled ? `${stalled} ${stalled === 1 ? "takes" : "take"} nothing` : `${whole(clients)} WebSocket clients`);
  text("rate-in", `${brief(now.in)}/s`);
  text("rate-out", `${brief(now.out)}/s`);
  spark($("spark-in"), past.in);
  spark($("spark-out"), past.out);
  const queues = [...now.peers.map((one) => one.sent), ...now.subscribers.map((one) => one.queue)];
  text("n-waiting", some(sum(queues, (one) => one["waiting-messages"])));
  text("n-waiting-note", bytes(sum(queues, (one) => one["waiting-bytes"])));
  // Copies are dropped on purpose.
  const reasons = Object.entries(now.drops).filter(([reason, count]) => reason !== "duplicate" && count > 0);
  const lost = sum(reasons, ([, count]) => count);
  text("n-lost", some(lost), lost > 0);
  const failed = Object.entries(now["handshake-failures"]).filter(([, count]) => count > 0);
  const why = (list) => list.map(([reason, count]) => `${reason.replace("-", " ")} ${some(count)}`).join(", ");
  text("n-lost-note", lost ? why(reasons) : failed.length ? `handshakes: ${why(failed)}` : "no handshake failed");
  const idle = now.stores.filter((one) => one.working === false).length;
  drawDenied(now.policy);
  text("n-stores", whole(now.stores.length), idle > 0);
  text("n-stores-note", idle ? `${idle} ${idle === 1 ? "does" : "do"} not work` : now.stores.length ? "all work" : "none here");
}

// What the policy denied in all, where there is one.
function drawDenied(policy) {
  $("denied").hidden = !policy;
  if (!policy) return;
  const denied = policy.denied + policy.limited;
  text("n-denied", some(denied), denied > 0);
  const unproved = policy.failures ? `${some(policy.failures)} proved nothing` : "all proved who they are";
  text("n-denied-note", policy.permissive ? "the policy is permissive" : unproved, policy.permissive);
}

// --- what is in a store -------------------------------------------------------------------------

// The store that is looked into, its entries so far, and where the next page begins.
let store = null;

async function openStore({ name, role }) {
  store = { name, role, entries: [], cursor: null, total: 0, looked: 0, seen: null };
  $("prefix").value = "";
  await moreEntries();
  $("prefix").focus();
}

// Looks again at a store that has changed since.
async function watchEntries(now) {
  const asked = store;
  const stats = now.stores.find((one) => one.name === asked.name && one.role === asked.role);
  const prefix = $("prefix").value;
  const isDue = Date.now() - asked.looked >= WATCH_PERIOD_MS && stats?.updates !== asked.seen;
  if (!isDue || asked.total > WATCHED_MAX || asked.entries.length > 1000) return;
  [asked.looked, asked.seen] = [Date.now(), stats?.updates];
  const limit = Math.max(100, asked.entries.length);
  const page = await ask(`${pathOf(asked, prefix)}&limit=${limit}`);
  if (store !== asked || $("prefix").value !== prefix || page.error) return;
  Object.assign(asked, { error: undefined, entries: page.entries, cursor: page.cursor, total: page.total });
  drawEntries();
}

const pathOf = ({ name, role }, prefix) =>
  `v1/stores/${encodeURIComponent(name)}?role=${role}&prefix=${encodeURIComponent(prefix)}`;

async function moreEntries() {
  const asked = store;
  const prefix = $("prefix").value;
  const cursor = asked.cursor === null ? "" : `&cursor=${asked.cursor}`;
  try {
    const page = await ask(`${pathOf(asked, prefix)}${cursor}`);
    // Somebody may have typed, or gone elsewhere, meanwhile.
    if (store !== asked || $("prefix").value !== prefix) return;
    asked.error = page.error;
    asked.entries.push(...(page.entries ?? []));
    asked.cursor = page.cursor ?? null;
    asked.total = page.total ?? 0;
  } catch (error) {
    asked.error = error.status === 403 ? "the policy does not permit to see it" : "no answer from the endpoint";
  }
  drawEntries();
}

// A value with its type, as people read it.
function typed(value) {
  if (value === null) return "";
  const { "@data-type": type, data } = value;
  const inside = (one) => typed(one);
  if (type === "none") return "none";
  if (type === "string") return JSON.stringify(data);
  if (type === "vector") return `[${data.map(inside).join(", ")}]`;
  if (type === "set") return `{${data.map(inside).join(", ")}}`;
  if (type === "table") return `{${data.map(({ key, value }) => `${inside(key)}: ${inside(value)}`).join(", ")}}`;
  return typeof data === "object" ? JSON.stringify(data) : String(data);
}

function drawEntries() {
  $("entries").hidden = view !== "Stores" || !store;
  if ($("entries").hidden) return;
  text("entries-of", `${store.name} (${store.role})`);
  text("entries-count", store.error ?? `${whole(store.entries.length)} of ${whole(store.total)}`, Boolean(store.error));
  const lines = store.entries.map((entry) => {
    const line = document.createElement("tr");
    const value = entry.value === null ? `${bytes(entry.bytes)}, too large to show` : typed(entry.value);
    for (const content of [typed(entry.key), entry.value?.["@data-type"] ?? "", value]) {
      line.append(Object.assign(document.createElement("td"), { className: "long", textContent: content }));
    }
    return line;
  });
  $("entries-body").replaceChildren(...lines);
  $("more").hidden = store.cursor === null;
}

// --- messages that come by ----------------------------------------------------------------------

// The prefix of topics that is looked at, and its last messages, the newest first.
let sample = null;

async function openSample(prefix) {
  const asked = { prefix, messages: [], note: "waiting for messages" };
  sample = asked;
  drawSample();
  $("sample").scrollIntoView({ block: "nearest" });
  while (sample === asked && view === "Topics") {
    try {
      await takeSample(asked);
    } catch (error) {
      if (error instanceof Refused) return askForToken(error);
      asked.note = "no answer from the endpoint";
    }
    if (asked.isRefused) return drawSample();
    drawSample();
    await pause(SAMPLE_PAUSE_MS);
  }
}

async function takeSample(asked) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const path = `v1/topics/${encodeURIComponent(asked.prefix)}/sample?limit=10&seconds=2`;
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(15000) });
  if (answer.status === 401) throw new Refused(answer.status);
  if (!answer.ok) {
    asked.note = (await answer.text()).trim();
    asked.isRefused = answer.status !== 503;
    return;
  }
  const { messages } = await answer.json();
  asked.messages.unshift(...messages.reverse());
  asked.messages.length = Math.min(asked.messages.length, SAMPLED_MAX);
  asked.note = asked.messages.length ? "" : "nothing came by";
}

function drawSample() {
  $("sample").hidden = view !== "Topics" || !sample;
  if ($("sample").hidden) return;
  text("sample-of", sample.prefix);
  text("sample-note", sample.note, Boolean(sample.isRefused));
  const lines = sample.messages.map((message) => {
    const line = document.createElement("tr");
    const value = message.value === null ? `${bytes(message.bytes)}, too large to show` : typed(message.value);
    for (const content of [message.time.slice(11, 23), message.topic, value]) {
      line.append(Object.assign(document.createElement("td"), { className: "long", textContent: content }));
    }
    return line;
  });
  $("sample-body").replaceChildren(...lines);
}

function draw() {
  if (!before) return;
  $("entries").hidden = view !== "Stores" || !store;
  $("sample").hidden = view !== "Topics" || !sample;
  drawFigures(before);
  drawGraph(before);
  drawTable(before);
}

// --- forwarders ---------------------------------------------------------------------------------

// A line for a forwarder, and one for each of its connections.
function outlets(forwarder) {
  const { connections } = forwarder;
  const count = (side) => sum(connections, (one) => one.side === side ? 1 : 0);
  const some = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;
  const all = {
    ...forwarder,
    key: forwarder.xpub,
    place: forwarder.xpub,
    side: "forwarder",
    "waiting-messages": sum(connections, (one) => one["waiting-messages"]),
    "waiting-bytes": sum(connections, (one) => one["waiting-bytes"]),
    note: `${some(count("publisher"), "publisher")} at ${forwarder.xsub}, ${some(count("subscriber"), "subscriber")} ` +
      `with ${some(forwarder.subscriptions, "topic")}, ${whole(forwarder.unwanted)} messages unwanted, ` +
      `${some(forwarder["refused-connections"], "connection")} refused` +
      (forwarder.denied ? `, ${some(forwarder.denied, "message")} denied` : ""),
  };
  const each = connections.map((one) => {
    const place = `${one.address.includes(":") ? `[${one.address}]` : one.address}:${one.port}`;
    const note = [one.principal, one.key && `key ${one.key}`].filter(Boolean).join(", ");
    return { ...one, key: `${forwarder.xpub} ${one.side} ${place}`, place, note };
  });
  return [all, ...each];
}

// --- the clock ----------------------------------------------------------------------------------

function compare(now) {
  const old = before?.id === now.id ? before : null;
  const seconds = old ? now.uptime - old.uptime : 0;
  const since = (list, of, key, value) => rates(list, of ?? [], key, value, seconds);
  const came = since(now.peers, old?.peers, "id", (one) => one.received.messages);
  const went = since(now.peers, old?.peers, "id", (one) => one.sent.messages);
  const under = (way) => since(now.topics, old?.topics, "prefix", (one) => one[way].messages);
  const [topicIn, topicOut] = [under("received"), under("published")];
  const known = new Set(now.topics.map((one) => one.prefix));
  for (const prefix of pastOfTopics.keys()) if (!known.has(prefix)) pastOfTopics.delete(prefix);
  for (const one of now.topics) {
    Object.assign(one, { in: topicIn.get(one.prefix), out: topicOut.get(one.prefix) });
    if (!old) continue;
    const rates = pastOfTopics.get(one.prefix) ?? [];
    rates.push(one.in + one.out);
    if (rates.length > HISTORY) rates.shift();
    pastOfTopics.set(one.prefix, rates);
  }
  const taken = since(now.subscribers, old?.subscribers, "number", (one) => one.queue.messages);
  for (const peer of now.peers) Object.assign(peer, { in: came.get(peer.id), out: went.get(peer.id) });
  for (const one of now.subscribers) one.taken = taken.get(one.number);
  const overLinks = (way) => since(now.links ?? [], old?.links, "address", (one) => one[way].messages);
  const [linkIn, linkOut] = [overLinks("received"), overLinks("sent")];
  for (const one of now.links ?? []) Object.assign(one, { in: linkIn.get(one.address), out: linkOut.get(one.address) });
  now.outlets = (now.forwarders ?? []).flatMap(outlets);
  const passed = since(now.outlets, old?.outlets, "key", (one) => one.messages);
  for (const one of now.outlets) one.rate = passed.get(one.key);
  now.in = sum(now.peers, (one) => one.in);
  now.out = sum(now.peers, (one) => one.out);
  if (!old) return;
  for (const way of ["in", "out"]) {
    past[way].push(now[way]);
    if (past[way].length > HISTORY) past[way].shift();
  }
}

// Draws what an answer or an event of the stream tells.
async function show(now, ready, how) {
  if (view === "Wanted" && Date.now() - topics.at > TOPICS_PERIOD_MS) await askTopics().catch(unlessForbidden());
  const looksAtPermissions = now.policy && VIEWS[view].isOfPolicy;
  if (looksAtPermissions && Date.now() - permissions.at > PERMISSIONS_PERIOD_MS) await askPermissions();
  if (before && before.id !== now.id) [events, lastEvent] = [[], 0];
  now.topics ??= [];
  compare(now);
  before = now;
  $("login").hidden = true;
  $("main").hidden = false;
  text("state", how);
  const reasons = $("reasons");
  reasons.hidden = !ready.reasons.length;
  const told = ready.reasons.map((reason) => Object.assign(document.createElement("p"), { textContent: reason }));
  reasons.replaceChildren(...told);
  draw();
  // Nobody waits for it.
  if (view === "Stores" && store) watchEntries(now).catch(() => {});
}

function note(event) {
  if (event.number <= lastEvent) return;
  lastEvent = event.number;
  events.unshift(event);
  events.length = Math.min(events.length, EVENTS_MAX);
}

// Asks once.
async function look() {
  const none = { events: [] };
  const [now, ready, log] = await Promise.all([
    ask("v1/stats"), ask("readyz"), ask("v1/events").catch(unlessForbidden(none)),
  ]);
  log.events.forEach(note);
  await show(now, ready, "asking");
}

// Follows the stream until it ends. `fetch` can carry a token, which an `EventSource` cannot.
async function follow() {
  const stop = new AbortController();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let silence = setTimeout(() => stop.abort(), SILENCE_MS);
  try {
    const answer = await fetch("v1/stream", { headers, cache: "no-store", signal: stop.signal });
    if (answer.status === 401) throw new Refused(answer.status);
    if (!answer.ok) throw new Error(`v1/stream: ${answer.status}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort(), SILENCE_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      const told = blocks.map((block) => {
        const [, kind] = /^event: (.*)$/m.exec(block) ?? [];
        const [, data] = /^data: (.*)$/m.exec(block) ?? [];
        return { kind, data };
      });
      for (const { kind, data } of told) {
        if (kind === "status" || kind === "error") note(JSON.parse(data));
      }
      // Of several that came while the page was drawn, the last one says everything.
      const last = told.findLast(({ kind }) => kind === "stats");
      if (last) {
        const now = JSON.parse(last.data);
        await show(now, now.ready, "live");
      }
    }
  } finally {
    clearTimeout(silence);
    stop.abort();
  }
}

function askForToken({ status }) {
  const why = status === 403 ? "The policy does not permit to see this page with that token." : "That is not the token.";
  text("refused", token ? why : "");
  token = null;
  $("main").hidden = true;
  $("login").hidden = false;
  text("state", "a token is needed", true);
}

const pause = (ms) => new Promise((over) => setTimeout(over, ms));

// Goes on for ever, unless a token is missing.
async function run() {
  let next = 0;
  for (;;) {
    try {
      if (Date.now() >= next) {
        next = Date.now() + RETRY_MS;
        await follow().catch((error) => {
          // There may be no place for another listener: it is asked, then.
          if (error instanceof Refused) throw error;
        });
      }
      await look();
    } catch (error) {
      if (error instanceof Refused) return askForToken(error);
      text("state", "no answer from the endpoint", true);
    }
    await pause(PERIOD_MS);
  }
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  $("token").value = "";
  sessionStorage.setItem("broker-token", token);
  run();
});
$("search").addEventListener("input", draw);
$("prefix").addEventListener("input", () => {
  store = { ...store, entries: [], cursor: null };
  moreEntries();
});
$("more").addEventListener("click", moreEntries);
$("close").addEventListener("click", () => {
  store = null;
  draw();
});
$("sample-close").addEventListener("click", () => {
  sample = null;
  draw();
});
drawTabs();
addEventListener("hashchange", fromAddress);
fromAddress();
run();
