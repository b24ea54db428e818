const KEY = Symbol.for("reconnect_channels.v1");

/** The page's one copy of the API: the first that was loaded, also set as `globalThis.ReconnectChannels`. */
export function shared<Api extends object>(api: Api): Api {
  const scope = globalThis as { [KEY]?: Api; ReconnectChannels?: Api };
  const first = (scope[KEY] ??= Object.freeze(api));
  scope.ReconnectChannels ??= first;
  return first;
}
