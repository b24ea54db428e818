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

const BARE_IMPORT = /^import (?:type )?\{([^}]*)\} from "([^."][^"]*)";/gm;

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
  const seen = new Set();
  const statements = [];
  /** Where the names of other packages come from. */
  const imports = new Map();
  const visit = async (module) => {
    if (seen.has(module)) return;
    seen.add(module);
    const text = (await readFile(join(folder, `${module}.d.ts`), "utf8")).replace(/\r/g, "");
    for (const [, next] of text.matchAll(/from "(\.{1,2}\/[\w/.-]+)\.ts"/g)) await visit(posix.join(posix.dirname(module), next));
    for (const [statement] of text.matchAll(STATEMENT)) statements.push({ module, statement });
    for (const [, names, from] of text.matchAll(BARE_IMPORT)) {
      for (const name of names.split(",")) imports.set(name.trim(), from);
    }
  };
  await visit(entry);

  const exports = [];
  const globals = [];
  const declared = new Map();
  for (const { module, statement } of statements) {
    const code = statement.replace(COMMENT, "").trim();
    const name = DECLARED.exec(code)?.[1];
    if (name) {
      if (declared.has(name)) throw new Error(`two modules declare ${name}`);
      declared.set(name, { code, text: statement.replace(/^export /m, "").trim() });
    }
    if (code.startsWith("declare global") && module === entry) globals.push(statement.trim());
    if (module !== entry || !code.startsWith("export ")) continue;
    const list = /^export (?:type )?\{[^}]*\}/.exec(code)?.[0];
    if (!name && !list) throw new Error(`not understood: ${code}`);
    exports.push(list ?? `export ${/(interface|type) [\w$]+/.test(code) ? "type " : ""}{ ${name} }`);
  }
  const kept = new Set();
  const used = new Map();
  const keep = (name) => {
    const from = shared.names.has(name) ? shared.from : imports.get(name);
    if (from) return void used.set(name, from);
    if (kept.has(name) || !declared.has(name)) return;
    kept.add(name);
    for (const word of declared.get(name).code.match(WORD)) keep(word);
  };
  for (const word of [...exports, ...globals].join(" ").match(WORD)) keep(word);
  const lines = Array.from(new Set(used.values()), (from) => {
    const names = [...used].filter((use) => use[1] === from).map(([name]) => name);
    return `import type { ${names.sort().join(", ")} } from "${from}";`;
  });
  const texts = [...declared].filter(([name]) => kept.has(name)).map(([, { text }]) => text);
  const code = [...kept].map((name) => declared.get(name).code.replace(/"[^"]*"/g, '""')).join("\n");
  const parts = [...texts, ...globals, exports.map((line) => `${line};`).join("\n")];
  if (lines.length) parts.unshift(lines.sort().join("\n"));
  return {
    text: `${parts.join("\n\n")}\n`,
    names: new Set(Array.from(code.matchAll(MEMBER), ([, name]) => name)),
    exported: new Set(exports.join(" ").match(WORD)),
  };
}
