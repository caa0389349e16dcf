// The service: what it offers, and what is asked of it.

let token = null;

export function useToken(text) {
  token = text;
}

// The model and the limits. Raises as `ask`.
export async function info() {
  return (await ask("v1/info")).json();
}

// An answer. Raises an Error with a sentence for people; its `status` is 0 where nobody answered.
export async function ask(path, fields = null, accept = "application/json", signal = undefined) {
  const headers = { Accept: accept, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const options = { headers, signal };
  if (fields) {
    options.method = "POST";
    options.body = new FormData();
    for (const [name, value] of Object.entries(fields)) options.body.append(name, value);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw Object.assign(new Error("unreachable"), { status: 0 });
  }
  if (answer.ok) return answer;
  const problem = (await answer.json().catch(() => null))?.error; // a proxy in between answers what it likes
  const said = problem ? `${problem.message}: ${problem.hint}` : `${answer.status} ${answer.statusText}`;
  throw Object.assign(new Error(`${said.charAt(0).toUpperCase()}${said.slice(1)}.`), { status: answer.status });
}

// A file of an answer in JSON.
export function file(base64, type) {
  const bytes = Uint8Array.fromBase64?.(base64) ?? Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type });
}
