// The frame around the screens: where one is, whether the page is live, the theme, and the form to sign in.

import { html, render, useEffect, useState } from "../vendor/preact-htm.js";
import { change, onSignInNeeded } from "./api.js";
import { close, open, useLive } from "./live.js";
import { Failure } from "./parts.js";
import { useRoute } from "./route.js";
import { Overview } from "./screens/overview.js";
import { Works } from "./screens/works.js";

/** Screens that are read when they are opened first. */
const later = (file, name) => {
  let screen = null;
  return () => (screen ??= import(`./screens/${file}.js`).then((module) => module[name]));
};

const SCREENS = [
  { path: "", name: "Overview", screen: Overview },
  { path: "works", name: "Works", screen: Works },
  { path: "works/*", load: later("work", "Work") },
  { path: "kinds", name: "Kinds", load: later("kinds", "Kinds") },
  { path: "kinds/*", load: later("kind", "Kind") },
  { path: "workers", name: "Workers", load: later("workers", "Workers") },
  { path: "deadletters", name: "Dead letters", load: later("letters", "Letters") },
  { path: "keys", name: "Keys", load: later("keys", "Keys") },
  { path: "audit", name: "Audit", load: later("audit", "Audit") },
  { path: "system", name: "System", load: later("system", "System") },
];

function screenOf(path) {
  const [first = "", second] = path;
  const wanted = second === undefined ? first : `${first}/*`;
  return SCREENS.find((screen) => screen.path === wanted);
}

const SIGNS = {
  connecting: ["Connecting…", "wait"],
  live: ["Live", "good"],
  cut: ["Cut off, trying again…", "bad"],
  paused: ["Paused", "faint"],
  "signed out": ["Signed out", "wait"],
};

function LiveSign() {
  const { state } = useLive();
  const [words, as] = SIGNS[state];
  return html`<p class="live" role="status" data-state=${state} data-as=${as}>${words}</p>`;
}

const THEMES = { "": "System", light: "Light", dark: "Dark" };

function useTheme() {
  const [theme, set] = useState(localStorage.getItem("pp.theme") ?? "");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("pp.theme", theme);
    dispatchEvent(new Event("theme"));
  }, [theme]);
  return [theme, set];
}

function Theme() {
  const [theme, set] = useTheme();
  return html`<label class="theme">Theme
    <select value=${theme} onChange=${(event) => set(event.target.value)}>
      ${Object.entries(THEMES).map(([value, name]) => html`<option key=${value} value=${value}>${name}</option>`)}
    </select>
  </label>`;
}

function Navigation({ first }) {
  const [shown, show] = useState(false);
  const named = SCREENS.filter((screen) => screen.name);
  useEffect(() => show(false), [first]);
  return html`<nav aria-label="Screens" data-open=${shown}>
    <button type="button" class="menu" aria-expanded=${shown} aria-controls="screens" onClick=${() => show(!shown)}>Menu</button>
    <ul id="screens">
      ${named.map(({ path, name }) => html`<li key=${path}><a href="#/${path}" aria-current=${path === first ? "page" : undefined}>${name}</a></li>`)}
      <li class="last"><${Theme} /><${SignOut} /></li>
    </ul>
  </nav>`;
}

const SIGNED_IN = "pp.signed-in";

function SignOut() {
  const [error, setError] = useState(null);
  if (!localStorage.getItem(SIGNED_IN)) return null;
  const signOut = async () => {
    try {
      await change("DELETE", "session");
      localStorage.removeItem(SIGNED_IN);
      location.reload();
    } catch (failure) {
      setError(failure);
    }
  };
  return html`<button type="button" onClick=${signOut}>Sign out</button><${Failure} error=${error} />`;
}

function SignIn({ done }) {
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    const key = new FormData(event.target).get("key").trim();
    try {
      await change("POST", "session", { key });
      localStorage.setItem(SIGNED_IN, "yes");
      done();
    } catch (failure) {
      setError(failure);
    }
  };
  return html`<main id="main" class="sign-in">
    <h1>Sign in</h1>
    <p>This PP asks for an API key. The browser keeps it in a cookie that scripts cannot read.</p>
    <form onSubmit=${submit}>
      <label>API key <input name="key" type="password" autocomplete="current-password" placeholder="pp_…" required autofocus /></label>
      <button class="main">Sign in</button>
      <${Failure} error=${error} />
    </form>
  </main>`;
}

function useScreen({ path }) {
  const wanted = screenOf(path);
  const [loaded, set] = useState({});
  useEffect(() => {
    wanted?.load?.().then(
      (screen) => set({ of: wanted, screen }),
      () => set({ of: wanted, screen: () => html`<main id="main"><${Failure} error=${{ message: "This screen cannot be read. Is PP still there?" }} /></main>` }),
    );
  }, [wanted]);
  if (!wanted) return () => html`<h1>Nothing is here</h1><p><a href="#/">Go to the overview</a></p>`;
  return wanted.screen ?? (loaded.of === wanted ? loaded.screen : null);
}

function App() {
  const route = useRoute();
  const [signIn, askForKey] = useState(false);
  const Screen = useScreen(route);
  useEffect(() => onSignInNeeded(() => {
    askForKey(true);
    close("signed out");
  }), []);
  useEffect(() => (signIn ? undefined : open()), [signIn]);
  const skip = (event) => {
    event.preventDefault();
    document.getElementById("main")?.focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header>
      <a class="brand" href="#/"><img src="ui/icon.svg" alt="" width="24" height="24" />PP</a>
      <${LiveSign} />
    </header>
    <div class="frame">
      ${!signIn && html`<${Navigation} first=${route.path[0] ?? ""} />`}
      ${signIn
        ? html`<${SignIn} done=${() => askForKey(false)} />`
        : html`<main id="main" tabindex="-1">${Screen && html`<${Screen} key=${route.path.join("/")} route=${route} />`}</main>`}
    </div>`;
}

render(html`<${App} />`, document.getElementById("app"));
