/**
 * Holds a Web Lock for as long as this page lives, or until it is released: the browser tells others that it is free.
 *
 * @param held called once it is held, or can't be
 * @returns releases it, or leaves its queue
 */
export function holdLock(locks: Pick<LockManager, "request">, name: string, held = () => {}): () => void {
  let release!: () => void;
  const life = new Promise<void>((resolve) => (release = resolve));
  const hold = () => {
    held();
    return life;
  };
  locks.request(name, hold).catch(held);
  return release;
}
