/**
 * A Lamport clock (protocol 6.5): above everything that was seen, one tick for every message. Order without
 * wall clocks, which disagree between nodes.
 */
export class LamportClock {
  #time = 0;

  get time(): number {
    return this.#time;
  }

  /** Takes a time that another party showed; nonsense is ignored. */
  observe(time: unknown): void {
    if (Number.isSafeInteger(time) && (time as number) > this.#time) this.#time = time as number;
  }

  tick(): number {
    return ++this.#time;
  }
}
