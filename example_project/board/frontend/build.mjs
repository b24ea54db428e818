// Bundles React, the hook and the React page into one file beside the other static files: no CDN, no import map.
//
//   node example_project/board/frontend/build.mjs          writes
//   node example_project/board/frontend/build.mjs --check  exits 1 when the file there is not what this source makes
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const client = "../../../client/";
const { build } = createRequire(new URL(`${client}package.json`, import.meta.url))("esbuild");
const bundle = path("../static/board/react-page.js");
const license = (await readFile(path(`${client}node_modules/react/LICENSE`), "utf8")).trim();

const made = await build({
  absWorkingDir: path("."),
  entryPoints: ["react-page.jsx"],
  bundle: true,
  write: false,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  minify: true,
  keepNames: true, // React DevTools shows the components by name
  define: { "process.env.NODE_ENV": '"production"' },
  nodePaths: [path(`${client}node_modules`)],
  alias: {
    "reconnect-channels/react": path(`${client}dist/react.js`),
    "reconnect-channels/react-inspector": path(`${client}dist/react-inspector.js`),
  },
  legalComments: "eof",
  banner: { js: `/*\nMade by example_project/board/frontend/build.mjs. It contains React:\n\n${license}\n*/` },
  logLevel: "warning",
});
const [{ text }] = made.outputFiles;

if (!process.argv.includes("--check")) {
  await writeFile(bundle, text);
} else if ((await readFile(bundle, "utf8").catch(() => "")) !== text) {
  console.error("react-page.js is not fresh: run node example_project/board/frontend/build.mjs");
  process.exitCode = 1;
}
