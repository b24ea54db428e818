import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const common = { restoreMocks: true, unstubGlobals: true, testTimeout: 15_000 };
const served = (file: string) =>
  fileURLToPath(new URL(`../reconnect_channels/static/reconnect_channels/${file}`, import.meta.url));

/** What the oldest React that is supported is imported from. */
const react18 = (path: string) => fileURLToPath(new URL(`test/react18/node_modules/${path}`, import.meta.url));

export default defineConfig({
  test: {
    projects: [
      { test: { ...common, name: "source", include: ["test/**/*.test.{ts,tsx}"] } },
      {
        // What a client does, once more with what is served: no property was renamed that others rely on.
        test: {
          ...common,
          name: "minified",
          include: ["connection", "half-open", "network", "outbox", "streams", "tabs/sharing"].map((name) => `test/${name}.test.ts`),
        },
        resolve: { alias: [{ find: /^.*\/src\/index\.ts$/, replacement: served("reconnect-channels.min.js") }] },
      },
      {
        // And with the core that is served, but for what looks at what it lacks.
        test: {
          ...common,
          name: "core",
          include: ["connection", "half-open", "network", "outbox", "streams"].map((name) => `test/${name}.test.ts`),
          env: { BUNDLE: "core" },
        },
        resolve: { alias: [{ find: /^.*\/src\/index\.ts$/, replacement: served("reconnect-channels-core.min.js") }] },
      },
      {
        test: { ...common, name: "react 18", include: ["test/react*.test.tsx"], env: { REACT: "18" } },
        resolve: {
          alias: [
            { find: /^react(?=$|\/)/, replacement: react18("react") },
            { find: /^react-dom(?=$|\/)/, replacement: react18("react-dom") },
          ],
        },
      },
    ],
  },
});
