// Bundles the client into the static files that the Django app serves and into the package's files, and checks them.
//
//   node build.mjs          writes
//   node build.mjs --check  exits 1 when the files there are not what this source makes
//
// One self-contained file per entry: hashed static files don't rewrite imports between modules, and a module that is
// reached by two URLs runs twice.
import { build } from "esbuild";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { minify } from "terser";
import { declarations } from "./declarations.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const STATIC = join(here, "../reconnect_channels/static/reconnect_channels");
const PACKAGE = join(here, "dist");
const check = process.argv.includes("--check");

/** Minified and gzipped, in bytes. */
const BUDGET = 11_392;

/**
 * Properties that minified files may rename: spelled out, since a pattern would sooner or later catch one that stands on
 * the wire, in the public API or in the platform. None may be in the declarations; the tests run minified, too.
 */
const INTERNAL = `
  abandon ack acked age answered attempted brokenAt catchUp caughtUp changed changedAt chunks claim claims
  collecting cursor dead delay delta detach dirty down drop dropParts dropRetry dropped expectAnswer failed flushed
  forget frame goLive handlers heals heard heardAt hello ignores items joined jumped keep lamport lane lanes lastN
  letGo link listener live look mendedAt names notBefore number overdue passed probe promise prove pump putOff
  receipts refresh refusal resumeAt retries saving sentAt settle silent start stopRetry subscriber subscribers
  suspend syncOf tick touch transition transmit unackedEntries unackedSize unansweredSince uninvited unverified
  verifiedAt waitFor waitingOn wake want wantsSnapshot welcome welcomed
`
  .trim()
  .split(/\s+/);

const banner = "/* reconnect_channels, BSD-3-Clause */";
const common = {
  absWorkingDir: here,
  bundle: true,
  target: "es2022",
  format: "esm",
  write: false,
  sourcemap: "linked",
  // The sources stand in the map, so that it needs nothing beside it.
  sourcesContent: true,
  legalComments: "none",
  banner: { js: banner },
  logLevel: "warning",
};
const small = { minify: true, mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`) };
const entries = [
  { name: "reconnect-channels", folder: STATIC },
  { name: "reconnect-channels.min", folder: STATIC, options: small },
  { name: "reconnect-channels.iife.min", folder: STATIC, options: { ...small, format: "iife" } },
  { name: "index", folder: PACKAGE },
  { name: "testing", folder: PACKAGE, source: "src/testing.ts" },
];

let faults = 0;
const fault = (text) => {
  console.error(text);
  faults++;
};

async function bundle({ name, folder, options = {}, source = "src/index.ts" }) {
  const made = await build({ ...common, ...options, entryPoints: [source], outdir: folder, entryNames: name });
  const texts = new Map(made.outputFiles.map((file) => [file.path.slice(folder.length + 1), file.text]));
  if (options.minify) {
    // esbuild knows which properties may go; terser finds shorter code and names that compress better.
    const file = `${name}.js`;
    const { code, map } = await minify(texts.get(file), {
      module: options.format !== "iife",
      ecma: 2022,
      compress: { passes: 3, pure_getters: true, unsafe_arrows: true, keep_fargs: false },
      format: { preamble: banner },
      sourceMap: { content: texts.get(`${file}.map`), filename: file, url: `${file}.map`, includeSources: true },
    });
    texts.set(file, `${code}\n`).set(`${file}.map`, map);
  }
  return texts;
}

async function put(folder, file, text) {
  const path = join(folder, file);
  if (text.includes(here)) fault(`${file}: holds the path of this machine`);
  if (check) {
    const there = await readFile(path, "utf8").catch(() => null);
    if (there !== text) fault(`${relative(here, path)}: not fresh, run "npm run build"`);
  } else {
    await mkdir(folder, { recursive: true });
    await writeFile(path, text);
  }
  if (file.endsWith(".map")) return;
  const size = gzipSync(text, { level: 9 }).length;
  console.log(`${file.padEnd(32)} ${String(Buffer.byteLength(text)).padStart(7)} B ${String(size).padStart(7)} B gzip`);
  if (file.endsWith(".min.js") && size > BUDGET) fault(`${file}: ${size} B gzip, the budget is ${BUDGET}`);
}

for (const entry of entries) {
  for (const [file, text] of await bundle(entry)) await put(entry.folder, file, text);
}
const types = await declarations(here, { index: "types", testing: "testing" });
for (const [name, { text, names }] of types) {
  await put(PACKAGE, `${name}.d.ts`, `${banner}\n${text}`);
  const both = name === "index" ? INTERNAL.filter((property) => names.has(property)) : [];
  if (both.length) fault(`${name}.d.ts has properties that minified files rename: ${both.join(" ")}`);
}
process.exitCode = faults ? 1 : 0;
