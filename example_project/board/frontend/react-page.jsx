/** The board in React, on the same stream and the same connection as the other pages. */

import { StrictMode, useReducer, useRef, useState } from "react";
import { createPortal } from "react-dom";
import { createRoot } from "react-dom/client";
import { useResilientWS } from "reconnect-channels/react";
import { Inspector } from "reconnect-channels/react-inspector";

import { watchAccount } from "../static/board/account.js";
import { byId } from "../static/board/dom.js";
import { LabSocket } from "../static/board/lab-socket.js";
import { Model, nameOf, referenceTo } from "../static/board/model.js";
import { describeRole, Neighbours } from "../static/board/neighbours.js";

const root = byId("app");
const { socket, stream, maxWait } = root.dataset;
const columns = JSON.parse(byId("columns").textContent);

const options = {
  stream,
  WebSocket: LabSocket,
  maxMs: Number(maxWait),
  connect(url, given) {
    const client = ReconnectChannels.connect(url, { recorder: ReconnectChannels.telemetryRecorder(), ...given });
    globalThis.boardClient = client; // for the console
    watchAccount(client);
    new Neighbours(client, "React");
    return client;
  },
};

/** The board as the stream tells it, and how to change it. */
function useBoard() {
  const kept = useRef(null);
  const model = (kept.current ??= new Model());
  const [, redraw] = useReducer((count) => count + 1, 0);
  const live = useResilientWS(socket, {
    ...options,
    onSnapshot(state, info) {
      model.replace(state.cards, info.seq, ["epoch", "rewound"].includes(info.reason));
      redraw();
    },
    onEvents(entries) {
      model.apply(entries);
      redraw();
    },
  });

  async function send(payload) {
    const promise = live.send(payload);
    model.sent(promise.id, payload);
    redraw();
    try {
      model.saved(promise.id, (await promise).seq);
    } catch (error) {
      model.failed(promise.id, error.reason ?? error.message);
    }
    redraw();
  }

  function forget(op) {
    model.forget(op.id);
    redraw();
  }
  return { ...live, cards: model.view(), send, forget };
}

function Status({ client, sync, role, tabs, waiting }) {
  const kind = !client ? "loading" : sync.kind === "live" && waiting ? "waiting" : sync.kind;
  return (
    <>
      <p className="pill" data-kind={kind}>
        <span className="lamp" aria-hidden="true" />
        <span id="status-text">{client ? ReconnectChannels.describe(sync) : "Loading…"}</span>
      </p>
      <dl className="facts">
        <div>
          <dt>waiting</dt>
          <dd>{waiting}</dd>
        </div>
        <div>
          <dt>this tab</dt>
          <dd id="fact-role">{describeRole({ role, tabs })}</dd>
        </div>
      </dl>
    </>
  );
}

function Card({ card, send, forget }) {
  const at = columns.findIndex(([column]) => column === card.column);
  const { problem } = card;
  const move = (step) => {
    const [column, label] = columns[at + step] ?? [];
    if (!column) return null;
    return (
      <button
        type="button"
        className="icon"
        aria-label={`Move “${card.title}” to ${label}`}
        onClick={() => send({ op: "move", card: referenceTo(card), column, before: null })}
      >
        <svg aria-hidden="true">
          <use href={step < 0 ? "#icon-left" : "#icon-right"} />
        </svg>
      </button>
    );
  };
  return (
    <li className="card" data-waiting={card.waiting ? "" : undefined} data-failed={problem ? "" : undefined}>
      <p className="card-title">{card.title}</p>
      {problem ? (
        <div className="card-problem">
          <p>Not done: {problem.reason}</p>
          <button type="button" onClick={() => forget(problem)}>
            Dismiss
          </button>
        </div>
      ) : (
        <div className="card-foot">
          <span className="card-meta">{card.waiting ? "waiting" : [`#${card.id}`, card.by].filter(Boolean).join(" · ")}</span>
          <span className="row">
            {move(-1)}
            {move(1)}
          </span>
        </div>
      )}
    </li>
  );
}

function NewCard({ column, label, send }) {
  const [title, setTitle] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (!title.trim()) return;
    send({ op: "create", column, title: title.trim() });
    setTitle("");
  };
  return (
    <form className="new-card" onSubmit={submit}>
      <input
        value={title}
        onChange={(event) => setTitle(event.target.value)}
        maxLength={200}
        autoComplete="off"
        placeholder="Add a card"
        aria-label={`New card in ${label}`}
      />
      <button aria-label={`Add to ${label}`}>
        <svg aria-hidden="true">
          <use href="#icon-add" />
        </svg>
      </button>
    </form>
  );
}

function Board() {
  const { cards, send, forget, ...live } = useBoard();
  return (
    <>
      {createPortal(<Status {...live} />, byId("status"))}
      <p className="small">
        React renders these cards with <code>useResilientWS</code>, on the same stream and the same connection as the other
        tabs of this browser.
      </p>
      <div className="columns">
        {columns.map(([column, label]) => {
          const here = cards.filter((card) => card.column === column);
          return (
            <section key={column} className="column" aria-labelledby={`heading-${column}`}>
              <h2 id={`heading-${column}`}>
                {label} <span className="count">{here.length}</span>
              </h2>
              <ol className="cards" role="list">
                {here.map((card) => (
                  <Card key={nameOf(card)} {...{ card, send, forget }} />
                ))}
              </ol>
              <NewCard {...{ column, label, send }} />
            </section>
          );
        })}
      </div>
      <details className="inspector">
        <summary>Inspector</summary>
        <Inspector client={live.client} />
      </details>
    </>
  );
}

createRoot(root).render(
  <StrictMode>
    <Board />
  </StrictMode>,
);
