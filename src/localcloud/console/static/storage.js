// Buckets, their folders, their objects. #/storage/<bucket>?prefix=&page= and #/storage/<bucket>/<object>?generation=

import { button, bytes, count, crumbs, facts, h, link, moment, pretty, section, table, tag } from "./dom.js";
import { address, get, preview, send } from "./server.js";

export const storage = {
  title: "Storage",

  async load({ path: [bucket, name], query }) {
    if (bucket === undefined) return get("buckets");
    if (name === undefined) {
      return get("folder", { bucket, prefix: query.get("prefix") ?? "", page: query.get("page") ?? "" });
    }
    const named = { bucket, name, generation: query.get("generation") ?? "" };
    const detail = await get("object", named);
    const shown = detail.is_image ? null : await preview({ ...named, generation: detail.resource.generation });
    return { ...detail, shown };
  },

  render(data, route, page) {
    const [bucket, name] = route.path;
    if (bucket === undefined) return bucketList(data);
    if (name === undefined)
      return folderPage(data, bucket, route.query.get("prefix") ?? "", route.query.get("page") ?? "");
    return objectPage(data, bucket, name, page);
  },
};

const here = (bucket, name, query = {}) => {
  const rest = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  const path = [bucket, name]
    .filter((part) => part !== undefined)
    .map(encodeURIComponent)
    .join("/");
  return `#/storage/${path}${rest.size ? `?${rest}` : ""}`;
};

function bucketList(buckets) {
  const rows = buckets.map((bucket) => ({
    key: bucket.name,
    cells: [
      link(here(bucket.name), bucket.name),
      count(bucket.objects),
      bucket.is_versioned ? tag("versioned", "info") : "",
      bucket.storage_class,
      bucket.location,
      moment(bucket.created / 1e6),
    ],
  }));
  const columns = [
    ["Bucket", "wide"],
    ["Objects", "num"],
    ["Versions"],
    ["Class"],
    ["Location"],
    ["Created", "nowrap"],
  ];
  return [
    h("h1", null, "Buckets"),
    table("Buckets", columns, rows, [
      "No bucket yet. Make one: ",
      h("code", null, 'storage.Client().create_bucket("my-bucket")'),
    ]),
  ];
}

/** Links to all folders above, and the bucket. */
function above(bucket, prefix) {
  const parts = prefix.split("/").filter((part, index, all) => index < all.length - 1 || part !== "");
  const links = parts.map((part, index) =>
    link(here(bucket, undefined, { prefix: `${parts.slice(0, index + 1).join("/")}/` }), part || "(empty)"),
  );
  return [link("#/storage", "Buckets"), link(here(bucket), bucket), ...links];
}

function folderPage(folder, bucket, prefix, token) {
  const rows = [
    ...folder.folders.map((name) => ({
      key: `folder ${name}`,
      cells: [link(here(bucket, undefined, { prefix: name }), name.slice(prefix.length)), "", "folder", "", ""],
    })),
    ...folder.objects.map((object) => ({
      key: object.name,
      cells: [
        link(here(bucket, object.name), object.name.slice(prefix.length) || object.name),
        bytes(object.size),
        object.content_type,
        moment(object.updated / 1e6),
        h("span", { class: "mono" }, object.generation),
      ],
    })),
  ];
  const more = h(
    "p",
    { class: "row" },
    token && link(here(bucket, undefined, { prefix }), "First page"),
    folder.next_page && link(here(bucket, undefined, { prefix, page: folder.next_page }), `Next ${rows.length}`),
  );
  const columns = [["Name", "wide"], ["Size", "num"], ["Type"], ["Updated", "nowrap"], ["Generation", "num"]];
  const empty = [
    "Nothing here. Upload something: ",
    h("code", null, `bucket("${bucket}").blob("${prefix}name").upload_from_filename(...)`),
  ];
  return [
    crumbs(...above(bucket, prefix).slice(0, prefix ? -1 : 1)),
    h("h1", null, prefix ? prefix : `gs://${bucket}`),
    table("Objects", columns, rows, empty),
    (token || folder.next_page) && more,
  ];
}

function objectPage({ resource, versions, is_image: isImage, shown }, bucket, name, page) {
  const named = { bucket, name, generation: resource.generation };
  const remove = async () => {
    if (!confirm(`Delete generation ${resource.generation} of gs://${bucket}/${name}?\n\nThis cannot be undone.`))
      return;
    await page.act(
      () => send("DELETE", "object", named),
      "Deleted.",
      here(bucket, undefined, { prefix: folderOf(name) }),
    );
  };
  return [
    crumbs(...above(bucket, folderOf(name))),
    h("h1", null, name.slice(folderOf(name).length) || name),
    h(
      "p",
      { class: "row" },
      resource.timeDeleted && tag("noncurrent", "warn"),
      h("a", { href: address("download", named), download: "" }, "Download"),
      button("Delete", remove, { class: "danger" }),
    ),
    facts([
      ["Address", h("code", null, `gs://${bucket}/${name}`)],
      ["Size", `${bytes(resource.size)} (${count(resource.size)} bytes)`],
      ["Type", resource.contentType ?? ""],
      ["Encoding", resource.contentEncoding ?? ""],
      ["Created", moment(Date.parse(resource.timeCreated) / 1000)],
      ["Updated", moment(Date.parse(resource.updated) / 1000)],
      ["Deleted", resource.timeDeleted ? moment(Date.parse(resource.timeDeleted) / 1000) : ""],
      ["Generation", h("span", { class: "mono" }, resource.generation)],
      ["Metageneration", resource.metageneration],
      ["Class", resource.storageClass],
      ["CRC32C", h("span", { class: "mono" }, resource.crc32c)],
      ["MD5", resource.md5Hash ? h("span", { class: "mono" }, resource.md5Hash) : ""],
      ["Components", resource.componentCount ?? ""],
      ...Object.entries(resource.metadata ?? {}).map(([key, value]) => [`metadata ${key}`, value]),
    ]),
    section("Content", content(named, isImage, shown, resource.contentType ?? "")),
    versions.length > 1 && section("Versions", versionTable(versions, bucket, name)),
    section(
      "As the API shows it",
      h("details", null, h("summary", null, "JSON"), h("pre", null, JSON.stringify(resource, null, 2))),
    ),
  ];
}

function folderOf(name) {
  return name.slice(0, name.replace(/\/$/, "").lastIndexOf("/") + 1);
}

function content(named, isImage, shown, type) {
  if (isImage) return h("img", { class: "preview", src: address("preview", named), alt: `Preview of ${named.name}` });
  if (shown.text === "") return h("p", { class: "empty" }, "The object is empty.");
  if (/[\0\x01-\x08\uFFFD]/.test(shown.text.slice(0, 1000)))
    return h("p", { class: "empty" }, "No text. Download it to look at it.");
  return [
    h("pre", null, !shown.isCut && /^application\/(.*\+)?json/.test(type) ? pretty(shown.text) : shown.text),
    shown.isCut && h("p", { class: "muted" }, "Only the start is shown; download it for the rest."),
  ];
}

function versionTable(versions, bucket, name) {
  const rows = versions.map((version) => ({
    key: version.generation,
    cells: [
      link(here(bucket, name, { generation: version.generation }), version.generation),
      bytes(version.size),
      moment(Date.parse(version.timeCreated) / 1000),
      version.timeDeleted ? moment(Date.parse(version.timeDeleted) / 1000) : tag("live", "good"),
    ],
  }));
  return table("Versions", [["Generation", "num"], ["Size", "num"], ["Created"], ["Noncurrent since"]], rows, "");
}
