/** Gives an object more properties; getters stay getters. */
export function extend<T extends object>(object: object, more: T): void {
  Object.defineProperties(object, Object.getOwnPropertyDescriptors(more));
}
