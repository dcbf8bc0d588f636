// All kinds, with their works and who does them.

import { html, useMemo } from "../../vendor/preact-htm.js";
import { usePath } from "../live.js";
import { Loading, Note, Table, Title, count } from "../parts.js";
import { replace } from "../route.js";
import { kindColumns, useGauges } from "./overview.js";

export function Kinds({ route: { params } }) {
  const kinds = usePath("kind");
  const { oldestDue: oldest } = useGauges();
  const columns = useMemo(() => {
    const [name, ...rest] = kindColumns(oldest);
    return [name, { name: "delivery", wide: true, of: (kind) => kind.delivery }, ...rest];
  }, [oldest]);
  const all = kinds.data ?? [];
  const wanted = params.q ?? "";
  const shown = all.filter((kind) => kind.name.includes(wanted));
  return html`
    <${Title}>Kinds<//>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>Name contains <input value=${wanted} autocomplete="off" maxlength="100" onInput=${(event) => replace("kinds", { q: event.target.value.trim() })} /></label>
    </form>
    ${kinds.data ? html`
      <${Note}>${shown.length === all.length ? `${count(all.length)} kinds` : `${count(shown.length)} of ${count(all.length)} kinds`}<//>
      <${Table} label="Kinds" rows=${shown} of=${(kind) => kind.name} columns=${columns} empty="No kind has such a name." />` : html`<${Loading} of=${kinds} />`}`;
}
