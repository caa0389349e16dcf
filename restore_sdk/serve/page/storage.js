// The work, kept in this browser for a day, so that a reload loses nothing. Each tab has its own.

const DAY_MS = 24 * 3600e3;

let parts = null; // opens the object store: keys are [tab, name]
let tab = null;
let loading = null;

// What this tab has kept, by name; an empty object where there is nothing, or where nothing can be kept.
export function load() {
  loading = find();
  return loading;
}

async function find() {
  try {
    tab = await ownName();
    const request = indexedDB.open("restore-sdk", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("parts");
    const base = await done(request);
    parts = (mode) => base.transaction("parts", mode).objectStore("parts");
    const [keys, values] = await Promise.all([done(parts("readonly").getAllKeys()), done(parts("readonly").getAll())]);
    const found = {};
    keys.forEach((key, at) => {
      if (key[0] === tab) found[key[1]] = values[at].value;
      else if (Date.now() - values[at].time > DAY_MS) parts("readwrite").delete(key);
    });
    return found;
  } catch {
    return {};
  }
}

// Whether it is kept.
export async function save(name, value) {
  await loading;
  try {
    await done(parts("readwrite").put({ time: Date.now(), value }, [tab, name]));
    return true;
  } catch {
    return false;
  }
}

export async function forget() {
  if (parts) await done(parts("readwrite").delete(IDBKeyRange.bound([tab], [tab, []]))).catch(() => {});
}

// A name that a reload keeps and a copy of the tab does not share.
async function ownName() {
  const name = sessionStorage.getItem("tab");
  if (name && (await claimed(name))) return name;
  const fresh = `${Date.now()}-${Math.random()}`;
  sessionStorage.setItem("tab", fresh);
  await claimed(fresh);
  return fresh;
}

// Hold a name until the tab closes; whether no other tab has it. Without TLS a browser has no locks: it is believed.
function claimed(name) {
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    navigator.locks
      .request(name, { signal: AbortSignal.timeout(500) }, () => {
        resolve(true);
        return new Promise(() => {});
      })
      .catch(() => resolve(false));
  });
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
