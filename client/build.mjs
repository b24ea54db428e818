// Bundles the client into the static files that the Django app serves, and checks them.
//
//   node build.mjs          writes
//   node build.mjs --check  exits 1 when the files there are not what this source makes
//
// One self-contained file per entry: hashed static files don't rewrite imports between modules, and a module that is
// reached by two URLs runs twice.
import { build } from "esbuild";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../reconnect_channels/static/reconnect_channels");
const check = process.argv.includes("--check");

/** Minified and gzipped, in bytes. */
const BUDGET = 12_800;

/**
 * Properties that minified files may rename: spelled out, since a pattern would sooner or later catch one that stands on
 * the wire, in the public API or in the platform. Nothing of these may be in options, events, frames or snapshots.
 */
const INTERNAL = `
  abandon acked attempted brokenAt catchUp caughtUp changedAt claims collecting cursor detach dirty dropParts flushed
  forget goLive heals heard heardAt inFlight joined jumped lamport lane lastN notBefore pump refresh refusal resumeAt
  retries saving scope startedAt stopRetry subscriber subscribers succeeded suspend syncOf tick touch transition
  transmit uninvited unverified verifiedAt waitFor waitingOn wantsSnapshot welcomed
`;

const banner = "/* reconnect_channels, BSD-3-Clause */";
const common = {
  absWorkingDir: here,
  entryPoints: ["src/index.ts"],
  bundle: true,
  target: "es2022",
  outdir: out,
  write: false,
  sourcemap: "linked",
  // The sources stand in the map, so that it needs nothing beside it.
  sourcesContent: true,
  legalComments: "none",
  banner: { js: banner },
  logLevel: "warning",
};
const small = {
  minify: true,
  mangleProps: new RegExp(`^(${INTERNAL.trim().split(/\s+/).join("|")})$`),
  budget: BUDGET,
};
const entries = [
  { name: "reconnect-channels", format: "esm" },
  { name: "reconnect-channels.min", format: "esm", ...small },
  { name: "reconnect-channels.iife.min", format: "iife", ...small },
];

let faults = 0;
const fault = (text) => {
  console.error(text);
  faults++;
};

await mkdir(out, { recursive: true });
for (const { name, budget, ...options } of entries) {
  const { outputFiles } = await build({ ...common, ...options, entryNames: name });
  for (const file of outputFiles) {
    const base = file.path.slice(out.length + 1);
    if (file.text.includes(here)) fault(`${base}: holds the path of this machine`);
    if (check) {
      const there = await readFile(file.path, "utf8").catch(() => null);
      if (there !== file.text) fault(`${base}: not fresh, run "npm run build"`);
    } else await writeFile(file.path, file.text);
    if (base.endsWith(".map")) continue;
    const size = gzipSync(file.contents, { level: 9 }).length;
    console.log(`${base.padEnd(32)} ${String(file.contents.length).padStart(7)} B ${String(size).padStart(7)} B gzip`);
    if (budget && size > budget) fault(`${base}: ${size} B gzip, the budget is ${budget}`);
  }
}
process.exitCode = faults ? 1 : 0;
