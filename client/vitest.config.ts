import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const common = { restoreMocks: true, unstubGlobals: true, testTimeout: 15_000 };
const minified = fileURLToPath(
  new URL("../reconnect_channels/static/reconnect_channels/reconnect-channels.min.js", import.meta.url),
);

export default defineConfig({
  test: {
    projects: [
      { test: { ...common, name: "source", include: ["test/**/*.test.ts"] } },
      {
        // What a client does, once more with what is served: no property was renamed that others rely on.
        test: {
          ...common,
          name: "minified",
          include: ["connection", "half-open", "network", "outbox", "streams"].map((name) => `test/${name}.test.ts`),
        },
        resolve: { alias: [{ find: /^.*\/src\/index\.ts$/, replacement: minified }] },
      },
    ],
  },
});
