// The types of each entry in one file: tsc writes a declaration file per module, of which only what the entry's exports
// reach is kept.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { promisify } from "node:util";

const WORD = /[A-Za-z_$][\w$]*/g;
/** A property or method in a declaration. */
const MEMBER = /([A-Za-z_$][\w$]*)\??(?=[:(<])/g;
const COMMENT = /\/\*[^]*?\*\//g;

/** A top-level declaration with the comment before it. It ends where the next one begins. */
const BEGIN = String.raw`(?:\/\*\*(?:(?!\*\/)[^])*\*\/\n)?(?:export|import|declare|interface|type) `;
const STATEMENT = new RegExp(`^${BEGIN}[^]*?(?=\\n${BEGIN}|\\n*(?![^]))`, "gm");
const DECLARED = /^(?:export )?(?:declare )?(?:abstract )?(?:interface|type|class|const|function) ([\w$]+)/;

/** What a module takes from another one. */
const FROM = /^(?:import|export) (?:type )?\{([^}]*)\} from "([^"]*)";/gm;

/** How a type that was inferred names what its module doesn't import. */
const INLINE = /import\("(\.[^"]*)"\)\.([\w$]+)/g;

/** What goes between parts of one bundle alone: its members are renamed in minified files, and nobody else's business. */
const OPAQUE = new Set(["TabsHost", "TabsLink"]);

/**
 * @param {string} folder of the package
 * @param {Record<string, string>} entries the module of each file
 * @param {string} main the entry from which the others import what it exports, too
 * @returns {Promise<Map<string, {text: string, names: Set<string>}>>} by name: the text, and the names of all members
 */
export async function declarations(folder, entries, main) {
  const out = await mkdtemp(join(tmpdir(), "declarations-"));
  try {
    const tsc = join(folder, "node_modules/typescript/bin/tsc");
    const flags = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--rootDir", "src", "--outDir", out];
    await promisify(execFile)(process.execPath, [tsc, "-p", folder, ...flags], { cwd: folder });
    const made = new Map([[main, await gather(out, entries[main])]]);
    const shared = { from: `./${main}.js`, names: made.get(main).exported };
    for (const [name, module] of Object.entries(entries)) {
      if (name !== main) made.set(name, await gather(out, module, shared));
    }
    return made;
  } finally {
    await rm(out, { recursive: true });
  }
}

async function gather(folder, entry, shared = { from: "", names: new Set() }) {
  /** By module: what it declares, and where the other names in it come from. */
  const modules = new Map();
  const exports = [];
  const globals = [];

  const visit = async (module) => {
    if (modules.has(module)) return;
    const declared = new Map();
    const imported = new Map();
    modules.set(module, { declared, imported });
    const resolve = (specifier) => posix.join(posix.dirname(module), specifier.replace(/\.ts$/, ""));
    const written = (await readFile(join(folder, `${module}.d.ts`), "utf8")).replace(/\r/g, "");
    const text = written.replace(INLINE, (_, specifier, name) => {
      imported.set(name, resolve(specifier));
      return name;
    });
    for (const from of [...imported.values()]) await visit(from);
    for (const [, names, specifier] of text.matchAll(FROM)) {
      const from = specifier.startsWith(".") ? resolve(specifier) : null;
      for (const name of names.match(WORD) ?? []) imported.set(name, from ?? { specifier });
      if (from) await visit(from);
    }
    for (const [statement] of text.matchAll(STATEMENT)) {
      const code = statement.replace(COMMENT, "").trim();
      const name = DECLARED.exec(code)?.[1];
      if (OPAQUE.has(name)) {
        const nothing = `interface ${name} {}`;
        declared.set(name, { code: nothing, text: `/** Of no use outside. */\n${nothing}` });
      } else if (name) declared.set(name, { code, text: statement.replace(/^export /m, "").trim() });
      if (module !== entry) continue;
      if (code.startsWith("declare global")) globals.push(statement.trim());
      if (!code.startsWith("export ")) continue;
      const list = /^export (?:type )?\{[^}]*\}/.exec(code)?.[0];
      if (!name && !list) throw new Error(`not understood: ${code}`);
      exports.push(list ?? `export ${/(interface|type) [\w$]+/.test(code) ? "type " : ""}{ ${name} }`);
    }
  };
  await visit(entry);

  const kept = new Map();
  const used = new Map();
  const keep = (name, module) => {
    const { declared, imported } = modules.get(module);
    const here = declared.get(name);
    const from = imported.get(name);
    if (!here && !from) return;
    if (from?.specifier) return void used.set(name, from.specifier);
    if (shared.names.has(name)) return void used.set(name, shared.from);
    if (!here) return keep(name, from);
    if (kept.has(name)) {
      if (kept.get(name) !== here) throw new Error(`two modules declare ${name}`);
      return;
    }
    kept.set(name, here);
    for (const word of here.code.match(WORD)) keep(word, module);
  };
  for (const word of [...exports, ...globals].join(" ").match(WORD)) keep(word, entry);

  const lines = Array.from(new Set(used.values()), (from) => {
    const names = [...used].filter((use) => use[1] === from).map(([name]) => name);
    return `import type { ${names.sort().join(", ")} } from "${from}";`;
  });
  // In the order of the modules, each after those that it takes from.
  const texts = [...modules.values()].reverse().flatMap(({ declared }) =>
    [...declared].filter(([name, { text }]) => kept.get(name)?.text === text).map(([, { text }]) => text),
  );
  const code = Array.from(kept.values(), (one) => one.code.replace(/"[^"]*"/g, '""')).join("\n");
  const parts = [...texts, ...globals, exports.map((line) => `${line};`).join("\n")];
  if (lines.length) parts.unshift(lines.sort().join("\n"));
  return {
    text: `${parts.join("\n\n")}\n`,
    names: new Set(Array.from(code.matchAll(MEMBER), ([, name]) => name)),
    exported: new Set(exports.join(" ").match(WORD).filter((word) => !/^(export|type|as|default)$/.test(word))),
  };
}
