/** A number in [0, 1), uniform. */
export type Random = () => number;

/**
 * Random from a cryptographic source with 32 bits. Clients that lost one server at one moment must not
 * agree on when to come back, and Math.random may be seeded alike in cloned machines.
 */
export const secureRandom: Random = () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32;

/** A UUIDv4. `crypto.randomUUID` is missing on plain-http origins, `getRandomValues` is not. */
export function uuid4(): string {
  return "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx".replace(/[xy]/g, (digit) =>
    Math.floor(secureRandom() * (digit === "x" ? 16 : 4) + (digit === "x" ? 0 : 8)).toString(16),
  );
}
