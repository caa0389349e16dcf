// Keeps the whole site in this browser, so that it works without a network, and isolates it, so that it may use threads.
// `restore-sdk page` puts SITE before it: { policy, files: { name: SHA-256 } }; another file gives another worker.

const OURS = `restore-sdk ${registration.scope} `;
const KEPT = OURS + SITE.files["site.json"];

addEventListener("install", (event) => event.waitUntil(keep()));
addEventListener("activate", (event) => event.waitUntil(forget()));
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function keep() {
  const cache = await caches.open(KEPT);
  await Promise.all(Object.entries(SITE.files).map(async ([name, wanted]) => {
    const got = await fetch(name, { cache: "no-cache" });
    const bytes = await got.arrayBuffer();
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    if (Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") !== wanted) throw new Error(name);
    const headers = {
      "Content-Type": got.headers.get("Content-Type") ?? "",
      "Content-Security-Policy": SITE.policy,
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
    };
    await cache.put(name, new Response(bytes, { headers }));
  }));
}

async function forget() {
  for (const name of await caches.keys()) if (name.startsWith(OURS) && name !== KEPT) await caches.delete(name);
}

async function answer(request) {
  const url = new URL(request.url);
  if (url.origin !== location.origin) return Response.error(); // nothing leaves
  if (url.pathname.endsWith("/")) url.pathname += "index.html";
  return (await (await caches.open(KEPT)).match(url, { ignoreSearch: true })) ?? fetch(request);
}
