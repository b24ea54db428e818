/** @returns has `run` called when this turn of the event loop is done, once however often it is asked */
export function onceATurn(run: () => void): () => void {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      run();
    });
  };
}
