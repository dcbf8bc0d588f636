// A form made from a JSON Schema: fields for the simple properties of an object, JSON for everything else.

import { html } from "../vendor/preact-htm.js";
import { Typed } from "./parts.js";

const SIMPLE = ["string", "integer", "number", "boolean"];

/** The schema of a property, where `null` is allowed or it is a reference within the document. */
function resolved(schema, root) {
  const name = schema.$ref?.match(/^#\/(?:\$defs|definitions)\/([^/]+)$/)?.[1];
  const known = name ? { ...(root.$defs?.[name] ?? root.definitions?.[name]), ...schema } : schema;
  const type = Array.isArray(known.type) ? known.type.find((type) => type !== "null") : known.type;
  return { ...known, type };
}

/** The fields for a schema, or null if it needs JSON as a whole. */
export function fieldsOf(schema) {
  if (schema?.type !== "object" || !schema.properties || Object.keys(schema.properties).length > 40) return null;
  return Object.entries(schema.properties).map(([name, property]) => {
    const known = resolved(typeof property === "object" ? property : {}, schema);
    const simple = SIMPLE.includes(known.type) || Array.isArray(known.enum);
    return { name, schema: known, required: schema.required?.includes(name) ?? false, simple };
  });
}

const LONG = 200;

function Control({ field: { name, schema, required, simple }, value }) {
  const shared = { name: `arg:${name}`, required: required && schema.type !== "boolean" };
  if (Array.isArray(schema.enum)) {
    const current = value === undefined ? "" : JSON.stringify(value);
    return html`<select ...${shared} value=${current}>
      <option value="">${required ? "choose" : "none"}</option>
      ${schema.enum.map((item) => html`<option key=${JSON.stringify(item)} value=${JSON.stringify(item)}>${String(item)}</option>`)}
    </select>`;
  }
  if (schema.type === "integer" || schema.type === "number") {
    return html`<${Typed} ...${shared} type="number" step=${schema.type === "integer" ? "1" : "any"} min=${schema.minimum} max=${schema.maximum} value=${value === undefined ? schema.default : String(value)} />`;
  }
  if (schema.type === "string" && (schema.maxLength ?? 0) < LONG) {
    return html`<${Typed} ...${shared} minlength=${schema.minLength} maxlength=${schema.maxLength} placeholder=${schema.format} value=${value ?? schema.default} autocomplete="off" />`;
  }
  const text = simple ? (value ?? schema.default) : value === undefined ? "" : JSON.stringify(value);
  return html`<textarea ...${shared} rows="3" spellcheck="false">${text}</textarea>`;
}

export function Fields({ fields, value }) {
  return fields.map((field) => {
    const { name, schema, required, simple } = field;
    const hint = [!simple && "JSON", !required && schema.type !== "boolean" && "optional"].filter(Boolean).join(", ");
    if (schema.type === "boolean" && !schema.enum) {
      return html`<label class="inline" key=${name}><input type="checkbox" name=${`arg:${name}`} defaultChecked=${value?.[name] ?? schema.default ?? false} /> ${schema.title ?? name}${schema.description && html` <small>${schema.description}</small>`}</label>`;
    }
    return html`<label key=${name}>${schema.title ?? name}${hint && ` (${hint})`}${schema.description && html` <small>${schema.description}</small>`}
      <${Control} field=${field} value=${value?.[name]} />
    </label>`;
  });
}

function jsonOf({ name, schema, simple }, text) {
  if (Array.isArray(schema.enum)) return text;
  if (schema.type === "string") return JSON.stringify(text);
  if (schema.type === "integer" || schema.type === "number") return text.trim();
  try {
    JSON.parse(text);
    return text;
  } catch (error) {
    throw new Error(`${name} is not JSON: ${error.message}${simple ? "" : "."}`);
  }
}

/** The arguments as JSON text, from what was typed. Optional fields that are empty are left out. */
export function argsFrom(fields, form) {
  const parts = fields.flatMap((field) => {
    const typed = form.get(`arg:${field.name}`);
    if (field.schema.type === "boolean" && !field.schema.enum) return [[field.name, String(typed !== null)]];
    if (typed === null || typed === "") return field.required && field.schema.type === "string" ? [[field.name, '""']] : [];
    return [[field.name, jsonOf(field, typed)]];
  });
  return `{${parts.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}
