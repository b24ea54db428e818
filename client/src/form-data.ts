/** A form's fields as JSON: text only, repeated names as arrays; neither files nor Django's CSRF token. */
export type FormPayload = Record<string, string | string[]>;

export function formPayload(form: HTMLFormElement, submitter?: HTMLElement | null): FormPayload {
  const data = new FormData(form, submitter);
  const fields: [string, string | string[]][] = [];
  for (const name of new Set(data.keys())) {
    const values = data.getAll(name).filter((value) => typeof value === "string");
    if (name !== "csrfmiddlewaretoken" && values.length) fields.push([name, values.length > 1 ? values : values[0]!]);
  }
  return Object.fromEntries(fields);
}
