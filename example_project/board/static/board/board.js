/** The board's page: connects the client, the model and what is on the screen. */

import { watchAccount } from "./account.js";
import { ColumnsView } from "./columns-view.js";
import { announce } from "./dom.js";
import { LabSocket } from "./lab-socket.js";
import { Lab } from "./lab.js";
import { Model } from "./model.js";
import { Neighbours } from "./neighbours.js";
import { QueueView } from "./queue-view.js";
import { Status } from "./status.js";
import { TabsView } from "./tabs-view.js";

const { stream, socket, maxWait } = document.querySelector("#board").dataset;
const client = ReconnectChannels.connect(socket, {
  WebSocket: LabSocket,
  maxMs: Number(maxWait),
  recorder: ReconnectChannels.telemetryRecorder(), // for /metrics and the flight recorder
});
globalThis.boardClient = client; // for the console: boardClient.sync, boardClient.queue

const model = new Model();
const view = new ColumnsView(model, { send, forget, announce, redraw: render });
const neighbours = new Neighbours(client, "Board", {
  fault: (fault) => lab.suffer(fault),
  stays: (id) => lab.say(`${neighbours.nameOf(id)} was opened by hand, so only a hand can close it`),
});
const lab = new Lab(client, { send, model, neighbours });
watchAccount(client);
new TabsView(client, neighbours);
new QueueView(client);
const status = new Status(client, stream, ReconnectChannels.describe);

client.subscribe(stream, {
  onSnapshot(state, info) {
    status.loaded = true;
    model.replace(state.cards, info.seq, ["epoch", "rewound"].includes(info.reason));
    if (info.reason !== "new") lab.say(`A snapshot replaced the board (${info.reason})`);
    render();
  },
  onEvents(entries) {
    model.apply(entries);
    lab.applied(entries.length);
    render();
  },
});
client.on("lost", () => lab.say("The server lost a message that it had taken"));
client.on("handshake", ({ causes }) => lab.say(`The server doesn’t speak our protocol: ${causes.join("; ")}`));
client.on("error", (error) => {
  lab.say(`Trouble: ${reasonOf(error)}`);
  console.error(error);
});

/** Show it now, send it when the line allows; the server's answer decides. */
async function send(payload) {
  const promise = client.send(stream, payload);
  model.sent(promise.id, payload);
  render();
  try {
    const answer = await promise;
    model.saved(promise.id, answer.seq);
    lab.answered(answer);
  } catch (error) {
    model.failed(promise.id, reasonOf(error));
    announce(`Not done: ${reasonOf(error)}`);
  }
  render();
}

function forget(op) {
  model.forget(op.id);
  render();
}

function reasonOf(error) {
  switch (error.name) {
    case "QueueOverflowError":
      return "Too much is waiting already.";
    case "ClosedError":
      return "This tab is closed for sending. Reload it.";
    case "OutcomeUnknown":
      return "The connection ended before the server answered. It may have been saved.";
    default:
      return error.reason ?? error.message;
  }
}

let due = false;

/** Once a frame is enough, however many changes come; hidden pages draw no frames. */
function render() {
  if (due) return;
  due = true;
  const draw = () => {
    due = false;
    view.render();
  };
  if (document.hidden) setTimeout(draw, 100);
  else requestAnimationFrame(draw);
}
