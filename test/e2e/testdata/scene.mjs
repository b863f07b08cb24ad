// What the clients in Node.js share: tokens of Keycloak's, and the steps' results, a line of JSON each.

export const gateway = process.env.GATEWAY_URL;

export const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

export const issued = [];

// key is what README advises: a callable key, which the SDK asks before every request, and which asks
// Keycloak by client credentials when the token it holds is about to expire.
export function key(clientID) {
  let token;
  const get = async () => {
    if (Date.now() / 1000 > get.expires - 1) {
      const answer = await fetch(process.env.ISSUER + "/protocol/openid-connect/token", {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "client_credentials",
          client_id: clientID,
          client_secret: "e2e-secret-of-" + clientID,
        }),
      });
      token = (await answer.json()).access_token;
      get.expires = JSON.parse(Buffer.from(token.split(".")[1], "base64url")).exp;
      issued.push(token);
    }
    return token;
  };
  get.expires = 0;
  return get;
}

// expired is a token that was good until now.
export async function expired() {
  const pipeline = key("data-pipeline");
  const token = await pipeline();
  await expiry(pipeline);
  return token;
}

export async function expiry(key) {
  const left = Math.max(0, key.expires * 1000 - Date.now());
  await new Promise((resolve) => setTimeout(resolve, left + 1500)); // 1 s is the gateway's clock_skew
}

// stepper returns what takes a step and prints its result. An exception is told by its class, its
// status, and what code reads from it.
export function stepper(code) {
  return async (name, call) => {
    let result;
    try {
      result = await call();
    } catch (err) {
      result = { raised: err.constructor.name, status: err.status ?? null, code: code(err) ?? null, body: err.error ?? String(err) };
    }
    console.log(JSON.stringify({ step: name, result: result ?? null }));
  };
}

export async function all(items) {
  const list = [];
  for await (const item of await items) list.push(item);
  return list;
}

export const end = () => console.log(JSON.stringify({ step: "tokens", result: issued }));
