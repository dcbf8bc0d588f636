// Shows openapi.json: each operation with its parameters, its body, its answers and a command for curl.
// Text becomes text nodes alone, so no schema of a kind can bring markup along.

const element = (id) => document.getElementById(id);

function make(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// Markdown, as far as the document has it: paragraphs, lists and code.
function inline(text) {
  return String(text).split(/`([^`]*)`/).map((part, at) => (at % 2 ? make("code", {}, part) : part));
}

function prose(text) {
  return String(text).split("\n\n").map((block) => {
    const items = block.split(/^- /m);
    if (items.length === 1) return make("p", {}, ...inline(block));
    return make("ul", {}, ...items.slice(1).map((item) => make("li", {}, ...inline(item.trim()))));
  });
}

let api;

function resolved(value) {
  const path = value?.$ref;
  if (!path?.startsWith("#/")) return value ?? {};
  const step = (place, name) => place?.[decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~")];
  return path.slice(2).split("/").reduce(step, api) ?? {};
}

const named = (schema) => schema?.$ref?.split("/").pop();

// What a schema is, in a word or two.
function type(schema) {
  const plain = resolved(schema);
  if (plain.const !== undefined) return JSON.stringify(plain.const);
  if (plain.enum) return plain.enum.length > 12 ? `one of ${plain.enum.length}` : plain.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (plain.type === "array") return `array of ${type(plain.items)}`;
  const ways = plain.anyOf ?? plain.oneOf;
  if (ways && !plain.properties) return named(schema) ?? [...new Set(ways.map(type))].join(" | ");
  const own = [plain.type ?? "any"].flat().join(" | ");
  return named(schema) ?? own;
}

function bounds(schema) {
  const plain = resolved(schema);
  const told = [];
  const tell = (word, value) => value !== undefined && told.push(`${word} ${JSON.stringify(value)}`);
  tell("from", plain.minimum);
  tell("to", plain.maximum);
  tell("at least", plain.minLength ?? plain.minItems);
  tell("at most", plain.maxLength ?? plain.maxItems);
  tell("default", plain.default);
  if (plain.pattern && plain.pattern.length <= 120) told.push(`pattern ${plain.pattern}`);
  return told.length ? make("div", { className: "bounds" }, told.join(" · ")) : null;
}

function field(name, schema, marks, text) {
  const title = make("dt", {}, make("code", {}, name), make("span", { className: "type" }, type(schema)), ...marks);
  const description = text ?? schema.description ?? (schema.$ref ? "" : resolved(schema).description);
  return make("div", {}, title, make("dd", {}, ...inline(description ?? ""), bounds(schema), inner(schema)));
}

const required = () => make("span", { className: "mark required" }, "required");

// The fields of a schema; those of another schema within it are made when they are opened.
function fields(schema) {
  const plain = resolved(schema);
  if (plain.properties) {
    const must = new Set(plain.required);
    const names = Object.keys(plain.properties).sort((one, other) => must.has(other) - must.has(one));
    return make("dl", {}, ...names.map((name) => field(name, plain.properties[name], must.has(name) ? [required()] : [])));
  }
  const ways = plain.anyOf ?? plain.oneOf ?? plain.allOf;
  if (ways) return make("div", {}, ...ways.map((way, at) => choice(way, at === 0)));
  if (plain.type === "array") return fields(plain.items);
  return null;
}

const isDeep = (schema) => {
  const plain = resolved(schema);
  if (plain.type === "array") return isDeep(plain.items);
  return Boolean(plain.properties) || (plain.anyOf ?? plain.oneOf ?? []).some(isDeep);
};

function folded(title, build) {
  const details = make("details", {}, make("summary", {}, title));
  details.addEventListener("toggle", () => details.childElementCount === 1 && details.append(...[build()].filter(Boolean)));
  return details;
}

const inner = (schema) => (isDeep(schema) ? folded("fields", () => fields(schema)) : null);

function choice(schema, isFirst) {
  if (!isDeep(schema)) return make("div", { className: "choice" }, make("code", {}, type(schema)), bounds(schema));
  const details = folded(named(schema) ?? type(schema), () => fields(schema));
  details.open = isFirst;
  return make("dd", { className: "choice" }, details);
}

function copyable(text) {
  const button = make("button", { type: "button" }, "copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(text).catch(() => null);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  return make("div", { className: "copyable" }, make("pre", {}, text), button);
}

const pretty = (value) => make("pre", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2));

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const SAMPLES = { id: "1", code: "api-yUgaxXzwm6", name: "add_up_to" };

function curl(method, path, operation, body) {
  const real = path.replace(/\{(\w+)\}/g, (whole, name) => SAMPLES[name] ?? whole);
  const words = ["curl"];
  if ("text/event-stream" in (operation.responses["200"]?.content ?? {})) words.push("-N");
  if (method !== "get") words.push("-X", method.toUpperCase());
  const needsKey = operation.security?.length && !operation.security.some((way) => !Object.keys(way).length);
  if (needsKey) words.push("-H", '"Authorization: Bearer $PP_KEY"');
  if (body !== undefined) words.push("-H", quoted("content-type: application/json"), "-d", quoted(JSON.stringify(body)));
  words.push(quoted(new URL(real.slice(1), new URL(".", location.href)).href));
  return words.join(" ");
}

function parameters(operation) {
  const all = (operation.parameters ?? []).map(resolved);
  if (!all.length) return [];
  const items = all.map((it) => {
    const place = make("span", { className: "mark" }, it.in);
    return field(it.name, it.schema, it.required ? [place, required()] : [place], it.description ?? "");
  });
  return [make("h3", {}, "Parameters"), make("dl", {}, ...items)];
}

function body(operation) {
  const content = operation.requestBody?.content?.["application/json"];
  if (!content) return [];
  const title = `Body${operation.requestBody.required ? "" : ", which may be left out"}`;
  const examples = Object.values(content.examples ?? {}).map((example) => pretty(example.value));
  return [make("h3", {}, title), fields(content.schema), make("h3", {}, "Examples"), ...examples];
}

function codes(answer) {
  return answer.content?.["application/problem+json"]?.schema?.properties?.code?.enum ?? [];
}

function answers(operation) {
  const all = Object.entries(operation.responses).map(([status, answer]) => [status, resolved(answer)]);
  const good = all.filter(([status]) => status < 400).map(([status, answer]) => {
    const [media, content] = Object.entries(answer.content ?? {})[0] ?? [];
    const title = make("dt", {}, make("code", {}, status), make("span", { className: "type" }, media ?? "no body"));
    const usual = ["Cache-Control", "Cross-Origin-Resource-Policy", "RateLimit", "RateLimit-Policy", "X-Content-Type-Options", "X-Request-Id"];
    const headers = Object.keys(answer.headers ?? {}).filter((name) => !usual.includes(name));
    const shown = headers.length ? make("div", { className: "bounds" }, `headers ${headers.join(", ")}`) : null;
    const example = content?.example === undefined ? null : folded("example", () => pretty(content.example));
    const schema = content && isDeep(content.schema) ? folded(`fields of ${type(content.schema)}`, () => fields(content.schema)) : null;
    return make("div", {}, title, make("dd", {}, ...inline(answer.description), shown, schema, example));
  });
  const bad = all.filter(([status]) => status >= 400).map(([status, answer]) => {
    const title = make("dt", {}, make("code", {}, status), make("span", { className: "type" }, codes(answer).join(", ")));
    return make("div", {}, title, make("dd", {}, ...inline(answer.description)));
  });
  const errors = make("details", { className: "errors" }, make("summary", {}, `${bad.length} errors`), make("dl", {}, ...bad));
  return [make("h3", {}, "Answers"), make("dl", {}, ...good), errors];
}

function scope(operation) {
  const way = operation.security?.find((way) => way.key);
  return way ? make("p", { className: "scope" }, "Scope of the key: ", make("code", {}, way.key.join(" "))) : null;
}

function operationOf(path, method, operation) {
  const title = make(
    "summary",
    {},
    make("span", { className: `method ${method}` }, method.toUpperCase()),
    make("span", { className: "path" }, path),
    make("span", { className: "does" }, operation.summary),
  );
  const details = make("details", { className: "operation", id: operation.operationId }, title);
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const examples = Object.values(operation.requestBody?.content?.["application/json"]?.examples ?? {});
    details.append(
      make(
        "div",
        { className: "inside" },
        ...(operation.description ? prose(operation.description) : []),
        scope(operation),
        copyable(curl(method, path, operation, examples[0]?.value)),
        ...parameters(operation),
        ...body(operation),
        ...answers(operation),
      ),
    );
  });
  return details;
}

function show() {
  const main = document.querySelector("main");
  const nav = document.querySelector("nav");
  main.replaceChildren(make("div", { className: "about" }, ...prose(api.info.description)));
  nav.replaceChildren();
  const all = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({ path, method, operation })));
  for (const tag of api.tags) {
    const own = all.filter(({ operation }) => operation.tags.includes(tag.name));
    if (!own.length) continue;
    const shown = own.map(({ path, method, operation }) => operationOf(path, method, operation));
    main.append(make("section", {}, make("h2", {}, tag.name), make("p", {}, tag.description), ...shown));
    nav.append(make("h2", {}, tag.name));
    nav.append(...own.map(({ path, method, operation }) =>
      make("a", { href: `#${operation.operationId}` }, make("span", { className: `method ${method}` }, method.toUpperCase()), make("span", { className: "path" }, path)),
    ));
  }
  filter();
  open();
}

// Opens the operation that the address names.
function open() {
  const details = location.hash && element(decodeURIComponent(location.hash.slice(1)));
  if (!details) return;
  details.open = true;
  details.scrollIntoView();
}

function filter() {
  const words = element("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (node) => words.every((word) => node.textContent.toLowerCase().includes(word));
  for (const section of document.querySelectorAll("main > section")) {
    const operations = [...section.querySelectorAll("details.operation")];
    for (const it of operations) it.hidden = !fits(it.querySelector("summary"));
    section.hidden = operations.every((it) => it.hidden);
  }
  for (const link of document.querySelectorAll("nav a")) link.hidden = element(link.hash.slice(1)).hidden;
}

async function load() {
  const answer = await fetch("openapi.json").catch(() => null);
  element("key-form").hidden = ![401, 403].includes(answer?.status);
  if (answer?.ok) {
    api = await answer.json();
    element("state").textContent = "";
    show();
  } else {
    element("state").textContent = element("key-form").hidden ? "openapi.json cannot be read; reload the page to try again" : "openapi.json needs an API key with the scope read";
  }
}

async function signIn(event) {
  event.preventDefault();
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ key: element("key").value.trim() });
  const answer = await fetch("session", { method: "POST", headers, body }).catch(() => null);
  element("refused").textContent = answer?.ok ? "" : "this key is not valid";
  if (!answer?.ok) return;
  element("key").value = "";
  await load();
}

element("filter").addEventListener("input", filter);
element("key-form").addEventListener("submit", signIn);
addEventListener("hashchange", open);
load();
