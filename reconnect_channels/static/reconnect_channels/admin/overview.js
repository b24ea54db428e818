/** The overview's figures and charts, from a stream that the page reads as any other page reads one. */

const WINDOWS = [2, 5, 15]; // minutes
const GAP_S = 7; // nobody looked for so long, or the client hasn't caught up yet
const FIGURES = ["at", "live", "away", "drift", "returned", "published", "delivered"]; // a line of the history
const NODE_CELLS = ["name", "process", "state", "live", "published", "delivered", "breakers", "age"];

const page = document.getElementById("rc-overview");
const { path, stream } = page.dataset;
const charts = [...page.querySelectorAll(".rc-chart")].map((figure) => ({
  figure,
  at: FIGURES.indexOf(figure.dataset.figure),
  unit: figure.dataset.unit,
  title: figure.querySelector("h2").textContent,
}));
let history = [];
let latest = null;
let heard = 0;

const byId = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString(undefined, { maximumFractionDigits: 2 });

/** The next 1, 2 or 5 with zeros: a scale that doesn't change with every sample. */
function scaleOf(values) {
  const most = Math.max(1, ...values);
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((limit) => limit >= most);
}

/** Pieces of a curve; where samples are missing it has a gap. */
function pieces(points) {
  const found = [];
  let before = -Infinity;
  for (const [x, y, at] of points) {
    if (at - before > GAP_S) found.push([]);
    found.at(-1).push([x.toFixed(1), y.toFixed(2)]);
    before = at;
  }
  return found;
}

function draw({ figure, at, unit, title }, now, minutes) {
  const values = history.map((line) => line[at]);
  const most = scaleOf(values);
  const parts = pieces(history.map((line) => [900 - (15 * (now - line[0])) / minutes, 97 - (94 * line[at]) / most, line[0]]));
  const curve = parts.map((part) => `M${part.join("L")}`);
  const areas = parts.map((part) => `M${part[0][0]},100L${part.join("L")}L${part.at(-1)[0]},100Z`);
  figure.querySelector(".rc-curve").setAttribute("d", curve.join(""));
  figure.querySelector(".rc-area").setAttribute("d", areas.join(""));
  figure.querySelector(".rc-first").textContent = `${minutes} min ago`;
  figure.querySelector(".rc-most").textContent = `scale to ${number(most)}${unit}`;
  figure.querySelector(".rc-value b").textContent = number(latest[figure.dataset.figure]);
  const words = `${title} in the last ${minutes} minutes: least ${number(Math.min(...values))}${unit}, most ${number(Math.max(...values))}${unit}`;
  figure.querySelector("svg").setAttribute("aria-label", words);
}

function listNodes(seconds) {
  const rows = latest.nodes.map((node) => {
    const row = document.createElement("tr");
    const shown = {
      ...node,
      process: `${node.host}:${node.pid}`,
      breakers: node.breakers || "none",
      age: `${Math.round(node.age + seconds)} s ago`,
    };
    for (const name of NODE_CELLS) {
      const cell = row.appendChild(document.createElement(name === "name" ? "th" : "td"));
      if (name === "name") cell.scope = "row";
      if (name === "state") cell.className = `rc-node-${node.state}`;
      cell.textContent = shown[name];
    }
    return row;
  });
  byId("rc-node-rows").replaceChildren(...rows);
  byId("rc-unlisted").hidden = !latest.unlisted;
  byId("rc-unlisted").querySelector("b").textContent = latest.unlisted;
}

/** Once a second too, so that time goes on while nothing comes. */
function show() {
  if (!latest) return;
  const seconds = (performance.now() - heard) / 1000;
  const now = latest.at + seconds;
  history = history.filter((line) => line[0] > now - 60 * WINDOWS.at(-1));
  const minutes = WINDOWS.find((minutes) => !(history[0]?.[0] <= now - 60 * minutes));
  for (const chart of charts) draw(chart, now, minutes);
  byId("rc-outage").textContent = number(latest.outage);
  byId("rc-drifted").textContent = number(latest.drifted);
  listNodes(seconds);
}

function take(samples) {
  if (samples.length === 0) return;
  latest = samples.at(-1);
  heard = performance.now();
  show();
}

const client = ReconnectChannels.connect(path);
client.subscribe(stream, {
  onSnapshot(state) {
    history = state.history;
    take(state.latest ? [state.latest] : []);
  },
  onEvents(entries) {
    const samples = entries.map(({ payload }) => payload);
    history.push(...samples.map((sample) => FIGURES.map((name) => sample[name])));
    take(samples);
  },
});

function tell({ state, sync }) {
  page.dataset.kind = sync.kind;
  const text = state === "FAILED" ? "not connected: may you still see this?" : ReconnectChannels.describe(sync);
  if (byId("rc-status").textContent !== text) byId("rc-status").textContent = text;
}

client.on("change", tell);
client.on("stateChange", ({ to }) => {
  if (to === "CONNECTED") byId("rc-howto").hidden = true;
});
client.on("handshake", () => {
  byId("rc-howto").hidden = false;
});
setInterval(show, 1000);
globalThis.overviewClient = client; // for the console
