// Where one is: a path and parameters behind the # of the address, so that a link leads to the same screen and filters.

import { useEffect, useState } from "../vendor/preact-htm.js";

function read() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const part = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  return { path: path.split("/").filter(Boolean).map(part), params: Object.fromEntries(new URLSearchParams(search)) };
}

/** The address of a screen. */
export function address(path, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== "");
  const search = new URLSearchParams(given).toString();
  return `#/${path}${search ? `?${search}` : ""}`;
}

export function go(path, params) {
  location.hash = address(path, params);
}

/** The same for each letter that is typed: the way back does not go through all of them. */
export function replace(path, params) {
  history.replaceState(null, "", address(path, params));
  dispatchEvent(new Event("hashchange"));
}

let moved = false;

/** True once another screen was opened than that of the beginning. */
export const hasMoved = () => moved;

export function useRoute() {
  const [route, set] = useState(read);
  useEffect(() => {
    const changed = () => {
      moved = true;
      set(read());
      scrollTo(0, 0);
    };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
