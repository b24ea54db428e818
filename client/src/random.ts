/** A number in [0, 1), uniform. */
export type Random = () => number;

/**
 * Random from a cryptographic source with 32 bits. Clients that lost one server at one moment must not
 * agree on when to come back, and Math.random may be seeded alike in cloned machines.
 */
export const secureRandom: Random = () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32;

/** A UUIDv4. `crypto.randomUUID` is missing on plain-http origins, `getRandomValues` is not. */
export function uuid4(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
