// Bundles the client into the static files that the Django app serves and into the package's files, and checks them.
//
//   node build.mjs          writes
//   node build.mjs react    writes the bundles of that source alone, without types
//   node build.mjs --check  exits 1 when the files there are not what this source makes
//
// One self-contained file per entry: hashed static files don't rewrite imports between modules, and a module that is
// reached by two URLs runs twice.
import { build } from "esbuild";
import { existsSync } from "node:fs";
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
const only = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));

/** Minified and gzipped, in bytes. A file without one is a convenience. */
const BUDGETS = {
  "reconnect-channels-core.min.js": 10_240,
  "react.min.js": 1_024,
  "otel.min.js": 1_024,
  "otel-apply.min.js": 1_024,
};
/**
 * Properties that minified files may rename: spelled out, since a pattern would sooner or later catch one that stands on
 * the wire, in the public API or in the platform. None may be in the declarations or in what tabs say to each other; the
 * tests run minified, too.
 */
const INTERNAL = `
  abandon ack acked acknowledged adopting answered asked attempted blocks brokenAt came catchUp caughtUp changed changedAt chunks
  checking claims collecting cursor dead delay delta detach dirty down drop dropParts dropRetry dropped enter expectAnswer
  flushed forget goLive greeting handlers heals heard heardAt held hello ignores items jumped keep lamport lane lanes lastN
  letGo link listener look mendedAt messages names notBefore number overdue overdueAt passed prepare probe promise prove pump putOff
  receipts refresh refusal restart restore resumeAt retries saving sentAt settle silent start stopRetry subscriber
  subscribers suspend syncOf tick touch transition transmit unackedEntries unackedSince unackedSize unansweredSince uninvited
  unused unverified verifiedAt waitFor waitingOn want wantsSnapshot welcomed whole
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
  // The page's own copies, by import map or bundler.
  external: ["react", "vue", "@opentelemetry/api"],
  logLevel: "warning",
};
const small = { minify: true, mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`) };
const plain = {};
const min = { minify: true };
const iife = { ...small, format: "iife" };

/**
 * What each source becomes: static files by suffix, and the file of the package. `types` is the module that declares what
 * it exports, where that is another one; null: it exports a part of what the main one does.
 */
const sources = [
  { source: "index", served: "reconnect-channels", forms: { "": plain, ".min": small, ".iife.min": iife }, types: "types" },
  { source: "core", served: "reconnect-channels-core", forms: { ".min": small }, types: null },
  { source: "react", served: "react", forms: { "": plain, ".min": min }, directive: '"use client";' },
  { source: "react-inspector", served: "react-inspector", forms: { "": plain }, directive: '"use client";' },
  { source: "element", served: "element", forms: { "": plain, ".min": min } },
  { source: "vue", served: "vue", forms: { "": plain } },
  { source: "otel", served: "otel", forms: { "": plain, ".min": min } },
  { source: "otel-apply", served: "otel-apply", forms: { "": plain, ".min": min } },
  { source: "rum", served: "rum", forms: { "": plain, ".min": min } },
  { source: "testing", forms: {} },
].filter(({ source }) => existsSync(join(here, `src/${source}.ts`)) && (!only.length || only.includes(source)));

const entries = sources.flatMap(({ source, served, forms, directive }) => [
  ...Object.entries(forms).map(([suffix, options]) => ({ source, name: served + suffix, folder: STATIC, options })),
  // Frameworks that render on servers are told by the directive that this part is the browser's.
  { source, name: source, folder: PACKAGE, options: directive ? { banner: { js: `${directive}\n${banner}` } } : plain },
]);

/** The letters of tabs: one tab may run this file, another a minified or an older one. */
const LETTERS = "src/tabs/letters.ts";

let faults = 0;
const fault = (text) => {
  console.error(text);
  faults++;
};

async function bundle({ name, folder, options, source }) {
  const made = await build({ ...common, ...options, entryPoints: [`src/${source}.ts`], outdir: folder, entryNames: name });
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

/** The types of the core: its errors are those of the main source, its `connect` makes a client that can less. */
async function partOfMain(source) {
  const { metafile } = await build({ ...common, entryPoints: [`src/${source}.ts`], outdir: PACKAGE, sourcemap: false, metafile: true });
  const [{ exports }] = Object.values(metafile.outputs);
  const names = exports.filter((name) => !["default", "ReconnectChannels", "connect"].includes(name)).sort();
  return [
    `import type { CoreApi } from "./index.js";`,
    `export declare const ReconnectChannels: CoreApi;`,
    `export default ReconnectChannels;`,
    `export declare const connect: CoreApi["connect"];`,
    `export { ${names.join(", ")} } from "./index.js";`,
    // Its own, under the names that those of the whole have.
    `export type {`,
    ...["Client", "Events", "Options", "SubscribeOptions", "Subscription"].map((name) => {
      return `  Core${name} as ${name === "Events" ? "ClientEvents" : name},`;
    }),
    `} from "./index.js";`,
    `export type * from "./index.js";\n`,
  ].join("\n");
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
  const budget = BUDGETS[file];
  const over = size > budget;
  const verdict = budget ? `${over ? "over" : "of"} ${budget}` : "";
  const sizes = `${String(Buffer.byteLength(text)).padStart(7)} B ${String(size).padStart(7)} B gzip`;
  console.log(`${file.padEnd(32)} ${sizes} ${verdict}`.trimEnd());
  if (over) fault(`${file}: ${size} B gzip, the budget is ${budget}`);
}

for (const entry of entries) {
  for (const [file, text] of await bundle(entry)) await put(entry.folder, file, text);
}
const letters = await readFile(join(here, LETTERS), "utf8");
const spoken = new Set(Array.from(letters.matchAll(/([A-Za-z_]\w*)\??:|\bt: "(\w+)"/g), ([, field, type]) => field ?? type));
const renamed = INTERNAL.filter((property) => spoken.has(property));
if (renamed.length) fault(`${LETTERS} has properties that minified files rename: ${renamed.join(" ")}`);

if (!only.length) {
  const declaring = sources.filter(({ types }) => types !== null).map(({ source, types = source }) => [source, types]);
  for (const [name, { text, names }] of await declarations(here, Object.fromEntries(declaring), "index")) {
    await put(PACKAGE, `${name}.d.ts`, `${banner}\n${text}`);
    const both = name === "index" ? INTERNAL.filter((property) => names.has(property)) : [];
    if (both.length) fault(`${name}.d.ts has properties that minified files rename: ${both.join(" ")}`);
  }
  for (const { source, types } of sources) {
    if (types === null) await put(PACKAGE, `${source}.d.ts`, `${banner}\n${await partOfMain(source)}`);
  }
}
process.exitCode = faults ? 1 : 0;
