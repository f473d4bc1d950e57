// An unmodified automerge-repo client. Arguments: the WebSocket URL and, for a client that keeps its documents, the folder of
// its store; with `gossip` after that it takes part in the gossip of remote heads. Reads one JSON request a line on standard input, answers each with one JSON line on standard output: {…} or
// {"error": "…"}.

import { Repo } from "@automerge/automerge-repo";
import * as Automerge from "@automerge/automerge";
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket";
import { NodeFSStorageAdapter } from "@automerge/automerge-repo-storage-nodefs";
import { createInterface } from "node:readline";

const RETRY_MS = 200;
const [url, folder, gossip] = process.argv.slice(2);

let adapter = new WebSocketClientAdapter(url, RETRY_MS);
const storage = folder && new NodeFSStorageAdapter(folder);
const repo = new Repo({ network: [adapter], storage, enableRemoteHeadsGossiping: gossip === "gossip" });
const handles = new Map();
/** What the others said, by document. */
const heard = new Map();

/** Waits until the edge has answered the handshake. */
function connected() {
  if (repo.peers.length > 0) return Promise.resolve();
  return new Promise((resolve) => repo.networkSubsystem.once("peer", () => resolve()));
}

function handle(document) {
  const found = handles.get(document);
  if (!found) throw new Error(`document ${document} has not been found yet`);
  return found;
}

const requests = {
  async connected() {
    await connected();
    return {};
  },

  async create({ content }) {
    const made = repo.create(content);
    handles.set(made.documentId, made);
    return { document: made.documentId };
  },

  async find({ document }) {
    const found = await repo.find(`automerge:${document}`);
    handles.set(document, found);
    heard.set(document, []);
    found.on("ephemeral-message", ({ message }) => heard.get(document).push(message));
    return {};
  },

  /** Makes documents at once, and waits until the store has them. */
  async createMany({ count }) {
    const made = Array.from({ length: count }, (_, number) => repo.create({ number }));
    for (const one of made) handles.set(one.documentId, one);
    await repo.flush();
    return { documents: made.map((one) => one.documentId) };
  },

  async findMany({ documents }) {
    await Promise.all(documents.map((document) => requests.find({ document })));
    return {};
  },

  /** Writes the same field of many documents, and waits until the store has it. */
  async putMany({ documents, field, value }) {
    for (const document of documents) handle(document).change((doc) => (doc[field] = value));
    await repo.flush();
    return {};
  },

  /** How many of the documents have the value. */
  async countHaving({ documents, field, value }) {
    return { count: documents.filter((document) => handle(document).doc()[field] === value).length };
  },

  async broadcast({ document, message }) {
    handle(document).broadcast(message);
    return {};
  },

  async heard({ document }) {
    return { messages: heard.get(document) };
  },

  async put({ document, path, value }) {
    handle(document).change((doc) => {
      const last = path[path.length - 1];
      path.slice(0, -1).reduce((object, key) => object[key], doc)[last] = value;
    });
    return {};
  },

  async splice({ document, field, at, deleted, inserted }) {
    handle(document).change((doc) => Automerge.splice(doc, [field], at, deleted, inserted));
    return {};
  },

  async read({ document }) {
    const doc = handle(document).doc();
    return { content: doc, heads: Automerge.getHeads(doc) };
  },

  async conflicts({ document, path }) {
    const doc = handle(document).doc();
    const object = path.slice(0, -1).reduce((object, key) => object[key], doc);
    const values = Automerge.getConflicts(object, path[path.length - 1]);
    return { values: Object.values(values ?? {}) };
  },

  /** The hash of the change that brings an attendance sheet of version 1 to version 2, made by the description in docs/sync.md. */
  async migration({ document, actor }) {
    const [first] = Automerge.getAllChanges(handle(document).doc());
    let [doc] = Automerge.applyChanges(Automerge.init({ actor }), [first]);
    doc = Automerge.change(doc, { time: 0 }, (sheet) => {
      sheet.version = 2;
      sheet.remarks = {};
    });
    return { hash: Automerge.decodeChange(Automerge.getLastLocalChange(doc)).hash };
  },

  async storage() {
    return { storage: await repo.storageId() };
  },

  async subscribe({ storages }) {
    repo.subscribeToRemotes(storages);
    return {};
  },

  /** What the client was told that a storage has of the document, and what it has itself. */
  async remoteHeads({ document, storage }) {
    const found = handle(document);
    return { told: found.getSyncInfo(storage)?.lastHeads ?? null, own: found.heads() };
  },

  async offline() {
    repo.networkSubsystem.removeNetworkAdapter(adapter);
    return {};
  },

  async online() {
    adapter = new WebSocketClientAdapter(url, RETRY_MS);
    repo.networkSubsystem.addNetworkAdapter(adapter);
    await connected();
    return {};
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = await requests[request.do](request);
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  // Unsigned integers arrive as BigInt, which JSON does not know.
  const plain = (_, value) => (typeof value === "bigint" ? Number(value) : value);
  process.stdout.write(JSON.stringify(answer, plain) + "\n");
}
process.exit(0);
