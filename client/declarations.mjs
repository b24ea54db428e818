// The types of each entry in one file: tsc writes a declaration file per module, of which only what the entry's exports
// reach is kept.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const WORD = /[A-Za-z_$][\w$]*/g;
/** A property or method in a declaration. */
const MEMBER = /([A-Za-z_$][\w$]*)\??(?=[:(<])/g;
const COMMENT = /\/\*[^]*?\*\//g;

/** A top-level declaration with the comment before it. It ends where the next one begins. */
const BEGIN = String.raw`(?:\/\*\*(?:(?!\*\/)[^])*\*\/\n)?(?:export|import|declare|interface|type) `;
const STATEMENT = new RegExp(`^${BEGIN}[^]*?(?=\\n${BEGIN}|\\n*(?![^]))`, "gm");
const DECLARED = /^(?:export )?(?:declare )?(?:abstract )?(?:interface|type|class|const|function) ([\w$]+)/;

/**
 * @param {string} folder of the package
 * @param {Record<string, string>} entries the module of each file
 * @returns {Promise<Map<string, {text: string, names: Set<string>}>>} by name: the text, and the names of all members
 */
export async function declarations(folder, entries) {
  const out = await mkdtemp(join(tmpdir(), "declarations-"));
  try {
    const tsc = join(folder, "node_modules/typescript/bin/tsc");
    const flags = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--rootDir", "src", "--outDir", out];
    await promisify(execFile)(process.execPath, [tsc, "-p", folder, ...flags], { cwd: folder });
    const made = new Map();
    for (const [name, module] of Object.entries(entries)) made.set(name, await gather(out, module));
    return made;
  } finally {
    await rm(out, { recursive: true });
  }
}

async function gather(folder, entry) {
  const seen = new Set();
  const statements = [];
  const visit = async (module) => {
    if (seen.has(module)) return;
    seen.add(module);
    const text = (await readFile(join(folder, `${module}.d.ts`), "utf8")).replace(/\r/g, "");
    for (const [, next] of text.matchAll(/from "\.\/([\w-]+)\.ts"/g)) await visit(next);
    for (const [statement] of text.matchAll(STATEMENT)) statements.push({ module, statement });
  };
  await visit(entry);

  const exports = [];
  const declared = new Map();
  for (const { module, statement } of statements) {
    const code = statement.replace(COMMENT, "").trim();
    const name = DECLARED.exec(code)?.[1];
    if (name) {
      if (declared.has(name)) throw new Error(`two modules declare ${name}`);
      declared.set(name, { code, text: statement.replace(/^export /m, "").trim() });
    }
    if (module !== entry || !code.startsWith("export ")) continue;
    const list = /^export (?:type )?\{[^}]*\}/.exec(code)?.[0];
    if (!name && !list) throw new Error(`not understood: ${code}`);
    exports.push(list ?? `export ${/(interface|type) [\w$]+/.test(code) ? "type " : ""}{ ${name} }`);
  }
  const kept = new Set();
  const keep = (name) => {
    if (kept.has(name) || !declared.has(name)) return;
    kept.add(name);
    for (const word of declared.get(name).code.match(WORD)) keep(word);
  };
  for (const word of exports.join(" ").match(WORD)) keep(word);
  const texts = [...declared].filter(([name]) => kept.has(name)).map(([, { text }]) => text);
  const code = [...kept].map((name) => declared.get(name).code.replace(/"[^"]*"/g, '""')).join("\n");
  const names = new Set(Array.from(code.matchAll(MEMBER), ([, name]) => name));
  return { text: `${[...texts, exports.map((line) => `${line};`).join("\n")].join("\n\n")}\n`, names };
}
