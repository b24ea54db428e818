/** What every page here does with its elements. */

export const byId = (id) => document.getElementById(id);

/** Set text only where it differs: a screen reader hears every change. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Say something to screen readers. */
export function announce(text) {
  setText(byId("announcer"), text);
}
