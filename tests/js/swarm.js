// Many unmodified automerge-repo clients in one process, for the benchmark of sync. Speaks JSON lines: takes its load as the
// only argument, says {"joined":…} when every client has its document, waits for a line, edits, and says {"done":…}.
//
// The load: {"url": WebSocket URL, "clients": N, "documents": N, "edits": N, "perSecond": edits a second,
//            "timeoutMs": how long a delivery is waited for after the last edit}

import { Repo } from "@automerge/automerge-repo";
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket";
import { createInterface } from "node:readline";

const RETRY_MS = 5_000;
/** Handshakes under way at once: a client calls itself ready one second after connecting, whether it is or not. */
const JOINING_AT_ONCE = 25;

/** How often a document is looked for before the swarm gives up. */
const ATTEMPTS = 60;

const load = JSON.parse(process.argv[2]);
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");

async function connect() {
  const repo = new Repo({ network: [new WebSocketClientAdapter(load.url, RETRY_MS)] });
  if (repo.peers.length === 0) {
    await new Promise((resolve) => repo.networkSubsystem.once("peer", () => resolve()));
  }
  return repo;
}

/** A server may say 'unavailable' of a document whose maker has not told it yet: clients then ask again. */
async function find(repo, url) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await repo.find(url);
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

async function inGroups(items, work) {
  const results = [];
  for (let from = 0; from < items.length; from += JOINING_AT_ONCE) {
    results.push(...(await Promise.all(items.slice(from, from + JOINING_AT_ONCE).map(work))));
  }
  return results;
}

/** Started edits by name: when, how many readers lack it, and when the last one had it. */
const edits = new Map();
const delays = [];
let missing = 0;

function received(name) {
  const edit = edits.get(name);
  if (!edit) return;
  const now = performance.now();
  delays.push(now - edit.started);
  edit.last = now - edit.started;
  edit.lacking -= 1;
  missing -= 1;
}

function watch(handle, own) {
  handle.on("change", ({ patches }) => {
    for (const { action, path } of patches) {
      const [field, name] = path;
      if (action === "put" && field === "edits" && path.length === 2 && !own.delete(name)) received(name);
    }
  });
}

const numbers = [...Array(load.clients).keys()];
const repos = await inGroups(numbers, connect);
const made = numbers.slice(0, load.documents).map((i) => repos[i].create({ edits: {} }));
const readers = made.map(() => []);
await inGroups(numbers, async (i) => {
  const document = i % load.documents;
  const handle = i < load.documents ? made[i] : await find(repos[i], made[document].url);
  const own = new Set();
  watch(handle, own);
  readers[document].push({ handle, own });
});
say({ joined: numbers.length });

await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
const began = performance.now();
for (let k = 0; k < load.edits; k++) {
  const due = began + (k * 1000) / load.perSecond;
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
  const of = readers[k % load.documents];
  const { handle, own } = of[(k * 7) % of.length];
  const name = `e${k}`;
  own.add(name);
  missing += of.length - 1;
  edits.set(name, { started: performance.now(), lacking: of.length - 1, last: 0 });
  handle.change((doc) => {
    doc.edits[name] = k;
  });
}
const deadline = performance.now() + load.timeoutMs;
while (missing > 0 && performance.now() < deadline) {
  await new Promise((resolve) => setTimeout(resolve, 20));
}

const sorted = (list) => list.sort((a, b) => a - b);
const at = (list, share) => list[Math.min(list.length - 1, Math.floor(list.length * share))] ?? null;
const converged = sorted([...edits.values()].filter((edit) => edit.lacking === 0).map((edit) => edit.last));
const delivered = sorted(delays);
say({
  done: load.edits,
  deliveries: delivered.length,
  missing,
  convergeMs: { p50: at(converged, 0.5), p99: at(converged, 0.99) },
  deliverMs: { p50: at(delivered, 0.5), p99: at(delivered, 0.99) },
});
process.exit(0);
